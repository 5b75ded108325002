//! The door of the crate: flows and their runs.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use stride_agents::{Ask, Bodies, Engine, native::ask};
use stride_data::Objects;
use stride_flows::{Draft, Passes, Plan, explain};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};
use stride_maps::Caller;
use stride_sim::{Chance, Clock, Tasks};

use crate::{
    afar::{self, Afar},
    bodies::RunBodies,
    catalog::{Catalog, Refused},
    head,
    message::{self, APPROVE, CANCEL, EVENT, Planned, REFUSE, START, STATUS, Status},
    planning::{Checked, passes},
    program::{self, FLOWS, FlowStatus, GET, LIST, PUT, REMOVE, Signature, Version},
    settings::Settings,
    shared::{Shared, Surroundings},
};

/// How many agents are listed at a time.
const LISTED: usize = 256;
/// How often somebody who waits for a run of another node looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The flows and runs of a node.
#[derive(Clone)]
pub struct Runs(Arc<Shared>);

/// What runs do on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Runs that somebody works on.
    pub active: usize,
    /// Calls that another node did, because their lines were there.
    pub calls_sent: u64,
    /// Calls that were done for another node.
    pub calls_taken: u64,
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// A picture.
    Svg,
}

impl Runs {
    /// Runs of a node that does not run yet.
    pub fn new(settings: Settings, clock: Clock, chance: Chance, tasks: Tasks) -> Self {
        Self(Arc::new(Shared::new(settings, clock, chance, tasks)))
    }

    /// Serves the agents that runs are, and leaves all others to `others`. [`FLOWS`](crate::FLOWS) has to be among those.
    pub fn bodies(&self, others: Arc<dyn Bodies>) -> Arc<dyn Bodies> {
        Arc::new(RunBodies::new(self.0.clone(), others))
    }

    /// From now on runs go on.
    pub fn open(
        &self,
        engine: Arc<Engine>,
        objects: Arc<Objects>,
        (caller, afar): (Arc<dyn Caller>, Arc<dyn Afar>),
        catalog: Arc<dyn Catalog>,
    ) {
        self.0.open(Surroundings { engine, objects, caller, afar, catalog });
    }

    /// Does what [`Afar::send`] of another node has sent, and answers what it is to give back there.
    ///
    /// # Errors
    /// `overloaded` and `unavailable` if nothing has begun; what the work fails with.
    pub async fn work(&self, work: &[u8]) -> Result<Bytes, Failure> {
        afar::work(&self.0, work).await
    }

    /// Works on the runs of cells that have come here, those from before the node started among them. To be called again and again;
    /// where nothing has come, nothing is done.
    ///
    /// # Errors
    /// If they cannot be found.
    pub fn take_up(&self) -> Result<(), Failure> {
        let engine = self.0.surroundings()?.engine.clone();
        let here: HashSet<_> = engine.owned().into_iter().collect();
        let mut looked_at = self.0.looked_at.lock();
        looked_at.retain(|cell| here.contains(cell));
        // Who has work has a timer that is due so soon; see `inside::watch`.
        let watch = u64::try_from(self.0.settings.watch.as_millis()).unwrap_or(u64::MAX);
        let before = self.0.now_ms().saturating_add(watch).saturating_add(1);
        for cell in here {
            if !looked_at.contains(&cell) {
                let runs = engine.with_timer_before(cell.0, &head::kind(), message::WATCH, before)?;
                runs.iter().for_each(|run| self.0.touch(run));
                looked_at.insert(cell);
            }
        }
        Ok(())
    }

    // --- flows ---

    /// Keeps a flow, if it is right. What is kept already keeps its version.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place and remedy.
    pub async fn deploy(&self, tenant: &Name, artefact: &[u8], without: Vec<String>) -> Result<FlowStatus, Refused> {
        let surroundings = self.0.surroundings()?;
        passes(&without)?;
        let draft = Draft::read(artefact)?;
        let name = draft.name.to_string();
        let flow = Name::new(&name).map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
        let Checked { program, .. } = surroundings.check(tenant, draft).await?;
        let input = program.draft().graph.input.clone();
        let signature = Signature { input, output: program.output().clone() };
        let version = Version {
            version: 0,
            digest: program.digest(),
            at_ms: self.0.now_ms(),
            draft: json(program.draft()),
            without,
            signature: json(&signature),
        };
        // Also that there is a plan, so that no run finds out that there is none.
        surroundings.plan(&self.0.plans, tenant, &version).await?;
        let number: u64 = ask(&surroundings.engine, &program::address(tenant, &flow), PUT, &version).await?;
        let Version { digest, at_ms, without, .. } = version;
        Ok(FlowStatus { name, version: number, digest, deployed_ms: at_ms, without })
    }

    /// The flows of a tenant, each in the version that is in force.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn flows(&self, tenant: &Name) -> Result<Vec<FlowStatus>, Failure> {
        let mut all = Vec::new();
        let mut after: Option<AgentKey> = None;
        loop {
            let page = self.0.surroundings()?.engine.list(tenant, &FLOWS.name(), after.as_ref(), LISTED).await?;
            for address in &page {
                all.extend(self.versions_of(address).await?.into_iter().next());
            }
            match page.last() {
                Some(last) if page.len() == LISTED => after = Some(last.key.clone()),
                _ => return Ok(all),
            }
        }
    }

    /// The versions of a flow, the newest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn versions(&self, tenant: &Name, flow: &Name) -> Result<Vec<FlowStatus>, Failure> {
        let address = program::address(tenant, flow);
        match self.versions_of(&address).await?.as_slice() {
            [] => Err(program::unknown(&address)),
            versions => Ok(versions.to_vec()),
        }
    }

    async fn versions_of(&self, flow: &Address) -> Result<Vec<FlowStatus>, Failure> {
        ask(&self.0.surroundings()?.engine, flow, LIST, &()).await
    }

    /// Keeps a flow no longer. Its runs go on, and no new ones begin.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn remove(&self, tenant: &Name, flow: &Name) -> Result<(), Failure> {
        ask(&self.0.surroundings()?.engine, &program::address(tenant, flow), REMOVE, &()).await
    }

    /// A flow as it was written.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn artefact(&self, tenant: &Name, flow: &Name, version: Option<u64>) -> Result<String, Failure> {
        let version: Version =
            ask(&self.0.surroundings()?.engine, &program::address(tenant, flow), GET, &version).await?;
        Ok(version.draft)
    }

    /// The plan of a flow: the logical one, and the physical one that the passes make of it, all but those that are named.
    ///
    /// # Errors
    /// `not_found`; what is wrong with the flow by now; `invalid_request` for a pass that there is not.
    pub async fn explain(
        &self,
        tenant: &Name,
        flow: &Name,
        without: &[String],
        format: Format,
    ) -> Result<String, Refused> {
        let artefact = self.artefact(tenant, flow, None).await?;
        self.explain_artefact(tenant, artefact.as_bytes(), without, format).await
    }

    /// The same for a flow that nobody keeps.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub async fn explain_artefact(
        &self,
        tenant: &Name,
        artefact: &[u8],
        without: &[String],
        format: Format,
    ) -> Result<String, Refused> {
        let some = passes(without)?;
        let checked = self.0.surroundings()?.check(tenant, Draft::read(artefact)?).await?;
        let (logical, physical) = (checked.plan(&Passes::none()), checked.plan(&some));
        Ok(match format {
            Format::Text => {
                format!("LOGICAL\n{}\nPHYSICAL\n{}", explain::text(&logical, None), explain::text(&physical, None))
            }
            Format::Json => json(&serde_json::json!({
                "logical": explain::json(&logical, None),
                "physical": explain::json(&physical, None),
            })),
            Format::Svg => explain::svg(&physical, None),
        })
    }

    // --- runs ---

    /// Begins a run, and waits so long for its end. A run that has begun under this name with the same input is that run.
    ///
    /// # Errors
    /// `not_found` for a flow that there is not, `conflict` for a name with another input, `invalid_request`.
    pub async fn start(
        &self,
        tenant: &Name,
        flow: &Name,
        run: Option<&str>,
        input: Payload,
        wait: Duration,
    ) -> Result<Status, Failure> {
        let run = match run {
            Some(run) => run.to_owned(),
            None => self.new_name(),
        };
        let address = head::address(tenant, flow, &run)?;
        let status: Status = self.say(&address, START, input).await?;
        let status =
            if wait.is_zero() || status.ended_ms.is_some() { status } else { self.wait(&address, wait).await? };
        Ok(status)
    }

    /// A name that no run has: later ones sort behind earlier ones.
    fn new_name(&self) -> String {
        let id = ((self.0.now_ms() & 0xffff_ffff_ffff) << 16) | self.0.chance.below(1 << 16);
        format!("{id:016x}")
    }

    /// How a run stands.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn status(&self, tenant: &Name, flow: &Name, run: &str) -> Result<Status, Failure> {
        self.say(&head::address(tenant, flow, run)?, STATUS, Payload::json("null")).await
    }

    /// Waits so long for a run to end. How it stands then.
    ///
    /// # Errors
    /// As [`Runs::status`].
    pub async fn wait_for(&self, tenant: &Name, flow: &Name, run: &str, wait: Duration) -> Result<Status, Failure> {
        self.wait(&head::address(tenant, flow, run)?, wait).await
    }

    async fn wait(&self, run: &Address, wait: Duration) -> Result<Status, Failure> {
        let deadline = self.0.clock.now() + wait;
        loop {
            let ended = self.0.ended.notified();
            let status: Status = self.say(run, STATUS, Payload::json("null")).await?;
            let left = deadline.saturating_sub(self.0.clock.now());
            if status.ended_ms.is_some() || left.is_zero() || self.0.is_stopping() {
                return Ok(status);
            }
            // A run of another node does not wake anybody here.
            let _ = self.0.clock.timeout(left.min(LOOK_EVERY), ended).await;
        }
    }

    /// The runs of a flow behind `after`, so many at most, in the order of their names, and behind which one there may be more.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn list(
        &self,
        tenant: &Name,
        flow: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Status>, Option<String>), Failure> {
        let prefix = format!("{flow}/");
        let after = AgentKey::new(&format!("{prefix}{}", after.unwrap_or_default()));
        let after = after.map_err(|e| Failure::new(Code::InvalidRequest, e.to_string()))?;
        let page = self.0.surroundings()?.engine.list(tenant, &head::kind(), Some(&after), limit).await?;
        let last = page.last().filter(|_| page.len() == limit);
        let next = last.and_then(|last| last.key.as_str().strip_prefix(&prefix)).map(str::to_owned);
        let mut all = Vec::new();
        for address in page.iter().take_while(|address| address.key.as_str().starts_with(&prefix)) {
            match self.say(address, STATUS, Payload::json("null")).await {
                Ok(status) => all.push(status),
                // It was removed meanwhile.
                Err(Failure { code: Code::NotFound, .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok((all, next))
    }

    /// The plan of a run with what it took so far.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn explain_run(&self, tenant: &Name, flow: &Name, run: &str, format: Format) -> Result<String, Failure> {
        let address = head::address(tenant, flow, run)?;
        let Planned { plan, measures } = self.say(&address, message::PLAN, Payload::json("null")).await?;
        Ok(shown(&plan, &measures, format))
    }

    /// Tells a run of an event: `{"name", "payload", "id"}`.
    ///
    /// # Errors
    /// `not_found`, `conflict` for a run that has ended, `invalid_request`.
    pub async fn event(&self, tenant: &Name, flow: &Name, run: &str, event: Payload) -> Result<(), Failure> {
        self.say(&head::address(tenant, flow, run)?, EVENT, event).await
    }

    /// Answers a step that asks: `{"step", "by", "payload"}`, or with a `reason` if it is refused.
    ///
    /// # Errors
    /// `not_found`, also if no such step asks; `conflict` if several do or the run has ended.
    pub async fn approve(
        &self,
        tenant: &Name,
        flow: &Name,
        run: &str,
        consents: bool,
        said: Payload,
    ) -> Result<(), Failure> {
        let method = if consents { APPROVE } else { REFUSE };
        self.say(&head::address(tenant, flow, run)?, method, said).await
    }

    /// Takes a run to a version of its flow, or to the one in force: what is done stays done, and what is to come is done as that says.
    ///
    /// # Errors
    /// `not_found`; `conflict` with all that stands in the way, or if the run has ended.
    pub async fn move_run(&self, tenant: &Name, flow: &Name, run: &str, version: Option<u64>) -> Result<(), Failure> {
        let version = Payload::json(json(&version));
        self.say(&head::address(tenant, flow, run)?, message::MOVE, version).await
    }

    /// Ends a run: what has succeeded is compensated. A run that has ended is removed.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn cancel(&self, tenant: &Name, flow: &Name, run: &str) -> Result<(), Failure> {
        let address = head::address(tenant, flow, run)?;
        let status = self.status(tenant, flow, run).await?;
        match status.ended_ms {
            None => self.say(&address, CANCEL, Payload::json("null")).await,
            Some(_) => self.say(&address, message::FORGET, Payload::json("null")).await,
        }
    }

    async fn say<T: DeserializeOwned>(&self, run: &Address, method: &str, input: Payload) -> Result<T, Failure> {
        let ask = Ask { address: run.clone(), method: method.into(), input, idempotency_key: None, trace: None };
        let answer = self.0.surroundings()?.engine.ask(ask).await?;
        serde_json::from_slice(&answer.payload.body)
            .map_err(|e| Failure::new(Code::Internal, format!("a run answered what cannot be read: {e}")))
    }

    /// What runs do on this node, and have done since it started.
    pub fn stats(&self) -> RunStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RunStats {
            active: *self.0.count.borrow(),
            calls_sent: count(&self.0.calls_sent),
            calls_taken: count(&self.0.calls_taken),
        }
    }

    /// Begins nothing new. Runs go on when the node starts again, or where their agents are then.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits until what had begun is finished or let go.
    pub async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
        self.0.close();
    }
}

fn shown(plan: &Plan, measures: &stride_flows::plan::Measures, format: Format) -> String {
    match format {
        Format::Text => explain::text(plan, Some(measures)),
        Format::Json => json(&explain::json(plan, Some(measures))),
        Format::Svg => explain::svg(plan, Some(measures)),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
