//! Materialised state of cells: what the journal's records add up to, behind the journal and off the commit path.
//!
//! ```text
//! stage ─► active ─ freeze ─► frozen ─ materialise ─► memtable ─ persist ─► sorted tables on disk
//! get   ─► active, then frozen, then the tree (memtable, tables)
//! export ─► the rows of a cell in the tree, or what changed of them ─► import, on another node
//! ```
//! Always true: rows and the position that they belong to reach the disk in one table, named by one checksummed
//! manifest; so whatever the store loses shows as an older position, which the journal replays or refuses. A row that
//! it returns is the row that was written: every block, and every value over its key, carries a checksum.
//! Not here: a log (the journal is the log, so the tree has none); what a row means (see `agents`).
//!
//! Why it is built this way, with what was measured and rejected: `docs/design/0002-store.md`.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod archive;
mod changes;
mod check;
mod compactor;
mod error;
mod export;
mod import;
mod key;
mod manifest;
mod scan;
mod staged;
mod store;
mod summary;
mod tree;
mod value;

pub use check::{Report, check};
pub use error::Error;
pub use export::{Export, Row};
pub use import::Import;
pub use key::{RowKey, Rows};
pub use store::{Settings, Store, Write};
pub use tree::lock_file;
