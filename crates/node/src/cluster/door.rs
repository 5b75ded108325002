//! What other nodes come to this one for.

use std::sync::{Arc, OnceLock};

use axum::Router;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use serde::Serialize;
use stride_agents::{Asked, Engine, NotDone, Parcel, Tell};
use stride_data::Piece;
use stride_ids::{CellId, Code};
use stride_net::{Answers, Refused, Service};
use stride_runs::Runs;
use stride_runtime::Called;

use super::switchboard::{ListAsked, Request, Switchboard, decoded, encoded, services};
use crate::calls::Calls;

/// See the module. Before the node is whole it refuses everybody.
#[derive(Default)]
pub(super) struct Door(OnceLock<Inside>);

/// What is behind the door.
pub(super) struct Inside {
    pub(super) engine: Arc<Engine>,
    pub(super) calls: Arc<Calls>,
    pub(super) runs: Runs,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) router: Router,
}

impl Door {
    /// From now on others are let in.
    pub(super) fn open(&self, inside: Inside) {
        // There is one node in a process, and it is made once.
        let _ = self.0.set(inside);
    }
}

impl Answers for Door {
    fn answer(&self, service: Service, body: Bytes) -> BoxFuture<'_, Result<Bytes, Refused>> {
        let Some(inside) = self.0.get() else { return std::future::ready(Err(Refused::NotServed)).boxed() };
        match service {
            services::ASK => inside.ask(body).map(said).boxed(),
            services::TELL => inside.tell(body).map(said).boxed(),
            services::DELIVER => inside.deliver(body).map(said).boxed(),
            services::LIST => std::future::ready(said(inside.list(&body))).boxed(),
            services::HTTP => inside.http(body).map(said).boxed(),
            services::RUN => inside.run(body).map(said).boxed(),
            services::WORK => inside.work(body).map(said).boxed(),
            services::REPORT => std::future::ready(said(inside.report(&body))).boxed(),
            services::WARM => std::future::ready(said(inside.warm(&body))).boxed(),
            services::PREPARE => inside.prepare(body).map(said).boxed(),
            services::LOOK => {
                if let Some(beat) = inside.switchboard.beat() {
                    beat.look_now();
                }
                std::future::ready(said(Ok(()))).boxed()
            }
            _ => std::future::ready(Err(Refused::NotServed)).boxed(),
        }
    }
}

fn said<T: Serialize>(outcome: Result<T, NotDone>) -> Result<Bytes, Refused> {
    Ok(encoded(&outcome))
}

impl Inside {
    async fn ask(&self, body: Bytes) -> Result<stride_agents::Answer, NotDone> {
        let asked: Asked = decoded(&body)?;
        self.engine.ask_here(asked).await
    }

    async fn tell(&self, body: Bytes) -> Result<stride_agents::Told, NotDone> {
        let tell: Tell = decoded(&body)?;
        self.engine.tell_here(tell).await
    }

    async fn deliver(&self, body: Bytes) -> Result<Vec<Result<(), NotDone>>, NotDone> {
        let parcels: Vec<Parcel> = decoded(&body)?;
        Ok(self.engine.deliver_here(parcels).await)
    }

    fn list(&self, body: &[u8]) -> Result<stride_agents::Listed, NotDone> {
        let ListAsked { tenant, kind, after, limit } = decoded(body)?;
        Ok(self.engine.listed_here(&tenant, &kind, after.as_ref(), limit)?)
    }

    async fn http(&self, body: Bytes) -> Result<stride_gateway::HttpReply, NotDone> {
        let Request { cell, call } = decoded(&body)?;
        if cell.is_some_and(|cell| !self.engine.serves(cell)) {
            return Err(NotDone::NotHere);
        }
        Ok(call.answered_by(self.router.clone()).await?)
    }

    async fn run(&self, body: Bytes) -> Result<Called, NotDone> {
        self.calls.errand(decoded(&body)?).await
    }

    async fn work(&self, body: Bytes) -> Result<Bytes, NotDone> {
        self.runs.work(&body).await.map_err(|failure| match failure.code {
            // Whoever sent it does it, or asks somebody else.
            Code::Overloaded | Code::Unavailable => NotDone::NotHere,
            _ => NotDone::Failed(failure),
        })
    }

    fn report(&self, body: &[u8]) -> Result<(), NotDone> {
        self.calls.functions.heard(decoded(body)?);
        Ok(())
    }

    /// Beside everything else: whoever asks does not wait for it.
    fn warm(&self, body: &[u8]) -> Result<(), NotDone> {
        let (pieces, functions): (Vec<Piece>, _) = (decoded(body)?, self.calls.functions.clone());
        tokio::spawn(async move {
            let bytes = functions.warm(pieces).await;
            tracing::debug!(bytes, "brought ahead what another node has used, or has waiting");
        });
        Ok(())
    }

    async fn prepare(&self, body: Bytes) -> Result<(), NotDone> {
        let cell: CellId = decoded(&body)?;
        Ok(self.engine.prepare(cell).await?)
    }
}
