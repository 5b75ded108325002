//! Arithmetic of time that stops at the longest time instead of wrapping or panicking: inputs come from other nodes.

use std::{num::NonZeroU64, time::Duration};

/// `time * times / parts`.
pub(crate) fn scale(time: Duration, times: u64, parts: NonZeroU64) -> Duration {
    from_nanos(time.as_nanos().saturating_mul(u128::from(times)) / u128::from(parts.get()))
}

/// How long `units` take if `per_second` of them are done in a second.
pub(crate) fn at_rate(units: u64, per_second: NonZeroU64) -> Duration {
    from_nanos(u128::from(units) * NANOS_PER_SECOND / u128::from(per_second.get()))
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

fn from_nanos(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND);
    seconds.map_or(Duration::MAX, |seconds| Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32))
}

/// How times stand in tables: milliseconds, which is what scores are made of.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_scale_and_the_longest_is_the_limit() {
        let three = NonZeroU64::new(3).unwrap();
        assert_eq!(scale(Duration::from_secs(2), 6, three), Duration::from_secs(4));
        assert_eq!(scale(Duration::MAX, u64::MAX, NonZeroU64::MIN), Duration::MAX);
        assert_eq!(at_rate(1, three), Duration::from_nanos(333_333_333));
        assert_eq!(at_rate(u64::MAX, NonZeroU64::MIN), Duration::from_secs(u64::MAX));
    }
}
