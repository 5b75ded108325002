//! Leader election, in the three ways that `docs/case-studies.md` compares:
//!
//! - `candidate`: the bully algorithm by messages from agent to agent, with timers as timeouts;
//! - `polled-candidate` and `blackboard`: the same algorithm for those who reach each other only through storage, which they poll;
//! - `lease`: what one would use on Stride, an agent that is held by one at a time; `worker` is a user of it.
//!
//! The algorithm itself ([`bully`]) and who holds a lease ([`tenure`]) are plain Rust, tested without a node.

mod bully;
mod candidate;
mod lease;
mod member;
mod polled;
mod tenure;
mod worker;
