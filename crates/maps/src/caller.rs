//! What a map needs from whatever runs functions.

use futures::future::BoxFuture;
use stride_ids::{BucketName, Failure, Name, Payload};

use crate::spec::FunctionName;

/// A function that can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many calls of it run at the same time; more wait.
    pub concurrency: usize,
}

/// Calls functions.
pub trait Caller: Send + Sync + 'static {
    /// Looks a function up without calling it.
    ///
    /// # Errors
    /// `not_found`, with the nearest name.
    fn find(&self, tenant: &Name, function: &FunctionName) -> Result<Found, Failure>;

    /// Whether this node takes calls of a function with data of these buckets.
    ///
    /// # Errors
    /// `capability_denied` if the labels of data do not allow it here.
    fn place<'a>(
        &'a self,
        tenant: &'a Name,
        function: &'a FunctionName,
        buckets: &'a [BucketName],
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// Calls a function once. Only `overloaded` and `unavailable` say that it is worth trying again.
    fn call<'a>(
        &'a self,
        tenant: &'a Name,
        function: &'a FunctionName,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>>;
}
