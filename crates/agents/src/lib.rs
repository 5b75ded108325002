//! Agents: long-lived, addressable, durable; one turn at a time, and every turn a transaction.
//!
//! ```text
//! ask ─► mailbox (one per agent) ─► turn (writes collect, nothing has happened) ─► record ─► journal
//!                                                                                              │ Receipt
//!                              reply ◄─ Held::release ◄────────────────────────────────────────┘
//! ```
//! Always true: a reply leaves only against the journal's receipt, a failed turn leaves no trace, and an agent handles
//! its messages one at a time in the order in which they came.
//! Not here: what runs inside a turn (see [`Body`], implemented by `runtime`), HTTP, and files.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod alarm;
mod ask;
mod body;
mod cell;
mod cells;
mod deliver;
mod elsewhere;
mod engine;
mod fire;
mod first_format;
mod held;
mod inbox;
mod inspect;
mod lane;
mod maintain;
mod message;
mod moving;
pub mod native;
mod offline;
mod order;
mod pace;
mod parked;
mod record;
mod recover;
mod resettle;
mod residency;
mod retention;
mod rows;
mod slot;
mod stats;
mod status;
mod tell;
mod timer;
mod turn;
mod turns;
mod upgrade;
mod waits;

pub use body::{Bodies, Body, Kind, Method};
pub use elsewhere::{Asked, Cluster, Elsewhere, NotDone, Parcel, Snapshots};
pub use engine::{Engine, Settings, Surroundings};
pub use inspect::{AgentStatus, Listed, StateEntry, StatePage};
pub use message::{Answer, Ask, Tell, Timing, Told};
pub use offline::Offline;
pub use parked::ParkedMessage;
pub use recover::OpenError;
pub use resettle::{Resettled, Tally};
pub use stats::Stats;
pub use status::CellStatus;
pub use timer::{Firing, Schedule, TimerStatus};
pub use turn::{Turn, TurnError};
pub use upgrade::Refusal;
