//! The items of a map: planned, called, and their results recorded.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicBool},
};

use futures::stream;
use stride_agents::native::ask;
use stride_data::Put;
use stride_ids::{Address, Code, Failure, Name, ObjectName, Payload};
use tokio::sync::mpsc;

use crate::{
    caller::{Callees, Reply},
    hedge::Hedge,
    maps::Inner,
    message::{Course, PLAN, Place, PlanAsked, Planned, RECORD, Recorded, UNDONE, Undone, UndoneAsked},
    part::{Input, Part},
    plan::{Plan, Planner},
    pool::Work,
    row::{Cursor, Item, Outcome, Output},
    run::Patience,
    spec::{Spec, Split},
};

/// How long a result may be that is kept with the map, in bytes: it has to fit into a turn beside others.
pub(crate) const RESULT_LEN_MAX: usize = 1 << 20;

pub(crate) struct Mapping {
    pub(crate) inner: Arc<Inner>,
    pub(crate) callees: Callees,
    pub(crate) calls: Hedge,
    pub(crate) tenant: Name,
    pub(crate) address: Address,
    pub(crate) spec: Spec,
    pub(crate) cursor: Cursor,
    pub(crate) is_planned: bool,
    pub(crate) patience: Patience,
}

/// What an item came to.
struct Resulted {
    output: Output,
    is_memoised: bool,
}

impl Work for Mapping {
    type Task = (Place, Item);
    type Outcome = Recorded;
    const AHEAD: usize = 4_096;

    /// First what was planned before and has no result, then what is planned now.
    async fn feed(&self, tasks: mpsc::Sender<Self::Task>) -> Result<(), Failure> {
        let mut after = None;
        while let Some(Undone { page, items }) =
            self.ask::<Option<Undone>>(UNDONE, &UndoneAsked { after }).await?.flatten()
        {
            after = Some(page);
            for item in items {
                if tasks.send(item).await.is_err() {
                    return Ok(());
                }
            }
        }
        let mut before = self.cursor.clone();
        let mut is_planned = self.is_planned;
        while !is_planned && !self.patience.signal.is_stopped() {
            // Labels may have changed since the page before.
            self.callees.place(&self.spec).await?;
            let Plan { items, cursor, is_last } = self.planner().page(&before).await?;
            let asked = PlanAsked { before, items, cursor, is_last };
            let Some(Planned::Page { page, first }) = self.ask(PLAN, &asked).await? else { return Ok(()) };
            (before, is_planned) = (asked.cursor, is_last);
            for (index, item) in asked.items.into_iter().enumerate() {
                let place = Place { page, index, number: first + index as u64 };
                if tasks.send((place, item)).await.is_err() {
                    return Ok(());
                }
            }
            self.patience.signal.note();
        }
        Ok(())
    }

    async fn run(&self, (place, item): Self::Task) -> Option<Recorded> {
        let began = self.inner.clock.now();
        let is_hedged = AtomicBool::new(false);
        let (result, is_memoised) = match self.result(&item, &is_hedged).await? {
            Ok(Resulted { output, is_memoised }) => (Ok(output), is_memoised),
            Err(failure) => (Err(failure), false),
        };
        let course = Course { is_hedged: is_hedged.into_inner(), is_memoised };
        self.inner.counters.count(result.is_ok(), course, self.inner.clock.now() - began);
        Some(Recorded { place, outcome: Outcome { name: item.name(), result }, course })
    }

    fn weight(recorded: &Recorded) -> usize {
        recorded.outcome.result.as_ref().map_or(0, Output::kept_bytes)
    }

    async fn record(&self, recorded: Vec<Recorded>) -> Result<(), Failure> {
        // Until it is recorded: whoever stops has finished what had begun, and it would only be done again.
        let mut outcome = ask(&self.inner.engine, &self.address, RECORD, &recorded).await;
        while let Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }) = outcome {
            let again = || ask(&self.inner.engine, &self.address, RECORD, &recorded);
            outcome = self.patience.retry(again).await.unwrap_or(Ok(()));
        }
        outcome
    }
}

impl Mapping {
    fn planner(&self) -> Planner<'_> {
        let Self { inner, tenant, spec, patience, .. } = self;
        Planner { objects: &inner.objects, tenant, spec, part_len: inner.settings.part_len, patience }
    }

    /// Asks the map's agent, with patience; none if the map is stopped.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        asked: &impl serde::Serialize,
    ) -> Result<Option<T>, Failure> {
        self.patience.retry(|| ask(&self.inner.engine, &self.address, method, asked)).await.transpose()
    }

    async fn result(&self, item: &Item, is_hedged: &AtomicBool) -> Option<Result<Resulted, Failure>> {
        if let Some(refused) = &item.refused {
            return Some(Err(refused.clone()));
        }
        let len = usize::try_from(item.end - item.begin).unwrap_or(usize::MAX);
        if len > Payload::LEN_MAX {
            return Some(Err(self.too_large(len)));
        }
        // Also while another node has it: so the inputs of all nodes are bounded.
        let _room = self.inner.room(len).await;
        let input = Input::Part(self.part(item));
        let Reply { payload, is_memoised } =
            match self.patience.retry(|| self.calls.call(input.clone(), is_hedged)).await? {
                Ok(reply) => reply,
                Err(failure) => return Some(Err(failure)),
            };
        let kept = self.kept(item, payload).await?;
        Some(kept.map(|output| Resulted { output, is_memoised }))
    }

    fn too_large(&self, len: usize) -> Failure {
        let limit = Payload::LEN_MAX;
        let message = match self.spec.split {
            None => format!("it has {len} bytes and a function takes {limit}; use --split lines or --split bytes"),
            Some(Split::Lines) => {
                format!("it has a line that is longer than the {limit} bytes that a function takes; use --split bytes")
            }
            Some(Split::Bytes) => format!("it has {len} bytes and a function takes {limit}"),
        };
        Failure::new(Code::PayloadTooLarge, message)
    }

    fn part(&self, item: &Item) -> Part {
        let (bucket, key) = (self.spec.over.bucket.clone(), item.key.clone());
        Part {
            object: ObjectName { tenant: self.tenant.clone(), bucket, key },
            version: item.version,
            content_type: item.content_type.clone(),
            begin: item.begin,
            end: item.end,
        }
    }

    /// Puts a result where it belongs.
    async fn kept(&self, item: &Item, reply: Payload) -> Option<Result<Output, Failure>> {
        match self.spec.out_object(&self.tenant, &item.key, item.part) {
            Ok(Some(name)) => self.patience.retry(|| put(&self.inner, &name, &reply)).await,
            Ok(None) if reply.body.len() > RESULT_LEN_MAX => {
                let message = format!(
                    "the result has {} bytes and a map keeps {RESULT_LEN_MAX}; use --out, so that it is an object",
                    reply.body.len()
                );
                Some(Err(Failure::new(Code::PayloadTooLarge, message)))
            }
            Ok(None) => Some(Ok(Output::Kept(reply))),
            Err(why) => Some(Err(Failure::new(Code::InvalidRequest, why))),
        }
    }
}

/// Stores a result as an object. If it was stored before, it is stored again.
pub(crate) async fn put(inner: &Inner, name: &ObjectName, result: &Payload) -> Result<Output, Failure> {
    let Payload { content_type, body } = result.clone();
    let bytes = body.len() as u64;
    // A guest may call its bytes what it likes; what is too long for an object is just bytes.
    let content_type = Some(content_type).filter(|text| text.len() <= 256);
    let put = Put { content_type, len: Some(bytes), ..Put::default() };
    let body = stream::iter([Ok::<_, Infallible>(body)]);
    inner.objects.put(name, body, put).await?;
    Ok(Output::Stored { object: name.to_string(), bytes })
}
