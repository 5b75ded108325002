//! How maps call functions.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_ids::{BucketName, Failure, Name, Payload};
use stride_maps::{Caller, Found, FunctionName};
use stride_runtime::{Call, Functions};

/// The functions of this node.
pub(crate) struct Calls(pub(crate) Arc<Functions>);

impl Caller for Calls {
    fn find(&self, tenant: &Name, FunctionName { component, function }: &FunctionName) -> Result<Found, Failure> {
        let spec = self.0.find(tenant, component, function.as_str())?;
        Ok(Found { concurrency: spec.concurrency })
    }

    fn place<'a>(
        &'a self,
        tenant: &'a Name,
        FunctionName { component, function }: &'a FunctionName,
        buckets: &'a [BucketName],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.place(tenant, component, function.as_str(), buckets))
    }

    fn call<'a>(
        &'a self,
        tenant: &'a Name,
        FunctionName { component, function }: &'a FunctionName,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>> {
        let (tenant, component, function) = (tenant.clone(), component.clone(), function.to_string());
        let call = Call { tenant, component, function, input, trace: None };
        Box::pin(async move { Ok(self.0.call(call).await?.payload) })
    }
}
