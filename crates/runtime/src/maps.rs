//! `stride:guest/maps`: maps that guests begin and look at.
//!
//! Always true: a guest begins no map, and sees none, whose function its component's capabilities do not name or whose objects it could not
//! list by itself; results become objects only where it could put them by itself. A map that a turn begins has begun when the turn
//! is committed, and not before.
//! Not here: what a map is (see `maps`).

use std::sync::Arc;

use stride_ids::{BucketName, Code, Failure, Name};
use stride_maps::{
    FunctionName, MapId, Maps, Notice, Outcome, Output, Prefix, ResultsPage, Spec, Split, State, Status, ToBegin,
};

use crate::{
    bindings::stride::guest::{
        maps::{self as wit, Host},
        types,
    },
    component::Component,
    failure::to_guest,
    grant::Right,
    guest::{Guest, Reach, to_wit},
};

/// However many results a guest asks for, a page has no more than this.
const PAGE_MAX: usize = 256;

type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl Host for Guest {
    async fn begin(&mut self, spec: wit::Spec, then: Option<String>) -> Answer<String> {
        self.check_may_write()?;
        // On the heap, because every host call would be as large as this future is.
        let begun = Box::pin(self.begin_map(spec, then)).await;
        Ok(begun.map(|id| id.to_string()).map_err(to_guest))
    }

    async fn look(&mut self, id: String) -> Answer<wit::Status> {
        let component = self.working().cloned();
        let looked = async { Ok(Seen::look(component?, &id).await?.status.into()) };
        Ok(looked.await.map_err(to_guest))
    }

    async fn results(&mut self, id: String, begin: u64, limit: u32) -> Answer<wit::Page> {
        let component = self.working().cloned();
        let results = async { Ok(Seen::look(component?, &id).await?.results(begin, limit).await?.into()) };
        Ok(results.await.map_err(to_guest))
    }

    async fn reduced(&mut self, id: String) -> Answer<Option<wit::Output>> {
        let component = self.working().cloned();
        let reduced = async { Ok(Seen::look(component?, &id).await?.reduced().await?.map(wit::Output::from)) };
        Ok(reduced.await.map_err(to_guest))
    }

    async fn cancel(&mut self, id: String) -> Answer<()> {
        self.check_may_write()?;
        let component = self.working().cloned();
        let cancelled = async { Seen::look(component?, &id).await?.cancel().await };
        Ok(cancelled.await.map_err(to_guest))
    }
}

impl Guest {
    async fn begin_map(&mut self, spec: wit::Spec, then: Option<String>) -> Result<MapId, Failure> {
        let component = self.working()?.clone();
        let (maps, spec) = (component.host.maps()?, as_meant(spec)?);
        check_reads(&component, &spec)?;
        check_writes(&component, &spec)?;
        match self.reach_mut() {
            Reach::Turn { turn, .. } => {
                let notice = then.map(|method| Notice { agent: turn.address().clone(), method });
                let ToBegin { id, to, method, input } = maps.to_begin(&component.tenant, spec, notice).await?;
                turn.tell(to, method.to_owned(), input)?;
                Ok(id)
            }
            Reach::Nothing | Reach::Agents { .. } if then.is_some() => {
                let message =
                    "only an agent can be told when a map has ended; a function looks at it, or an agent begins it";
                Err(Failure::new(Code::InvalidRequest, message))
            }
            Reach::Nothing | Reach::Agents { .. } => Ok(maps.begin(&component.tenant, spec, None).await?.status.id),
        }
    }
}

/// A map that a component may see.
struct Seen {
    maps: Arc<Maps>,
    tenant: Name,
    status: Status,
}

impl Seen {
    async fn look(component: Arc<Component>, id: &str) -> Result<Self, Failure> {
        let (maps, tenant) = (component.host.maps()?, component.tenant.clone());
        let status = maps.status(&tenant, &map_id(id)?).await?;
        check_reads(&component, &status.spec)?;
        Ok(Self { maps, tenant, status })
    }

    async fn results(&self, begin: u64, limit: u32) -> Result<ResultsPage, Failure> {
        let limit = usize::try_from(limit).map_or(PAGE_MAX, |limit| limit.min(PAGE_MAX));
        self.maps.results_from(&self.tenant, &self.status.id, begin, limit).await
    }

    async fn reduced(&self) -> Result<Option<Output>, Failure> {
        self.maps.reduced(&self.tenant, &self.status.id).await
    }

    /// One that has ended stays, with its results: a guest that is tried again must not remove what it just cancelled.
    async fn cancel(&self) -> Result<(), Failure> {
        self.maps.call_off(&self.tenant, &self.status.id).await
    }
}

fn map_id(id: &str) -> Result<MapId, Failure> {
    id.parse().map_err(|why| Failure::new(Code::InvalidRequest, why))
}

/// A spec as it was written, if it can be read.
fn as_meant(spec: wit::Spec) -> Result<Spec, Failure> {
    let invalid = |why| Failure::new(Code::InvalidRequest, why);
    let function = |text: String| text.parse::<FunctionName>().map_err(invalid);
    let prefix = |text: String| text.parse::<Prefix>().map_err(invalid);
    Ok(Spec {
        function: function(spec.function)?,
        over: prefix(spec.over)?,
        split: spec.split.map(|split| match split {
            wit::Split::Lines => Split::Lines,
            wit::Split::Bytes => Split::Bytes,
        }),
        reduce: spec.reduce.map(function).transpose()?,
        out: spec.out.map(prefix).transpose()?,
    })
}

/// Refuses functions that the capabilities do not name, and objects that may not be listed.
fn check_reads(component: &Component, spec: &Spec) -> Result<(), Failure> {
    for function in [Some(&spec.function), spec.reduce.as_ref()].into_iter().flatten() {
        if !component.spec.grants_map(&function.to_string()) {
            let message = format!(
                "component `{}` may not map `{function}`; add maps = [\"{function}\"] to [capabilities] in stride.toml",
                component.name
            );
            return Err(Failure::new(Code::CapabilityDenied, message));
        }
    }
    let Prefix { bucket, prefix } = &spec.over;
    if component.spec.grants_all(bucket, prefix, Right::Read) {
        return Ok(());
    }
    Err(denied(component, bucket, &format!("map over `{}`", spec.over), Right::Read))
}

/// Refuses results where the component may not put objects.
fn check_writes(component: &Component, spec: &Spec) -> Result<(), Failure> {
    let Some(out) = &spec.out else { return Ok(()) };
    let invalid = |why: String| Failure::new(Code::InvalidRequest, why);
    let may_write = match spec.reduced_object(&component.tenant).map_err(invalid)? {
        Some(object) => component.spec.grants_object(&object, Right::Write),
        None => component.spec.grants_all(&out.bucket, &out.prefix, Right::Write),
    };
    if may_write {
        Ok(())
    } else {
        Err(denied(component, &out.bucket, &format!("put results under `{out}`"), Right::Write))
    }
}

fn denied(component: &Component, bucket: &BucketName, what: &str, right: Right) -> Failure {
    crate::objects::denied(component, bucket, what, right)
}

impl From<Status> for wit::Status {
    fn from(status: Status) -> Self {
        let failed = status.failed.iter().map(|(_, items)| items).sum();
        let state = match status.state {
            State::Running => wit::State::Running,
            State::Done => wit::State::Done,
            State::Cancelled => wit::State::Cancelled,
            State::Failed(cause) => wit::State::Failed(to_guest(cause)),
        };
        Self { state, items: status.items, planned: status.is_planned, done: status.done, failed }
    }
}

impl From<Output> for wit::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Kept(payload) => Self::Kept(to_wit(payload)),
            Output::Stored { object, .. } => Self::Stored(object),
        }
    }
}

impl From<ResultsPage> for wit::Page {
    fn from(page: ResultsPage) -> Self {
        let item = |(number, Outcome { name, result })| wit::Item {
            number,
            input: name,
            outcome: result.map(wit::Output::from).map_err(to_guest),
        };
        Self { items: page.results.into_iter().map(item).collect(), next: page.next }
    }
}
