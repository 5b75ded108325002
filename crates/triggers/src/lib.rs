//! Triggers: what starts work.
//!
//! ```text
//! a client, a turn ─► topic ──┐ event, in the commit            ┌─► an agent or a flow, in the commit
//! an object ─► its bucket ────┼───────────────► trigger ─ filter┤
//! a time ─► timer ────────────┘             (an agent, too)     └─► rows ─► calls of a function ─► done, or a dead letter
//! a request ─► route ─► a function, an agent or a flow, and its answer
//! ```
//! Always true: an event that was accepted is delivered or kept with why not; agents and flows get it exactly once, functions at least
//! once with the same id; what is triggered never holds up what triggers.
//! Not here: what a function is (see [`Caller`], implemented by `node`), HTTP, and what deployments are.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod caller;
mod declared;
mod deliver;
mod drive;
mod event;
mod http;
mod keeper;
mod letter;
mod message;
mod route;
mod row;
mod spec;
mod status;
mod topic;
mod trigger;
mod triggers;
mod window;

pub use caller::Caller;
pub use declared::{Declared, InForce};
pub use event::{EVENT_LEN_MAX, Event, InvalidEvent};
pub use http::Headers;
pub use letter::Letter;
pub use route::{Method, Route};
pub use spec::{Change, InvalidTrigger, Source, Target, TriggerSpec, Typed};
pub use status::{State, Status};
pub use topic::{Numbered, PUBLISH, Published, TOPICS, Window};
pub use trigger::TRIGGERS;
pub use triggers::{Errand, Triggers, publishable};
