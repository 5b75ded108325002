use std::collections::BTreeSet;

use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Chance::seeded(seed))
}

fn written(disk: &SimDisk) -> Arc<dyn DiskFile> {
    let file = disk.create(Path::new("/d/a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[0; 4096], 0).unwrap();
    file.sync().unwrap();
    file
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..50 {
        let disk = disk(seed);
        let file = written(&disk);
        file.write_at(&[7; 1000], 100).unwrap();
        file.sync().unwrap();
        disk.crash();
        assert_eq!(&disk.contents(Path::new("/d/a")).unwrap()[100..1100], &[7; 1000]);
        assert!(file.len().is_err(), "a handle from before the crash is dead");
    }
}

#[test]
fn what_was_not_synced_may_be_lost_kept_or_torn() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        written(&disk).write_at(&[7; 1024], 0).unwrap();
        disk.crash();
        let kept = disk.contents(Path::new("/d/a")).unwrap().iter().filter(|b| **b == 7).count();
        seen.insert(match kept {
            0 => "none",
            1024 => "all",
            n if n % SECTOR == 0 => "sectors",
            _ => "bytes",
        });
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["all", "bytes", "none", "sectors"]);
}

#[test]
fn a_creation_without_a_synced_directory_can_vanish() {
    let survives = |seed| {
        let disk = disk(seed);
        let file = disk.create(Path::new("/d/a")).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.crash();
        disk.open(Path::new("/d/a")).is_ok()
    };
    assert!((0..50).any(survives));
    assert!(!(0..50).all(survives));
}

#[test]
fn a_lying_device_loses_and_misdirects_although_the_sync_succeeds() {
    for (faults, expected) in [
        (Faults { lost_per_mille: 1000, ..Faults::default() }, 0),
        (Faults { misdirected_per_mille: 1000, ..Faults::default() }, 512),
    ] {
        let disk = disk(3);
        let file = written(&disk);
        disk.set_faults(faults);
        file.write_at(&[7; 512], 1024).unwrap();
        file.sync().unwrap();
        disk.crash();
        let after = disk.contents(Path::new("/d/a")).unwrap();
        assert_eq!(after.iter().filter(|b| **b == 7).count(), expected);
    }
}

#[test]
fn a_failed_sync_is_reported_and_forgets_what_was_dirty() {
    let disk = disk(1);
    let file = written(&disk);
    disk.set_faults(Faults { failing_sync_per_mille: 1000, ..Faults::default() });
    file.write_at(&[7; 4096], 0).unwrap();
    assert!(file.sync().is_err());
    disk.set_faults(Faults::default());
    file.sync().unwrap();
    let mut seen = [0; 4096];
    file.read_at(&mut seen, 0).unwrap();
    assert_eq!(seen, [7; 4096], "the page cache still shows it");
}

#[test]
fn a_full_disk_refuses_to_grow_but_not_to_overwrite() {
    let disk = disk(1);
    let file = written(&disk);
    disk.set_faults(Faults { capacity: Some(4096), ..Faults::default() });
    assert_eq!(file.write_at(&[1], 4096).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[1], 4095).unwrap();
}

#[test]
fn a_lock_has_one_holder_until_it_is_dropped_or_the_power_goes() {
    let disk = disk(1);
    let path = Path::new("/d/lock");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
    drop(held);
    let before = disk.lock(path).unwrap();
    disk.crash();
    let after = disk.lock(path).unwrap();
    drop(before);
    assert!(disk.lock(path).is_err(), "a lock from before the crash frees nothing");
    drop(after);
}

#[test]
fn the_power_can_be_cut_at_a_chosen_operation() {
    let disk = disk(1);
    let file = written(&disk);
    disk.crash_at(disk.operations() + 1);
    file.write_at(&[1], 0).unwrap();
    assert!(file.sync().is_err());
    assert!(disk.open(Path::new("/d/a")).is_err(), "the disk stays down until crash() is called");
    disk.crash();
    assert!(disk.open(Path::new("/d/a")).is_ok());
}
