//! The agents that runs are.

use std::sync::Arc;

use futures::future::BoxFuture;
use stride_agents::{Bodies, Body, Kind, Method, Turn};
use stride_ids::{Address, Failure, Name, Payload};

use crate::{
    head,
    message::{
        APPROVE, BEGIN, Begin, CANCEL, ENDED, EVENT, FIRED, FORGET, METHODS, MOVE, OUT, PAGE, PLAN, REFUSE, START,
        STATUS, TOOK, WATCH,
    },
    payload,
    run::{Run, Seen},
    shared::Shared,
};

/// Serves runs, and leaves all other agents to somebody else.
pub(crate) struct RunBodies {
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    others: Arc<dyn Bodies>,
}

impl RunBodies {
    pub(crate) fn new(shared: Arc<Shared>, others: Arc<dyn Bodies>) -> Self {
        let methods = METHODS.iter().map(|(name, read_only)| ((*name).to_owned(), Method { read_only: *read_only }));
        // Rows are read as they are, so there is only this version. A run that nobody uses has next to nothing in memory.
        let kind = Kind {
            component: head::kind(),
            version: "1".into(),
            name: head::kind(),
            methods: methods.collect(),
            idle: std::time::Duration::from_secs(60),
        };
        Self { shared, kind: Arc::new(kind), others }
    }
}

impl Bodies for RunBodies {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        if *name == self.kind.name { Some(self.kind.clone()) } else { self.others.kind(tenant, name) }
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        if *name == self.kind.name { None } else { self.others.kind_of_version(tenant, name, version) }
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        self.others.nearest_kind(tenant, name)
    }

    fn is_crowded(&self) -> bool {
        self.others.is_crowded()
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        if kind.name != self.kind.name {
            return self.others.start(kind, address);
        }
        let body: Box<dyn Body> = Box::new(RunBody { shared: self.shared.clone(), seen: Seen::default() });
        Box::pin(async { Ok(body) })
    }
}

/// A run in memory.
struct RunBody {
    shared: Arc<Shared>,
    seen: Seen,
}

impl Body for RunBody {
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        Box::pin(async { Ok(turn) })
    }

    fn turn<'a>(
        &'a mut self,
        turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let Self { shared, seen } = self;
            let (run, answer) = handle(shared, turn, std::mem::take(seen), method, &input).await?;
            let has_ended = run.head.ended_ms.is_some();
            let (turn, now_seen) = run.end()?;
            *seen = now_seen;
            if has_ended {
                shared.ended.notify_waiters();
            }
            let address = turn.address();
            match method {
                FORGET => shared.forget(address),
                OUT | PAGE | PLAN | STATUS => {}
                // Whoever works on it is told by the answer.
                TOOK if shared.is_active(address) => {}
                _ => shared.touch(address),
            }
            Ok((turn, answer))
        })
    }

    fn held_bytes(&self) -> u64 {
        self.seen.bytes() as u64
    }
}

async fn handle<'a>(
    shared: &'a Arc<Shared>,
    turn: Turn,
    seen: Seen,
    method: &str,
    input: &Payload,
) -> Result<(Run<'a>, Payload), Failure> {
    let mut run = match method {
        START => Run::start(shared, turn, payload::input(input)?, None).await?,
        BEGIN => {
            let Begin { input, parent } = payload::asked(method, input)?;
            Run::start(shared, turn, input, Some(parent)).await?
        }
        _ => Run::load(shared, turn, seen)?,
    };
    let answer = match method {
        START | STATUS => payload::json(&run.status()?),
        TOOK => payload::json(&run.took(payload::asked(method, input)?).await?),
        OUT => payload::json(&run.out(payload::asked::<Option<String>>(method, input)?.as_deref())?),
        PAGE => payload::json(&run.page(&payload::asked(method, input)?)?),
        PLAN => payload::json(&run.planned()?),
        _ => {
            change(&mut run, method, input).await?;
            payload::json(&())
        }
    };
    Ok((run, answer))
}

/// What has no answer but that it is done.
async fn change(run: &mut Run<'_>, method: &str, input: &Payload) -> Result<(), Failure> {
    match method {
        EVENT => run.told(payload::asked(method, input)?).await,
        APPROVE | REFUSE => {
            let said: Option<_> = payload::asked(method, input)?;
            run.said(method == APPROVE, said.unwrap_or_default()).await
        }
        CANCEL => run.cancel().await,
        ENDED => run.ended(payload::asked(method, input)?).await,
        FIRED => run.fired(payload::asked(method, input)?).await,
        MOVE => run.move_to(payload::asked(method, input)?).await,
        WATCH => run.watch(),
        _ => Ok(()),
    }
}
