//! Long random lives with every fault. `STRIDE_SEED=n` replays one; `STRIDE_SEEDS=n` runs more.

use stride_journal::{
    Error,
    embedded::{Settings, Threads},
};
use stride_sim::{
    Chance,
    disk::{Faults, SimDisk},
};

use crate::driver::Driver;

const SEEDS: u64 = 400;

struct Life {
    driver: Driver,
    chance: Chance,
    /// A device lied, so from now on the log may be refused, and only that.
    lied: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let chance = Chance::seeded(seed);
        let settings = Settings {
            cells: 1 + chance.below(4) as u16,
            segment_bytes: 4096 << chance.below(4),
            threads: Threads::None,
        };
        let disk = SimDisk::new(Chance::seeded(seed ^ 0x5eed));
        Self { driver: Driver::new(disk, settings), chance, lied: false }
    }

    fn append_some(&mut self) -> Result<(), Error> {
        let max = if self.chance.hits(100) { 3000 } else { 400 };
        let lens: Vec<usize> = (0..=self.chance.below(6)).map(|_| self.chance.below(max) as usize).collect();
        match self.driver.append(&lens) {
            Err(Error::Full(_) | Error::Busy(_) | Error::TooLarge { .. }) => Ok(()),
            other => other,
        }
    }

    /// One thing that happens; `false` ends the life.
    fn step(&mut self) -> bool {
        let outcome = match self.chance.below(100) {
            0..70 => self.append_some(),
            70..76 => self.driver.truncate(self.chance.below(5) as usize),
            76..82 => {
                self.driver.crash();
                self.driver.open()
            }
            82..88 => {
                self.driver.close();
                self.driver.open()
            }
            88..92 => self.with(Faults { failing_sync_per_mille: 500, ..Faults::default() }),
            92..96 => self.with(Faults { capacity: Some(0), ..Faults::default() }),
            _ => self.with_lies(),
        };
        match outcome {
            Ok(()) => true,
            Err(Error::Damaged { at_risk, .. }) if self.lied && !at_risk.is_empty() => false,
            Err(Error::Stopped(_) | Error::Io { .. } | Error::Full(_)) => self.restart(),
            Err(e) => panic!("{e}"),
        }
    }

    /// A node that stopped is started again, on a disk that works.
    fn restart(&mut self) -> bool {
        self.driver.disk.set_faults(Faults::default());
        if self.chance.hits(500) {
            self.driver.crash();
        }
        match self.driver.open() {
            Ok(()) => true,
            Err(Error::Damaged { .. }) if self.lied => false,
            Err(e) => panic!("after a restart: {e}"),
        }
    }

    fn with(&mut self, faults: Faults) -> Result<(), Error> {
        self.driver.disk.set_faults(faults);
        let outcome = (0..4).try_for_each(|_| self.append_some());
        self.driver.disk.set_faults(Faults::default());
        outcome
    }

    /// Writes that were said to be durable and are not. What follows is honest, which is what lets the log notice; the
    /// loss of the very last group cannot be seen by any log.
    fn with_lies(&mut self) -> Result<(), Error> {
        let lies = if self.chance.hits(500) {
            Faults { lost_per_mille: 300, ..Faults::default() }
        } else {
            Faults { misdirected_per_mille: 300, ..Faults::default() }
        };
        self.lied = true;
        self.with(lies)?;
        self.driver.append(&[8])
    }
}

fn run(seed: u64) -> bool {
    let mut life = Life::new(seed);
    life.driver.open().expect("open");
    let lived = (0..120).all(|_| life.step());
    if lived {
        life.driver.crash();
        match life.driver.open() {
            Ok(()) => {}
            Err(Error::Damaged { .. }) if life.lied => return false,
            Err(e) => panic!("at the end: {e}"),
        }
    }
    lived
}

#[test]
fn a_random_life_with_every_fault_never_loses_silently() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("STRIDE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STRIDE_SEEDS").unwrap_or(SEEDS),
    };
    let mut refused = 0;
    for seed in seeds.clone() {
        let outcome = std::panic::catch_unwind(|| run(seed));
        match outcome {
            Ok(lived) => refused += u64::from(!lived),
            Err(_) => {
                panic!("replay with: STRIDE_SEED={seed} cargo test --release -p stride-journal --test proof random")
            }
        }
    }
    if seeds.end - seeds.start > 100 {
        assert!(refused > 10, "lies must have been seen: {refused}");
    }
}
