//! The models of the case studies: one piece of code for the guests and for the native programs that they are measured
//! against, so that what differs is where it runs.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod blacklist;
pub mod mlp;
