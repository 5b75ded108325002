//! A small log of several segments, spoiled at every single byte in every way.

use std::path::PathBuf;

use stride_journal::Error;
use stride_sim::{
    Chance,
    disk::{Disk as _, SimDisk},
};

use crate::driver::{Driver, Model, SMALL, dir, open};

/// A log that was closed, the same log when its node was killed instead, and what both have promised.
pub(crate) fn logs() -> (SimDisk, SimDisk, Model) {
    let mut driver = Driver::new(SimDisk::new(Chance::seeded(7)), SMALL);
    driver.open().expect("open");
    for lens in
        [&[40][..], &[300, 20, 8], &[8, 500], &[64, 64, 64], &[900], &[8], &[200, 700, 100], &[48, 47, 49], &[30]]
    {
        driver.append(lens).expect("append");
    }
    driver.append(&[600, 10]).expect("append");
    driver.append(&[130]).expect("append");
    let killed = driver.disk.fork(Chance::seeded(8));
    killed.crash();
    driver.close();
    driver.disk.crash();
    (driver.disk, killed, driver.model)
}

pub(crate) fn files(disk: &SimDisk) -> Vec<(PathBuf, usize)> {
    let names = disk.list(dir()).expect("list");
    let paths = names.into_iter().map(|name| dir().join(name));
    paths.map(|path| (path.clone(), disk.contents(&path).expect("contents").len())).collect()
}

/// Whether the log returns everything, or refuses as it promises to; otherwise what it does instead.
pub(crate) fn honest(disk: &SimDisk, model: &Model) -> Result<bool, String> {
    match open(disk, SMALL) {
        Ok(journal) => model.verify(&journal).map(|_| true),
        Err(Error::Damaged { file, at_risk, .. }) if file.starts_with(crate::driver::DIR) && !at_risk.is_empty() => {
            Ok(false)
        }
        Err(e) => Err(format!("refused without saying where and what: {e}")),
    }
}

/// Spoils one byte at a time and counts how often the log was refused.
fn spoil(base: &SimDisk, model: &Model, what: &str, spoil: impl Fn(&mut Vec<u8>, usize)) -> (u32, u32) {
    let (mut returned, mut refused) = (0, 0);
    for (path, len) in files(base) {
        for at in 0..len {
            let disk = base.fork(Chance::seeded(1));
            disk.tamper(&path, |bytes| spoil(bytes, at));
            match honest(&disk, model) {
                Ok(true) => returned += 1,
                Ok(false) => refused += 1,
                Err(broken) => panic!("{what} at byte {at} of {}: {broken}", path.display()),
            }
        }
    }
    (returned, refused)
}

#[test]
fn the_log_is_long_enough_to_prove_something() {
    let (closed, killed, model) = logs();
    assert!(files(&closed).len() >= 4, "{:?}", files(&closed));
    assert!(model.0.iter().all(|cell| cell.acknowledged >= 5));
    assert_eq!(honest(&closed, &model), Ok(true));
    assert_eq!(honest(&killed, &model), Ok(true));
}

#[test]
fn no_flipped_bit_loses_an_acknowledged_record() {
    let (closed, killed, model) = logs();
    for bit in 0..8 {
        let (_, refused) = spoil(&closed, &model, "a flipped bit", |bytes, at| bytes[at] ^= 1 << bit);
        assert!(refused > 1000, "flips in records are seen");
        spoil(&killed, &model, "a flipped bit", |bytes, at| bytes[at] ^= 1 << bit);
    }
}

#[test]
fn no_zeroed_byte_loses_an_acknowledged_record() {
    let (closed, killed, model) = logs();
    for base in [closed, killed] {
        spoil(&base, &model, "a zeroed byte", |bytes, at| bytes[at] = 0);
    }
}

#[test]
fn no_truncated_file_loses_an_acknowledged_record() {
    let (closed, killed, model) = logs();
    for base in [closed, killed] {
        spoil(&base, &model, "truncation", Vec::truncate);
    }
}

/// What the device tore or lost although it had said that it was durable, in a log that was closed: the seal proves that
/// everything before it had been acknowledged.
#[test]
fn no_torn_or_lost_sector_loses_an_acknowledged_record_of_a_closed_log() {
    let (closed, _, model) = logs();
    spoil(&closed, &model, "a torn sector", |bytes, at| {
        let end = (at + 1).next_multiple_of(512).min(bytes.len());
        bytes[at..end].fill(0);
    });
    spoil(&closed, &model, "garbage in the rest of a sector", |bytes, at| {
        let end = (at + 1).next_multiple_of(512).min(bytes.len());
        bytes[at..end].fill(0xa5);
    });
    spoil(&closed, &model, "a sector written elsewhere", |bytes, at| {
        let (from, to) = (at / 512 * 512, (at * 7 / 512 % (bytes.len() / 512)) * 512);
        bytes.copy_within(from..from + 512, to);
    });
}

/// In a log whose node was killed, nothing follows the last group, so its loss looks like a crash before its sync: only
/// that group can go, and nothing before it.
#[test]
fn a_torn_sector_of_a_killed_log_costs_at_most_the_last_group() {
    let (_, killed, mut model) = logs();
    // The last group was one record; which cell it went to is the model's business.
    for cell in &mut model.0 {
        cell.acknowledged -= 1;
    }
    spoil(&killed, &model, "a torn sector", |bytes, at| {
        let end = (at + 1).next_multiple_of(512).min(bytes.len());
        bytes[at..end].fill(0);
    });
}

#[test]
fn a_missing_file_is_refused_unless_it_was_empty() {
    let (closed, killed, model) = logs();
    for base in [closed, killed] {
        for (path, _) in files(&base) {
            let disk = base.fork(Chance::seeded(1));
            disk.remove(&path).expect("remove");
            match honest(&disk, &model) {
                Ok(_) => {}
                // Nothing is left that could say that the oldest segment was not given up; replay says it.
                Err(broken) => assert!(broken.contains("the journal begins at"), "{}: {broken}", path.display()),
            }
        }
    }
}
