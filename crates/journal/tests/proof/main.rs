//! The proof of the promise: an acknowledged record is returned, or the open is refused with file, offset and what is at
//! risk; it is never silently missing.
//!
//! `every_byte` spoils a small log at every byte, `every_crash` cuts the power at every disk operation, `at_random` does
//! everything at once for many seeds, `planted` shows that the checker catches a log that loses records.

mod at_random;
mod driver;
mod every_byte;
mod every_crash;
mod planted;
mod repair;
