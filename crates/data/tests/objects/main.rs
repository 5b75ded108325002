//! Objects on a real directory, with their index on a journal in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod basics;
mod damage;
mod disk_cache;
mod model;
mod parts;
mod shared;
mod stores;
mod sweep;
mod versions;
mod world;
