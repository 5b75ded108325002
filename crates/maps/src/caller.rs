//! What a map needs from whatever runs functions.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_ids::{Address, BucketName, Failure, Name, ObjectName, Payload};

use crate::{
    part::Input,
    row::Versions,
    spec::{FunctionName, Spec},
};

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

    /// Begins calls of pure functions, one after the other, on this node.
    fn chain(&self, tenant: &Name) -> Box<dyn Chain>;
}

/// Calls of pure functions that follow each other, which may share an instance.
pub trait Chain: Send {
    /// What the next function gives. `None`: it is not pure, or not there.
    ///
    /// # Errors
    /// What the function fails with; `overloaded` and `unavailable` say that it is worth trying again.
    fn call<'a>(
        &'a mut self,
        function: &'a FunctionName,
        input: Payload,
    ) -> BoxFuture<'a, Result<Option<Payload>, Failure>>;
}

/// A function in one version. It can be called as long as somebody holds this, whatever is deployed meanwhile.
pub trait Callee: Send + Sync + 'static {
    /// Which version.
    fn version(&self) -> &str;

    /// How many calls of it run at the same time, on all nodes together; more wait.
    fn concurrency(&self) -> usize;

    /// What it answers follows from its input alone, so that it may be called twice for one answer.
    fn is_pure(&self) -> bool;

    /// Whether some node takes calls of it with data of these buckets. Those that are made afterwards keep to the labels as
    /// they were then.
    ///
    /// # Errors
    /// `capability_denied` if the labels of data do not allow it anywhere.
    fn place<'a>(&'a self, buckets: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>>;

    /// Calls it once, here or on another node. Only `overloaded` and `unavailable` say that it is worth trying again.
    fn call(&self, input: Input, wishes: Wishes) -> BoxFuture<'_, Result<Reply, Failure>>;
}

/// Where a call would best run, beside where its input is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Close to these objects. One that is not there is no reason to be anywhere.
    pub near: Vec<ObjectName>,
    /// As if it were called by this agent: on the agent's node, if that has time for it.
    pub beside: Option<Address>,
    /// Only on a node that has this class of hardware.
    pub hardware: Option<Name>,
    /// Best on a node that has this class.
    pub prefers: Option<Name>,
    /// On this node, if it is as good as any.
    pub node: Option<Name>,
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub payload: Payload,
    /// The answer was known from an earlier call.
    pub is_memoised: bool,
}

/// What a map calls, each in one version.
#[derive(Clone)]
pub(crate) struct Callees {
    pub(crate) function: Arc<dyn Callee>,
    pub(crate) reduce: Option<Arc<dyn Callee>>,
}

impl Callees {
    /// Finds them in these versions.
    pub(crate) async fn find(
        caller: &dyn Caller,
        tenant: &Name,
        spec: &Spec,
        versions: &Versions,
    ) -> Result<Self, Failure> {
        let function = caller.find(tenant, &spec.function, versions.function.as_deref()).await?;
        let reduce = match &spec.reduce {
            Some(reduce) => Some(caller.find(tenant, reduce, versions.reduce.as_deref()).await?),
            None => None,
        };
        Ok(Self { function, reduce })
    }

    pub(crate) fn versions(&self) -> Versions {
        let version = |callee: &Arc<dyn Callee>| callee.version().to_owned();
        Versions { function: Some(version(&self.function)), reduce: self.reduce.as_ref().map(version) }
    }

    /// Whether some node takes the calls, with what the map reads and where its results go.
    pub(crate) async fn place(&self, Spec { over, out, .. }: &Spec) -> Result<(), Failure> {
        let buckets: Vec<_> = [Some(over), out.as_ref()].into_iter().flatten().map(|one| one.bucket.clone()).collect();
        for callee in [Some(&self.function), self.reduce.as_ref()].into_iter().flatten() {
            callee.place(&buckets).await?;
        }
        Ok(())
    }
}
