//! How maps call functions.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_ids::{BucketName, Code, Failure, Name, Payload};
use stride_maps::{Callee, Caller, FunctionName, Reply};
use stride_runtime::{Function, Functions};

use crate::control::Control;

/// The functions of this node.
pub(crate) struct Calls {
    pub(crate) functions: Arc<Functions>,
    /// Knows the versions that are on disk only.
    pub(crate) control: Arc<Control>,
}

impl Caller for Calls {
    fn find<'a>(
        &'a self,
        tenant: &'a Name,
        FunctionName { component, function }: &'a FunctionName,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<dyn Callee>, Failure>> {
        Box::pin(async move {
            let found = self.functions.find(tenant, component, function.as_str(), version);
            let function = match (found, version) {
                (Err(Failure { code: Code::NotFound, .. }), Some(version)) => {
                    let component = self.control.version(tenant, component, version).await?;
                    Function::of(component, function.as_str())?
                }
                (found, _) => found?,
            };
            let callee: Arc<dyn Callee> = Arc::new(Pinned { functions: self.functions.clone(), function });
            Ok(callee)
        })
    }
}

/// A function in one version.
struct Pinned {
    functions: Arc<Functions>,
    function: Function,
}

impl Callee for Pinned {
    fn version(&self) -> &str {
        self.function.version()
    }

    fn concurrency(&self) -> usize {
        self.function.spec().concurrency
    }

    fn is_pure(&self) -> bool {
        self.function.purity().is_pure()
    }

    fn place<'a>(&'a self, buckets: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.functions.place(&self.function, buckets))
    }

    fn call(&self, input: Payload) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let called = self.functions.call_found(&self.function, input, None).await?;
            Ok(Reply { payload: called.payload, is_memoised: called.is_memoised })
        })
    }
}
