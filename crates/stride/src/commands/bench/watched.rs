//! Bodies that say when they have run a method: whoever measures waits for that instead of asking again and again, which
//! would take the CPU from what is measured.

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use stride_agents::{Bodies, Body, Kind, Turn};
use stride_ids::{Address, Failure, Name, Payload};
use stride_runtime::{ComponentSpec, Registry};
use stride_sim::Clock;
use tokio::sync::Notify;

use super::rig::Rig;

/// An engine that serves one example, whose agents reach each other, and notifies when a method has run. The turn is not
/// durable then.
pub(crate) async fn watched(
    clock: &Clock,
    dir: &Path,
    example: &str,
    may_reach: &str,
    (method, ran): (&'static str, Arc<Notify>),
) -> anyhow::Result<Rig> {
    let spec = ComponentSpec { may_reach: vec![may_reach.to_owned()], ..ComponentSpec::default() };
    Rig::with_bodies(clock, dir, example, spec, |registry| Arc::new(Watched { registry, method, ran })).await
}

struct Watched {
    registry: Arc<Registry>,
    method: &'static str,
    ran: Arc<Notify>,
}

struct WatchedBody {
    body: Box<dyn Body>,
    method: &'static str,
    ran: Arc<Notify>,
}

impl Bodies for Watched {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        Bodies::kind(&*self.registry, tenant, name)
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        self.registry.kind_of_version(tenant, name, version)
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        Bodies::nearest_kind(&*self.registry, tenant, name)
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        Box::pin(async move {
            let body = self.registry.start(kind, address).await?;
            Ok(Box::new(WatchedBody { body, method: self.method, ran: self.ran.clone() }) as Box<dyn Body>)
        })
    }
}

impl Body for WatchedBody {
    fn migrate<'a>(&'a mut self, turn: Turn, from_version: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        self.body.migrate(turn, from_version)
    }

    fn turn<'a>(
        &'a mut self,
        turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        if method != self.method {
            return self.body.turn(turn, method, input);
        }
        Box::pin(async move {
            let outcome = self.body.turn(turn, method, input).await;
            self.ran.notify_one();
            outcome
        })
    }
}
