//! What the polled way would cost as functions and tables, as the paper reckons it.
//!
//! Public prices of AWS in US East (N. Virginia), on demand and beyond what is free: DynamoDB's as they are since November 2024, when they
//! were halved, Lambda's for x86.

use std::time::Duration;

/// One row of up to 4 KB is looked for, consistently.
const READ: f64 = 0.125e-6;
/// One row of up to 1 KB is written.
const WRITE: f64 = 0.625e-6;
const GB_SECOND: f64 = 0.000_016_666_7;
/// The smallest function there is.
const FUNCTION_GB: f64 = 0.125;
const POLLS_PER_SECOND: f64 = 4.0;

/// What functions cost that do nothing but look for messages.
fn of_polling(functions: u32, lasting: Duration) -> f64 {
    let second = POLLS_PER_SECOND * READ + FUNCTION_GB * GB_SECOND;
    f64::from(functions) * lasting.as_secs_f64() * second
}

/// An election among so many that wrote so many messages and took so long.
pub(super) fn of_an_election(functions: u32, written: u64, took: Duration) -> f64 {
    of_polling(functions, took) + written as f64 * WRITE
}

/// An hour in which nothing happens.
pub(super) fn of_an_hour(functions: u32) -> f64 {
    of_polling(functions, Duration::from_secs(3600))
}

/// Dollars, to two digits that say something.
pub(super) fn shown(dollars: f64) -> String {
    if dollars >= 1.0 { format!("${dollars:.2}") } else { format!("${dollars:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_a_thousand_functions_is_half_a_million_gigabyte_seconds_and_14_million_reads() {
        let hour = of_an_hour(1_000);
        let expected = 450_000.0 * GB_SECOND + 14.4e6 * READ;
        assert!((hour - expected).abs() < 1e-9, "{hour}");
        assert_eq!(shown(hour), "$9.30");
    }

    #[test]
    fn an_election_is_its_time_and_its_rows() {
        assert_eq!(of_an_election(0, 1_000_000, Duration::from_secs(1)), 0.625);
        assert!(of_an_election(10, 5, Duration::from_secs(2)) > of_an_election(10, 5, Duration::from_secs(1)));
        assert_eq!(shown(0.000_625), "$6.25e-4");
    }
}
