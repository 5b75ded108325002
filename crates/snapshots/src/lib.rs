//! Snapshots: the rows of cells in an object store, so that any node can take a cell over, and the journal need not be kept.
//!
//! ```text
//! save ─► rows that changed ─► a file, written once ─► a manifest that names it and the files before ─► read back
//! load ─► the newest manifest ─► the files that the store has not got ─► import
//! cells/CELL/manifest-POSITION-EPOCH      cells/CELL/base-POSITION-RANDOM      cells/CELL/delta-SINCE-POSITION-RANDOM
//! ```
//! Always true: nothing that is written is written again; every manifest is true, whoever wrote it and when, because it is
//! about durable records only; of several the one with the highest position wins. Rows that are loaded are the rows that
//! were materialised at the position, or there is an error that names the file.
//! Not here: who owns a cell, and up to where the journal may be truncated.
//!
//! Why that holds with owners that are slow, stale or killed: `docs/design/0012-snapshots.md`.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod draft;
mod error;
mod load;
mod manifest;
mod remote;
mod rows;
mod save;
mod snapshots;
mod sweep;

pub use draft::Draft;
pub use error::Error;
pub use load::Loaded;
pub use save::Saved;
pub use snapshots::Snapshots;
pub use sweep::Swept;
