//! Write Stride functions and agents in Rust.
//!
//! ```
//! use stride::prelude::*;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter {
//!     value: u64,
//! }
//!
//! #[stride::agent]
//! impl Counter {
//!     /// A turn: durable when the caller sees the reply.
//!     fn add(&mut self, n: u64) -> u64 {
//!         self.value += n;
//!         self.value
//!     }
//!     /// `&self` changes nothing and commits nothing.
//!     fn get(&self) -> u64 {
//!         self.value
//!     }
//! }
//!
//! #[stride::function]
//! fn shout(text: String) -> String {
//!     text.to_uppercase()
//! }
//! ```
//!
//! A project depends on `stride-sdk` and on `serde` with its feature `derive`: what serde derives names the crate `serde`,
//! so the SDK cannot bring it along. `stride new` sets both up. Nothing else is needed: the SDK itself exports what the
//! host looks for.
//!
//! **Arguments.** No argument: the body is ignored. One: the body is its JSON. Several: a JSON array. An argument of type
//! [`Payload`] takes the bytes and the content type as they are.
//!
//! **Results.** Anything that serialises becomes JSON, [`Payload`] goes out as it is. `Result<_, E>`: an error of any
//! type that can be shown becomes the failure `guest_error`; a [`Failure`] keeps its code, so `?` passes on what an
//! asked agent or the platform answered.
//!
//! **Agents.** The type is `Default + Serialize + Deserialize`; its name in kebab-case is the agent type, unless
//! `#[stride::agent(name = "...")]` says otherwise. Every method with `&self` or `&mut self` can be asked. The struct
//! is loaded and saved whole; what is large belongs into [`state`], entry by entry. If a method fails or panics, its
//! writes are gone, those to the struct as well.
//!
//! **Messages.** [`agent()`] names an agent; [`Agent::ask`] waits for its answer, [`Agent::tell`] does not and leaves with the
//! turn's commit. [`timer`] is for what an agent tells itself later.
//!
//! **Data.** [`objects`] are large bytes in buckets, read where they are kept. What an agent has made of them may stay in memory from
//! turn to turn, in fields with `#[serde(skip)]`.
//!
//! **Maps.** [`maps`] call a function for every object of a prefix; an agent is told when its map has ended.
//!
//! **Versions.** A new version of an agent loads what the old one saved. If its struct has another shape, say how one becomes
//! the other; if that fails, the agent stays with the old version:
//!
//! ```
//! # use stride::prelude::*;
//! #[derive(Deserialize)]
//! struct Old {
//!     cents: u64,
//! }
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Purse {
//!     coins: Vec<u64>,
//! }
//!
//! fn from_cents(old: Old) -> Result<Purse, String> {
//!     Ok(Purse { coins: vec![old.cents] })
//! }
//!
//! #[stride::agent(migrate = from_cents)]
//! impl Purse {
//!     fn total(&self) -> u64 {
//!         self.coins.iter().sum()
//!     }
//! }
//! ```
#![deny(missing_docs)]

// The attributes name this crate by its outside name, also in its own tests and examples.
extern crate self as stride;

mod agent;
mod bindings;
mod convert;
mod dispatch;
mod failure;
pub mod maps;
pub mod memory;
pub mod objects;
mod payload;
pub mod state;
pub mod timer;

pub use agent::{Agent, agent, attempts_key};
pub use failure::{Code, Failure};
pub use payload::Payload;
pub use stride_sdk_macros::{agent, function};

/// What a guest usually needs.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};

    pub use crate::{Code, Failure, Payload, maps, memory, objects, state, timer};
}

/// For the attributes; not for people.
#[doc(hidden)]
pub mod private {
    pub use inventory;

    pub use crate::{
        convert::{arguments, failure, one_argument, reply},
        dispatch::{
            AgentExport, FunctionExport, MethodExport, Served, change_state, keep_state, no_method, serve_agent,
        },
    };
}
