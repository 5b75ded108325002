//! What the machine is, as far as it says so itself.

use std::{collections::BTreeSet, fs, num::NonZero, thread};

use stride_ids::Name;
use stride_placement::Hardware;

/// How many cores this process may use.
pub(crate) fn cores() -> u32 {
    thread::available_parallelism().map_or(1, |cores| u32::try_from(NonZero::get(cores)).unwrap_or(u32::MAX))
}

/// How much memory this process may use, in bytes: the machine's, or less if it is in a group with a limit. None where that
/// cannot be found out.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = memory_of(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(machine, |limit: u64| limit.min(machine)))
}

fn memory_of(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The classes of hardware that it has: its processor, and what its operator says beside that.
pub(crate) fn classes(said: &BTreeSet<Name>) -> BTreeSet<Hardware> {
    let processor = Name::new(std::env::consts::ARCH).ok();
    processor.into_iter().chain(said.iter().cloned()).map(Hardware).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read_and_what_is_no_number_is_not_known() {
        assert_eq!(memory_of("MemTotal:        8388608 kB\nMemFree: 1 kB\n"), Some(8 << 30));
        assert_eq!(memory_of("MemFree: 1 kB\n"), None);
        assert_eq!(memory_of("MemTotal: much\n"), None);
    }

    #[test]
    fn a_machine_has_a_processor_and_what_is_said_of_it() {
        let classes = classes(&[Name::new("gpu").unwrap()].into());
        assert!(classes.len() == 2 && classes.contains(&Hardware(Name::new("gpu").unwrap())), "{classes:?}");
    }
}
