//! What triggers need from whatever runs functions.

use futures::future::BoxFuture;
use stride_ids::{Failure, Name, Payload};

use crate::spec::Target;

/// Calls functions.
pub trait Caller: Send + Sync + 'static {
    /// Calls a function of a component in the version in force, once.
    ///
    /// # Errors
    /// `overloaded` and `unavailable` say that nothing was wrong with the call; the others are its outcome.
    fn call<'a>(
        &'a self,
        tenant: &'a Name,
        function: (&'a Name, &'a Name),
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>>;

    /// Whether what a trigger of `component` starts is there.
    ///
    /// # Errors
    /// `not_found`, with the nearest name.
    fn check(&self, tenant: &Name, component: &Name, target: &Target) -> Result<(), Failure>;
}
