//! How maps, triggers and other nodes call functions.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_agents::NotDone;
use stride_ids::{BucketName, Code, Failure, Name, Payload};
use stride_maps::{Callee, Caller, Chain, FunctionName, Input, Part, Reply, Wishes};
use stride_placement::{NodeId, Reference};
use stride_runs::Afar;
use stride_runtime::{Call, Called, Errand, Function, Functions, Job};
use stride_triggers::Target;

use crate::{control::Control, targets::Targets};

/// The functions of this node.
pub(crate) struct Calls {
    pub(crate) functions: Arc<Functions>,
    /// Knows the versions that are on disk only.
    pub(crate) control: Arc<Control>,
}

impl Calls {
    async fn function(
        &self,
        tenant: &Name,
        component: &Name,
        function: &str,
        version: Option<&str>,
    ) -> Result<Function, Failure> {
        match (self.functions.find(tenant, component, function, version), version) {
            (Err(Failure { code: Code::NotFound, .. }), Some(version)) => {
                Function::of(self.control.version(tenant, component, version).await?, function)
            }
            (found, _) => found,
        }
    }

    /// Runs what another node has sent.
    pub(crate) async fn errand(&self, errand: Errand) -> Result<Called, NotDone> {
        let Errand { tenant, component, function, version, .. } = &errand;
        let found = self.function(tenant, component, function, Some(version)).await;
        // A deployment that has not come here yet, or one that is not kept any more.
        let function = found.map_err(|_| NotDone::NotHere)?;
        self.functions.errand(&function, errand).await
    }
}

impl Caller for Calls {
    fn find<'a>(
        &'a self,
        tenant: &'a Name,
        FunctionName { component, function }: &'a FunctionName,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<dyn Callee>, Failure>> {
        Box::pin(async move {
            let function = self.function(tenant, component, function.as_str(), version).await?;
            let callee: Arc<dyn Callee> =
                Arc::new(Pinned { functions: self.functions.clone(), function, keeps_to: Mutex::default() });
            Ok(callee)
        })
    }

    fn chain(&self, tenant: &Name) -> Box<dyn Chain> {
        let (functions, tenant) = (self.functions.clone(), tenant.clone());
        Box::new(ChainHere { functions, tenant, chain: stride_runtime::Chain::default() })
    }
}

/// Functions of this node that are called one after the other.
struct ChainHere {
    functions: Arc<Functions>,
    tenant: Name,
    chain: stride_runtime::Chain,
}

impl Chain for ChainHere {
    fn call<'a>(
        &'a mut self,
        FunctionName { component, function }: &'a FunctionName,
        input: Payload,
    ) -> BoxFuture<'a, Result<Option<Payload>, Failure>> {
        Box::pin(async move {
            let found = self.functions.find(&self.tenant, component, function.as_str(), None).ok();
            let Some(function) = found.filter(|function| function.purity().is_pure()) else { return Ok(None) };
            Ok(Some(self.functions.call_next(&function, input, &mut self.chain).await?.payload))
        })
    }
}

impl Afar for Calls {
    fn send<'a>(
        &'a self,
        tenant: &'a Name,
        parts: &'a [Part],
        work: Bytes,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Failure>> {
        Box::pin(self.functions.send_work(tenant, parts, work))
    }

    fn may_work<'a>(&'a self, tenant: &'a Name, parts: &'a [Part]) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(self.functions.may_work(tenant, parts))
    }
}

impl stride_triggers::Caller for Calls {
    fn call<'a>(
        &'a self,
        tenant: &'a Name,
        (component, function): (&'a Name, &'a Name),
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>> {
        let (tenant, component, function) = (tenant.clone(), component.clone(), function.to_string());
        let call = Call { tenant, component, function, input, data: Vec::new(), trace: None };
        Box::pin(async move { Ok(self.functions.call(call).await?.payload) })
    }

    fn check(&self, tenant: &Name, component: &Name, target: &Target) -> Result<(), Failure> {
        Targets { registry: &self.control.registry, tenant, component, exports: None }.check(target)
    }
}

/// A function in one version.
struct Pinned {
    functions: Arc<Functions>,
    function: Function,
    /// What calls have to keep to, as it was when that was asked last.
    keeps_to: Mutex<Arc<[Reference]>>,
}

impl Callee for Pinned {
    fn version(&self) -> &str {
        self.function.version()
    }

    fn concurrency(&self) -> usize {
        self.function.spec().concurrency * self.functions.nodes()
    }

    fn is_pure(&self) -> bool {
        self.function.purity().is_pure()
    }

    fn place<'a>(&'a self, buckets: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let keeps_to = self.functions.place(&self.function, buckets).await?;
            *self.keeps_to.lock() = keeps_to;
            Ok(())
        })
    }

    fn call(&self, input: Input, wishes: Wishes) -> BoxFuture<'_, Result<Reply, Failure>> {
        let Wishes { near: data, beside, hardware, prefers, node } = wishes;
        let (home, keeps_to) = (node.map(NodeId), self.keeps_to.lock().clone());
        let job = Job { input, data, beside, hardware, prefers, home, keeps_to, trace: None };
        Box::pin(async move {
            let called = self.functions.call_found(&self.function, job).await?;
            Ok(Reply { payload: called.payload, is_memoised: called.is_memoised })
        })
    }
}
