//! The power goes at every disk operation of a scripted life, and again at every operation of the recovery.

use stride_journal::Error;
use stride_sim::{Chance, disk::SimDisk};

use crate::driver::{Driver, SMALL};

/// Begins a log, rolls several times, gives records up, closes and opens again; ends where the power goes.
fn life(driver: &mut Driver) -> Result<(), Error> {
    driver.open()?;
    driver.append(&[40])?;
    driver.append(&[300, 20, 8])?;
    driver.append(&[900, 8, 700])?;
    driver.truncate(1)?;
    driver.append(&[1500, 64, 64])?;
    driver.append(&[1000, 1000])?;
    driver.close();
    driver.open()?;
    driver.append(&[8])?;
    driver.truncate(0)?;
    driver.append(&[2000])?;
    driver.append(&[1200, 8, 8, 300])
}

/// Opens after a crash; a crash alone is never damage.
fn recover(driver: &mut Driver, what: &str) {
    if let Err(e) = driver.open() {
        panic!("{what}: a crash made the log unreadable: {e}");
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let mut whole = Driver::new(SimDisk::new(Chance::seeded(0)), SMALL);
    life(&mut whole).expect("a life without a crash");
    let operations = whole.disk.operations();
    assert!(operations > 80, "{operations}");
    for at in 0..operations {
        for seed in 0..24 {
            let mut driver = Driver::new(SimDisk::new(Chance::seeded(seed)), SMALL);
            driver.disk.crash_at(at);
            assert!(life(&mut driver).is_err() || driver.disk.operations() > at);
            driver.crash();
            let what = format!("seed {seed}, crash at operation {at}");
            recover(&mut driver, &what);
            driver.append(&[100, 100, 900]).unwrap_or_else(|e| panic!("{what}: append after recovery: {e}"));
            driver.close();
            recover(&mut driver, &what);
        }
    }
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_either() {
    let mut whole = Driver::new(SimDisk::new(Chance::seeded(0)), SMALL);
    life(&mut whole).expect("a life without a crash");
    for at in 0..whole.disk.operations() {
        for seed in 0..4 {
            let mut driver = Driver::new(SimDisk::new(Chance::seeded(1000 + seed)), SMALL);
            driver.disk.crash_at(at);
            let _ = life(&mut driver);
            driver.crash();
            for step in 0..40 {
                let before = driver.disk.operations();
                driver.disk.crash_at(before + step);
                let interrupted = driver.open().is_err();
                driver.crash();
                if !interrupted && driver.disk.operations() <= before + step {
                    break;
                }
            }
            recover(&mut driver, &format!("seed {seed}, crash at operation {at}, then at every one of the recovery"));
        }
    }
}
