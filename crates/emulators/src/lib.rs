//! For tests alone: tools that the package registries have, and the object stores that some of them emulate.
//!
//! Always true: what is installed is installed once, below the target directory; an emulator listens on loopback, on a port
//! of its own, and ends with whoever started it.
//! Not here: uploads in parts and copies at Google's store, which its emulator has not as `object_store` asks for them.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod emulator;
mod tools;

pub use emulator::Emulator;
pub use tools::{node_tools, python_tools, succeeded};
