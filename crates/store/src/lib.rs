//! Materialised state of cells: what the journal's records add up to, behind the journal and off the commit path.
//!
//! ```text
//! stage ─► active ─ freeze ─► frozen ─ materialise ─► fjall (one atomic batch: rows and positions) ─ persist ─► disk
//! get   ─► active, then frozen, then fjall
//! ```
//! Always true: the store knows for every cell which record it holds, and writes rows and that position in one atomic
//! batch; whatever it loses shows as an older position, which the journal replays or refuses. A row that it returns is
//! the row that was written: every value carries a checksum over its key and itself.
//! Not here: what a row means (see `agents`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod check;
mod error;
mod key;
mod staged;
mod store;
mod value;

pub use check::{Report, check};
pub use error::Error;
pub use key::RowKey;
pub use store::{Settings, Store, Write};
