//! The memory of the node, which all its guests share.
//!
//! An agent may keep between its turns what it could make again, such as an index of an object that it has parsed. If agents hold
//! too much of that together, those that have not been used for the longest leave memory; their state stays. Who keeps a lot can be
//! considerate before:
//!
//! ```no_run
//! use stride::prelude::*;
//!
//! # struct Index;
//! # struct Search { index: Option<Index> }
//! # impl Search {
//! fn keep(&mut self, index: Index) {
//!     self.index = if memory::is_scarce() { None } else { Some(index) };
//! }
//! # }
//! ```

use crate::bindings::stride::guest::memory;

/// Whether less than a quarter is left of the memory that guests may take together. Memory that an agent has taken comes back when the
/// agent leaves memory, and not before, so it is better not taken than freed.
pub fn is_scarce() -> bool {
    memory::is_scarce()
}
