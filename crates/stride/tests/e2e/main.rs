//! End to end: the real binary, real components, HTTP. One test binary, so that it is linked once.

mod agents;
mod cli;
mod crashes;
mod errors;
mod functions;
mod support;
