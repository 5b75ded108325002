use std::{path::Path, sync::Arc};

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};
use stride_sim::{Chance, disk::SimDisk};

use super::*;
use crate::embedded::{
    segment::Segment,
    writer::{Frame, Item, Writer, prelude},
};

const LEN: u64 = 8192;
const SEED: u64 = 42;

/// A segment with a group of one record at 640, of three from 1728 on, and of one from 5184 on.
fn segment() -> (SegmentHeader, Vec<u8>) {
    let disk = SimDisk::new(Chance::seeded(1));
    let dir = Path::new("/");
    let header = SegmentHeader { number: 1, len: LEN, prev_chain: 0, prev_end: 0, seed: SEED };
    let (start, chain) = prelude(&header, Bytes::from(vec![0; 16]));
    let segment = Arc::new(Segment::prepare(&disk, dir, 1, LEN, SEED, &start).unwrap());
    let mut writer = Writer::new(segment, start.len(), chain);
    let (mut at, mut seq) = (start.len(), Seq::ZERO);
    for group in [&[1000][..], &[1000, 1000, 1000], &[1000]] {
        let mut items = Vec::new();
        for len in group {
            seq = seq.next();
            let (position, payload) = (Position::new(1, at), Bytes::from(vec![0; *len]));
            let frame = Frame { kind: Kind::Record, cell: CellId(0), epoch: Epoch(1), seq, position, payload };
            at += frame.len();
            items.push(Item::Frame(frame));
        }
        writer.commit(&items, |_| {}).unwrap();
    }
    (header, disk.contents(&dir.join("00000001.log")).unwrap())
}

const FRAMES: [usize; 6] = [640, 1728, 2816, 3904, 4992, 6080];

/// What the walk finds after the segment was spoiled.
fn spoiled(spoil: impl FnOnce(&mut [u8])) -> Walked {
    let (header, mut image) = segment();
    let crc = SegmentHeader::decode(&image).unwrap().1;
    spoil(&mut image);
    walk(&image, &header, crc, |_, _| Ok(()))
}

fn damaged(walked: &Walked) -> Option<&str> {
    match &walked.tail {
        Tail::Damaged { what } => Some(what),
        _ => None,
    }
}

#[test]
fn a_whole_segment_ends_cleanly() {
    let walked = spoiled(|_| {});
    assert_eq!((walked.tail, walked.end, walked.last_group), (Tail::Clean, FRAMES[5], FRAMES[4]));
}

#[test]
fn sectors_missing_from_the_last_group_are_a_torn_tail() {
    for from in (FRAMES[4]..FRAMES[5]).step_by(SECTOR) {
        let from = from / SECTOR * SECTOR;
        let from = from.max(FRAMES[4]);
        let walked = spoiled(|image| image[from..from / SECTOR * SECTOR + SECTOR].fill(0));
        assert_eq!((walked.tail, walked.end), (Tail::Torn, FRAMES[4]), "{from}");
    }
}

#[test]
fn a_write_that_stopped_at_any_byte_of_the_last_group_is_never_damage() {
    for stop in FRAMES[4]..FRAMES[5] {
        let walked = spoiled(|image| image[stop..LEN as usize].fill(0));
        assert_eq!(damaged(&walked), None, "{stop}");
    }
    for stop in FRAMES[1]..FRAMES[4] {
        let walked = spoiled(|image| image[stop..LEN as usize].fill(0));
        assert_eq!(damaged(&walked), None, "{stop}");
    }
}

#[test]
fn sectors_missing_before_a_later_group_are_damage() {
    for from in (FRAMES[0]..FRAMES[4] - SECTOR).step_by(SECTOR) {
        let from = from.next_multiple_of(SECTOR);
        let walked = spoiled(|image| image[from..from + SECTOR].fill(0));
        assert!(damaged(&walked).is_some_and(|what| what.contains("had been acknowledged")), "{from}: {walked:?}");
    }
}

#[test]
fn a_later_group_proves_itself_even_without_its_header() {
    // The middle frame of the group in the middle, and the header of the group behind it.
    let walked = spoiled(|image| {
        image[3072..3584].fill(0);
        image[FRAMES[4]..FRAMES[4] + 128].fill(0);
    });
    let what = damaged(&walked).unwrap();
    assert!(what.contains("behind the end of its group"), "{what}");
}

#[test]
fn the_wreck_of_a_later_header_is_not_taken_for_a_crash() {
    let walked = spoiled(|image| {
        image[FRAMES[0] + 500..FRAMES[4]].fill(0);
        image[FRAMES[4] + 9] ^= 1;
    });
    let what = damaged(&walked).unwrap();
    assert!(what.contains("frame header at 4992"), "{what}");
}

#[test]
fn salvage_finds_the_good_records_behind_damage() {
    let (_, mut image) = segment();
    image[FRAMES[1] + 100] ^= 1;
    let mut found = Vec::new();
    salvage(&image, 1, FRAMES[0] + 1, |header| found.push(header.seq));
    assert_eq!(found, [Seq(3), Seq(4), Seq(5)]);
}

#[test]
fn a_group_that_landed_elsewhere_is_damage_where_it_is_missing() {
    let walked = spoiled(|image| {
        image.copy_within(FRAMES[4]..FRAMES[5], FRAMES[4] + 2 * SECTOR);
        image[FRAMES[4]..FRAMES[4] + 2 * SECTOR].fill(0);
    });
    let what = damaged(&walked).unwrap();
    assert!(walked.end == FRAMES[4] && what.contains("was written for 00000001.log:4992"), "{what}");
}
