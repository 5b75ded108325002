//! What goes on beside all requests, from the start of a node to its end: state goes to the store, maps, runs and triggers are worked on, other nodes fetch what much
//! work waits for here, chunks that nobody needs are removed. A pass that fails is tried again, and said once until one succeeds.

use std::{sync::Arc, time::Duration};

use stride_agents::Engine;
use stride_data::{Objects, Swept};
use stride_gateway::Gateway;
use stride_ids::Failure;
use stride_runtime::Functions;
use stride_sim::Clock;
use stride_triggers::Triggers;
use tokio::sync::watch;

use crate::control::Control;

/// How often state goes from memory to the store, and idle agents are looked for.
const MAINTAIN_EVERY: Duration = Duration::from_millis(500);
/// After how many such passes the store is made to survive a power loss, so that the journal can let go.
const PASSES_PER_CHECKPOINT: u32 = 20;
/// After how many passes the instances that were made ahead are given back, if nobody called for them.
const PASSES_PER_RELEASE: u32 = 4;
/// How often maps are looked for that agents have begun, and triggers for which something waits.
const TAKE_UP_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked which objects much work waits for. Nodes tell what they have in their caches as often.
const COPY_EVERY: Duration = Duration::from_secs(1);
/// How often chunks that no object needs any more are looked for, if there may be some.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long after an upload has found no space: what was in the midst of being written has ended then.
const SWEEP_SOON: Duration = Duration::from_secs(1);

/// Looks for maps and runs on which nobody works, until the node stops. Beside everything else: the node answers meanwhile.
pub(crate) async fn take_up(
    gateway: Arc<Gateway>,
    control: Arc<Control>,
    clock: Clock,
    stopped: watch::Receiver<bool>,
) {
    let pass = || {
        let (gateway, tenants) = (gateway.clone(), control.tenants());
        async move { gateway.maps.take_up(tenants).await.and_then(|()| gateway.runs.take_up()) }
    };
    again("maps and runs that nobody works on cannot be found", TAKE_UP_EVERY, pass, clock, stopped).await;
}

/// Looks after triggers until the node stops, in the same way.
pub(crate) async fn look_after(
    triggers: Arc<Triggers>,
    control: Arc<Control>,
    clock: Clock,
    stopped: watch::Receiver<bool>,
) {
    let pass = || {
        let (triggers, tenants) = (triggers.clone(), control.tenants());
        async move { triggers.look_after(tenants).await }
    };
    again("not all triggers can be looked after", TAKE_UP_EVERY, pass, clock, stopped).await;
}

/// Has other nodes fetch what much work waits for here, until the node stops.
pub(crate) async fn copy_ahead(functions: Arc<Functions>, clock: Clock, stopped: watch::Receiver<bool>) {
    let pass = || {
        let functions = functions.clone();
        async move { functions.copy_ahead().await }
    };
    again("what much work waits for cannot be copied ahead", COPY_EVERY, pass, clock, stopped).await;
}

/// Makes one pass after another, with a pause, until the node stops.
async fn again<F>(
    trouble: &'static str,
    every: Duration,
    pass: impl Fn() -> F,
    clock: Clock,
    mut stopped: watch::Receiver<bool>,
) where
    F: Future<Output = Result<(), Failure>>,
{
    let mut failing = false;
    loop {
        match pass().await {
            Ok(()) => failing = false,
            Err(failure) if !failing => {
                failing = true;
                tracing::error!(%failure, "{trouble}; it is tried again");
            }
            Err(_) => {}
        }
        if clock.timeout(every, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Looks after the node until it stops. A pass that fails is tried again, and said once until one succeeds.
pub(crate) async fn maintain(
    engine: Arc<Engine>,
    functions: Arc<Functions>,
    clock: Clock,
    mut stopped: watch::Receiver<bool>,
) {
    let mut failing = false;
    let mut passes = 0u32;
    while clock.timeout(MAINTAIN_EVERY, stopped.wait_for(|stop| *stop)).await.is_err() {
        passes = passes.wrapping_add(1);
        if passes.is_multiple_of(PASSES_PER_RELEASE) {
            functions.release_idle();
        }
        let outcome = async {
            engine.maintain().await?;
            if passes.is_multiple_of(PASSES_PER_CHECKPOINT) { engine.checkpoint().await } else { Ok(()) }
        };
        match outcome.await {
            Ok(()) => failing = false,
            Err(failure) if !failing => {
                failing = true;
                tracing::warn!(%failure, "state cannot be brought to the store; it stays in memory and in the journal");
            }
            Err(_) => {}
        }
    }
}

/// Removes chunks that no object needs any more, until the node stops. The first time at once: the node may have been killed
/// in the midst of an upload.
pub(crate) async fn sweep(objects: Arc<Objects>, clock: Clock, mut stopped: watch::Receiver<bool>) {
    loop {
        let swept = tokio::select! {
            swept = objects.sweep_if_needed() => swept,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match swept {
            Ok(Some(Swept { kept, removed, removed_bytes, torn })) if removed + torn > 0 => {
                tracing::info!(kept, removed, removed_bytes, torn, "chunks that no object needs are removed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "chunks that no object needs cannot be removed; it is tried again"),
        }
        // A disk that an upload has filled is not left full for a minute.
        let sooner = async {
            objects.wants_space().await;
            clock.sleep(SWEEP_SOON).await;
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = sooner => {}
            () = clock.sleep(SWEEP_EVERY) => {}
        }
    }
}
