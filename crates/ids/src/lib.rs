//! The words every other crate speaks: typed ids, addresses with a tenant, payloads, and failures with a stable code.
//!
//! Always true: a [`Name`] that exists is valid, so an [`Address`] can be put into a path, a key or a log line as it is.
//! Not here: anything that waits for something outside, stores or decides.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod address;
mod affinity;
mod failure;
mod layout;
mod object;
mod payload;
mod position;

pub use address::{
    Address, AgentKey, CELLS_CLUSTER, CELLS_EMBEDDED, CellId, DatabaseId, InvalidName, Name, is_private_method,
};
pub use affinity::Affinity;
pub use failure::{Code, Failure, with_causes};
pub use layout::{Declared, Layout};
pub use object::{BucketName, ObjectKey, ObjectName, VersionId};
pub use payload::Payload;
pub use position::{CallId, Epoch, Incarnation, MessageId, Seq};
