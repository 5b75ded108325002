//! End to end: the real binary, real components, HTTP. One test binary, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod adopt;
mod agents;
mod backup;
mod bank;
mod case_studies;
mod cli;
mod cluster;
mod cluster_init;
mod cluster_placement;
mod crashes;
mod deploy_files;
mod docs;
mod election;
mod errors;
mod functions;
mod guest_maps;
mod guest_objects;
mod maps;
mod memory;
mod messages;
mod object_check;
mod object_crashes;
mod objects;
mod operators;
mod parked;
mod placement;
mod postgres;
mod purity;
mod rollback;
mod s3;
mod stores;
mod support;
mod tell;
mod thumbnails;
mod torture;
