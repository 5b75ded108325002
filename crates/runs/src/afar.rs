//! Calls whose data is on another node: they are done there, so that what comes out of the work travels and not the lines.
//!
//! Always true: what was sent is done where it came to and never sent on, and only if that node finds itself that labels allow it; only what reads lines is sent, which is pure, so that it
//! may be done again here if nobody knows whether it was done there.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use stride_flows::{Event, plan::Does, run::Call};
use stride_ids::{Address, Code, Failure, Name};
use stride_maps::Part;

use crate::{read, shared::Shared, work::Calls};

/// The way to the other nodes.
pub trait Afar: Send + Sync + 'static {
    /// Has work on these parts of objects done where most of their bytes are: what [`Runs::work`](crate::Runs::work) answers there.
    /// `None`: that is here, or nobody else takes it.
    ///
    /// # Errors
    /// `capability_denied` if the labels of the data do not allow it anywhere; what the work fails with.
    fn send<'a>(
        &'a self,
        tenant: &'a Name,
        parts: &'a [Part],
        work: Bytes,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Failure>>;

    /// Whether labels allow work on these parts on this node. Whoever sent it knows only what was so a moment ago.
    ///
    /// # Errors
    /// If that cannot be looked at.
    fn may_work<'a>(&'a self, tenant: &'a Name, parts: &'a [Part]) -> BoxFuture<'a, Result<bool, Failure>>;
}

/// A call on its way.
#[derive(Serialize, Deserialize)]
struct Sent<C> {
    run: Address,
    call: C,
}

/// Has a call done where its lines are. `None`: it reads none, or they are here.
pub(crate) async fn send(shared: &Shared, run: &Address, call: &Call) -> Result<Option<Event>, Failure> {
    let reads_lines = call.stages.first().is_some_and(|stage| matches!(stage.does, Does::Lines));
    if !reads_lines || !call.near_data {
        return Ok(None);
    }
    let parts = parts_of(run, call)?;
    let work = serde_json::to_vec(&Sent { run: run.clone(), call }).map_err(|e| unreadable(&e))?;
    let Some(answer) = shared.surroundings()?.afar.send(&run.tenant, &parts, work.into()).await? else {
        return Ok(None);
    };
    shared.calls_sent.fetch_add(1, Ordering::Relaxed);
    serde_json::from_slice(&answer).map(Some).map_err(|e| unreadable(&e))
}

/// Does what another node has sent.
pub(crate) async fn work(shared: &Arc<Shared>, work: &[u8]) -> Result<Bytes, Failure> {
    let Sent { run, call }: Sent<Call> = serde_json::from_slice(work).map_err(|e| unreadable(&e))?;
    // Whoever sent it holds a place as well, so to wait for one could be to wait for each other.
    let Ok(_room) = shared.room.try_acquire() else {
        return Err(Failure::new(Code::Overloaded, "this node has enough to do for flows"));
    };
    if !shared.surroundings()?.afar.may_work(&run.tenant, &parts_of(&run, &call)?).await? {
        return Err(Failure::new(Code::Overloaded, "labels do not allow this node to read that"));
    }
    let event = Calls::new(shared, &run).call(&call).await?;
    shared.calls_taken.fetch_add(1, Ordering::Relaxed);
    serde_json::to_vec(&event).map(Bytes::from).map_err(|e| unreadable(&e))
}

/// What a call reads the lines of.
fn parts_of(run: &Address, call: &Call) -> Result<Vec<Part>, Failure> {
    call.items.iter().map(|item| read::part(&run.tenant, &item.value)).collect()
}

fn unreadable(e: &serde_json::Error) -> Failure {
    Failure::new(Code::Internal, format!("a call that was sent to another node cannot be read: {e}"))
}
