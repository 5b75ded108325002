//! Checking and repairing, on logs that are spoiled at every few bytes.

use std::sync::Arc;

use stride_ids::{CellId, Seq};
use stride_journal::{
    Error, Journal,
    embedded::{check, plan_repair},
};
use stride_sim::{
    Chance,
    disk::{Disk as _, SimDisk},
};

use crate::{
    driver::{Driver, Model, SMALL, dir, open},
    every_byte::{files, logs},
};

fn damaged(base: &SimDisk, file: usize, at: usize) -> SimDisk {
    let disk = base.fork(Chance::seeded(1));
    let (path, _) = &files(base)[file];
    disk.tamper(path, |bytes| bytes[at] ^= 0x10);
    disk
}

/// Repairs until the log opens; usually once is enough.
fn repair(disk: &SimDisk) -> usize {
    for rounds in 0.. {
        let plan = plan_repair(Arc::new(disk.clone()), dir(), &SMALL).expect("plan");
        if plan.damage.is_none() {
            return rounds;
        }
        assert!(rounds < 4, "repairing does not end:\n{plan}");
        plan.carry_out().expect("repair");
    }
    unreachable!("the loop ends by returning");
}

/// What comes back after a repair is right, in order and without a gap, as far as it goes.
fn check_rest(disk: &SimDisk, model: &Model) -> usize {
    let journal = open(disk, SMALL).expect("a repaired log opens");
    let mut kept = 0;
    for (nth, promised) in model.0.iter().enumerate() {
        let cell = CellId(nth as u16);
        let floor = match journal.replay(cell, Seq::ZERO) {
            Err(Error::Gap { first, .. }) => first.0 - 1,
            other => other.map(|_| 0).expect("replay"),
        };
        for record in journal.replay(cell, Seq(floor)).expect("replay") {
            assert_eq!(record.bytes, promised.ordered[record.seq.0 as usize - 1]);
            kept += 1;
        }
        let epoch = journal.open_one(cell).expect("open").epoch;
        futures::executor::block_on(journal.append(cell, epoch, "after".into()).expect("append")).expect("commit");
    }
    kept
}

#[test]
fn a_whole_log_is_reported_whole_and_nothing_is_written() {
    let (closed, killed, model) = logs();
    for base in [closed, killed] {
        let before = base.operations();
        let report = check(&base, dir()).expect("check");
        assert_eq!(report.damage, None, "{report}");
        assert_eq!(report.records(), model.0.iter().map(|cell| cell.ordered.len() as u64).sum::<u64>());
        assert!(plan_repair(Arc::new(base.clone()), dir(), &SMALL).expect("plan").steps.is_empty());
        assert_eq!(base.operations(), before);
    }
}

#[test]
fn damage_is_reported_with_place_and_risk_and_the_open_says_the_same() {
    let (closed, _, _) = logs();
    let disk = damaged(&closed, 0, 1500);
    let report = check(&disk, dir()).expect("check");
    let damage = report.damage.clone().expect("damage");
    let Err(Error::Damaged { file, offset, what, .. }) = open(&disk, SMALL).map(drop) else { panic!("refused") };
    assert_eq!((damage.file.display().to_string(), damage.offset, damage.what), (file, offset, what));
    assert!(damage.at_risk.iter().any(|cell| cell.records > 1), "{report}");
}

#[test]
fn every_damaged_log_can_be_repaired_and_keeps_what_lies_before() {
    let (closed, _, model) = logs();
    let all: usize = model.0.iter().map(|cell| cell.ordered.len()).sum();
    for (file, (path, len)) in files(&closed).into_iter().enumerate() {
        for at in (0..len).step_by(5) {
            let disk = damaged(&closed, file, at);
            let was_damaged = check(&disk, dir()).expect("check").damage.is_some();
            let readable = check(&disk, dir()).expect("check").records() as usize;
            let rounds = repair(&disk);
            assert_eq!(rounds > 0, was_damaged);
            let kept = check_rest(&disk, &model);
            assert!(kept >= readable, "byte {at} of {}: {kept} of {readable} kept", path.display());
            assert!(was_damaged || kept == all);
            let set_aside = disk.list(dir()).expect("list").iter().any(|name| name.contains(".damaged"));
            assert_eq!(set_aside, was_damaged, "byte {at} of {}", path.display());
        }
    }
}

#[test]
fn the_plan_says_what_is_given_up() {
    let (closed, _, model) = logs();
    let disk = damaged(&closed, 0, 1500);
    let plan = plan_repair(Arc::new(disk), dir(), &SMALL).expect("plan");
    for (nth, promised) in model.0.iter().enumerate() {
        let cell = CellId(nth as u16);
        let given_up = plan.gives_up.iter().find(|g| g.cell == cell).expect("every cell has records behind");
        assert_eq!(given_up.last, Seq(promised.ordered.len() as u64));
        let kept = plan.keeps.iter().find(|k| k.cell == cell).expect("every cell was opened");
        assert!(kept.last < given_up.first);
    }
    let text = plan.to_string();
    assert!(text.contains("gives up") && text.contains("00000001.log.damaged"), "{text}");
}

#[test]
fn a_repair_that_is_cut_off_can_be_repeated() {
    let (closed, _, model) = logs();
    for (file, at) in [(0, 10), (0, 600), (0, 1500), (1, 0), (1, 1200), (2, 3)] {
        for stop in 0..30 {
            let disk = damaged(&closed, file, at);
            let plan = plan_repair(Arc::new(disk.clone()), dir(), &SMALL).expect("plan");
            let readable = check_records(&disk);
            disk.crash_at(disk.operations() + stop);
            let _ = plan.carry_out();
            disk.crash();
            repair(&disk);
            assert!(check_rest(&disk, &model) >= readable, "file {file}, byte {at}, stopped at {stop}");
        }
    }
}

fn check_records(disk: &SimDisk) -> usize {
    match check(disk, dir()) {
        Ok(report) => report.records() as usize,
        // The plan holds the lock; it has read the same.
        Err(_) => 0,
    }
}

#[test]
fn nothing_offline_runs_beside_a_node() {
    let (closed, _, _) = logs();
    let _node = open(&closed, SMALL).expect("open");
    assert!(matches!(check(&closed, dir()), Err(Error::InUse { .. })));
    let plan = plan_repair(Arc::new(closed.clone()), dir(), &SMALL);
    assert!(matches!(plan.map(drop), Err(Error::InUse { .. })));
    assert!(matches!(open(&closed, SMALL).map(drop), Err(Error::InUse { .. })));
}

/// The one lie about a last group that leaves a trace: the group is found where it does not belong.
#[test]
fn a_last_group_that_landed_in_another_file_is_refused_and_can_be_repaired() {
    let mut driver = Driver::new(SimDisk::new(Chance::seeded(7)), SMALL);
    driver.open().expect("open");
    // The long record does not fit behind the short one, so the first segment ends early.
    [40, 2900, 130].iter().for_each(|len| driver.append(&[*len]).expect("append"));
    driver.crash();
    let (killed, model) = (&driver.disk, &driver.model);
    let report = check(killed, dir()).expect("check");
    let last = report.segments.last().expect("a segment").clone();
    // The last group is one record of 130 bytes.
    let (from, to) = (last.bytes_used as usize - 256, last.bytes_used as usize);
    let finished = report.segments[..report.segments.len() - 1].iter();
    let slack = finished.map(|segment| (segment.file.clone(), segment.bytes_used as usize));
    let targets: Vec<_> = slack.chain([(report.spares[0].clone(), 1024)]).collect();
    let mut seen = 0;
    for (file, behind) in targets {
        let at = behind.next_multiple_of(512) + from % 512;
        if at + 256 > 4096 {
            continue;
        }
        let disk = killed.fork(Chance::seeded(1));
        let group = disk.contents(&last.file).expect("contents")[from..to].to_vec();
        disk.tamper(&last.file, |bytes| bytes[from..to].fill(0));
        disk.tamper(&file, |bytes| bytes[at..at + 256].copy_from_slice(&group));
        let refused = open(&disk, SMALL).map(drop);
        let told = |told: &str, offset: u64| told == file.display().to_string() && offset == at as u64;
        assert!(matches!(&refused, Err(Error::Damaged { file, offset, .. }) if told(file, *offset)), "{refused:?}");
        assert_eq!(repair(&disk), 1);
        let all: usize = model.0.iter().map(|cell| cell.ordered.len()).sum();
        assert_eq!(check_rest(&disk, model), all - 1);
        seen += 1;
    }
    assert!(seen >= 2, "a finished segment and a spare: {seen}");
}
