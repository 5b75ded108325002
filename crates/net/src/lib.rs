//! Calls between the nodes of a cluster: a question of bytes to a peer, an answer of bytes back.
//!
//! ```text
//!  Peers ── Peer (connect, back off) ── Link (calls in flight) ─┬─ Outbox ─▶  TCP or TLS  ─▶ Inbox ── incoming (slots, drain) ── Answers
//!           one per address             one per connection      └─ Inbox  ◀─              ◀─ Outbox
//! ```
//!
//! A connection carries calls from the side that made it, and answers back; two nodes that call each other have two. It is made with the
//! first call, shared by all, and kept.
//!
//! Always true: a call that ends with [`CallError::NotSent`] was not executed and never will be. What is in flight is bounded on both
//! sides. Bytes that are no frame end their connection and nothing else.
//! Not here: who the peers are, what is asked, and whether to ask again.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod address;
pub mod certificates;
mod error;
mod frame;
mod hello;
mod inbox;
mod incoming;
mod link;
mod metrics;
mod outbox;
mod peers;
mod server;
mod settings;
mod tls;
mod wire;

pub use address::{InvalidAddress, PeerAddr};
pub use error::{Broken, CallError, Part, Unreachable, Why};
pub use frame::{BODY_LEN_MAX, Malformed, Service};
pub use peers::Peers;
pub use server::{Answers, Refused, serve};
pub use settings::Settings;
pub use tls::{Tls, TlsError};
