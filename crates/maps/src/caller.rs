//! What a map needs from whatever runs functions.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_ids::{Failure, Name, Payload};

use crate::spec::FunctionName;

/// Finds functions.
pub trait Caller: Send + Sync + 'static {
    /// A function in one version of its component, or in the one that is in force.
    ///
    /// # Errors
    /// `not_found`, with the nearest name; also for a version that is not kept any more.
    fn find<'a>(
        &'a self,
        tenant: &'a Name,
        function: &'a FunctionName,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<dyn Callee>, Failure>>;
}

/// A function in one version. It can be called as long as somebody holds this, whatever is deployed meanwhile.
pub trait Callee: Send + Sync + 'static {
    /// Which version.
    fn version(&self) -> &str;

    /// How many calls of it run at the same time; more wait.
    fn concurrency(&self) -> usize;

    /// What it answers follows from its input alone, so that it may be called twice for one answer.
    fn is_pure(&self) -> bool;

    /// Calls it once. Only `overloaded` and `unavailable` say that it is worth trying again.
    fn call(&self, input: Payload) -> BoxFuture<'_, Result<Reply, Failure>>;
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub payload: Payload,
    /// The answer was known from an earlier call.
    pub is_memoised: bool,
}
