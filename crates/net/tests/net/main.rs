//! Calls over real sockets, with everything that can be in their way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod calls;
mod certificates;
mod drain;
mod failures;
mod limits;
mod strangers;
mod support;
