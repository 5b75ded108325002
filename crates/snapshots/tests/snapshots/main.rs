//! Snapshots against a model: through crashes, takeovers, stale owners, damage, and on every kind of object store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damage;
mod model;
mod places;
mod promises;
mod unreliable;
mod world;
