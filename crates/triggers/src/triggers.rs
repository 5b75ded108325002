//! The door of the crate: triggers and topics of a node.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use stride_agents::{Ask, Engine, native::ask};
use stride_ids::{Address, Code, Failure, Name, Payload};
use stride_sim::{Chance, Clock, Tasks};
use tokio::sync::watch;

use crate::{
    caller::Caller,
    declared::{Declared, InForce},
    event::Event,
    http::Headers,
    keeper::wanted,
    letter::Letter,
    message::{DROP, LETTERS, Letters, LettersAsked, PAUSE, REPLAY, RESUME, STATUS, Which},
    row::Standing,
    spec::{Source, Target, TriggerSpec, request_value},
    status::Status,
    topic::{self, PUBLISH, Published, READ, ReadAsked, TOPICS, Window},
    trigger::{self, TRIGGERS},
};

/// How many agents are listed at a time.
const PAGE: usize = 1_000;
/// How long a deployment waits until its triggers hear of events.
const BOUND_WITHIN: Duration = Duration::from_secs(10);
/// How soon it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The triggers of a node.
pub struct Triggers(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    declared: Arc<Declared>,
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) tasks: Tasks,
    /// The triggers that somebody calls functions for.
    pub(crate) driven: Mutex<HashSet<Address>>,
    /// How many those are, for whoever waits for them.
    pub(crate) count: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

/// What a request is to do, and how it is answered.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Call this function of this component, and answer what it answers.
    Call(Name, Name, Payload),
    /// Ask this agent, and answer what it answers.
    Ask(Address, String, Payload),
    /// Tell this agent; a run of a flow that begins.
    Start(Address, String, Payload),
}

impl Triggers {
    /// The triggers that `declared` has. The agents of `engine` keep them, [`TRIGGERS`] and [`TOPICS`] among those.
    pub fn new(
        engine: Arc<Engine>,
        declared: Arc<Declared>,
        caller: Arc<dyn Caller>,
        (clock, chance, tasks): (Clock, Chance, Tasks),
    ) -> Self {
        let (count, stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        let driven = Mutex::default();
        Self(Arc::new(Inner { engine, declared, caller, clock, chance, tasks, driven, count, stopping }))
    }

    /// Sees to it that the triggers whose agents are here are those that deployments have, and calls functions for what waits.
    /// To be called again and again; it does the same thing every time.
    ///
    /// # Errors
    /// If some cannot be looked after; the others are.
    pub async fn look_after(&self, tenants: impl IntoIterator<Item = Name>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for tenant in tenants {
            let components = self.0.declared.of(&tenant);
            let mut addresses = wanted(&tenant, &components);
            for address in self.0.engine.list_here(&tenant, &TRIGGERS.name(), None, usize::MAX)? {
                addresses.entry(address).or_default();
            }
            for (address, wanted) in addresses {
                if self.0.engine.is_here(&address)
                    && let Err(failure) = self.0.look_after(&address, wanted.as_ref(), &components).await
                {
                    outcome = Err(failure);
                }
            }
        }
        outcome
    }

    /// Has the triggers of a component in force as its deployment says, and waits until they hear of events.
    ///
    /// # Errors
    /// If they cannot be set. They are tried again, by whoever looks after them.
    pub async fn settle(&self, tenant: &Name, component: &Name) -> Result<(), Failure> {
        let components = self.0.declared.of(tenant);
        self.look_after([tenant.clone()]).await?;
        let until = self.0.clock.now() + BOUND_WITHIN;
        for (address, wanted) in wanted(tenant, &components) {
            let Some((since, spec)) =
                wanted.filter(|_| trigger::named(&address).is_some_and(|(of, _)| of == *component))
            else {
                continue;
            };
            self.0.set(&address, since, &spec).await?;
            while self.0.standing(&address).await?.bound.is_none() && self.0.clock.now() < until {
                self.0.clock.sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// The triggers of a tenant: those that deployments have, and those that are gone and have left dead letters.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn list(&self, tenant: &Name) -> Result<Vec<Status>, Failure> {
        let inner = &self.0;
        let mut all = BTreeMap::new();
        for (component, InForce { triggers, .. }) in inner.declared.of(tenant) {
            for spec in triggers {
                let status = inner.status(tenant, &component, &spec).await?;
                all.insert((component.clone(), spec.name.clone()), status);
            }
        }
        for address in inner.addresses(tenant).await? {
            let Some(name) = trigger::named(&address).filter(|name| !all.contains_key(name)) else { continue };
            let standing = inner.standing(&address).await?;
            if standing.dead + standing.waiting > 0 {
                all.insert(name.clone(), Status::new(name.0, name.1, &standing));
            }
        }
        Ok(all.into_values().collect())
    }

    /// Has events wait instead of being delivered.
    ///
    /// # Errors
    /// `not_found`, and `invalid_request` for a route.
    pub async fn pause(&self, tenant: &Name, component: &Name, trigger: &Name) -> Result<(), Failure> {
        self.0.ask(tenant, (component, trigger), PAUSE, &()).await
    }

    /// Has events delivered again, those that wait first.
    ///
    /// # Errors
    /// As [`Triggers::pause`].
    pub async fn resume(&self, tenant: &Name, component: &Name, trigger: &Name) -> Result<(), Failure> {
        self.0.ask(tenant, (component, trigger), RESUME, &()).await
    }

    /// Dead letters in the order in which they died, after that number, and whether there are more.
    ///
    /// # Errors
    /// As [`Triggers::pause`].
    pub async fn letters(
        &self,
        tenant: &Name,
        trigger: (&Name, &Name),
        after: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Letter>, bool), Failure> {
        let Letters { letters, more } = self.0.ask(tenant, trigger, LETTERS, &LettersAsked { after, limit }).await?;
        Ok((letters, more))
    }

    /// Has one dead letter delivered again, or all. How many.
    ///
    /// # Errors
    /// As [`Triggers::pause`], and `not_found` for a letter that is not there.
    pub async fn replay(&self, tenant: &Name, trigger: (&Name, &Name), number: Option<u64>) -> Result<u64, Failure> {
        self.0.all(tenant, trigger, REPLAY, number).await
    }

    /// Forgets one dead letter, or all. How many.
    ///
    /// # Errors
    /// As [`Triggers::replay`].
    pub async fn drop_letters(
        &self,
        tenant: &Name,
        trigger: (&Name, &Name),
        number: Option<u64>,
    ) -> Result<u64, Failure> {
        self.0.all(tenant, trigger, DROP, number).await
    }

    /// Publishes to a topic. It is durable when this returns. The same key, or the same `source` and `id` of an event, is taken once.
    ///
    /// # Errors
    /// `payload_too_large` and `invalid_request`.
    pub async fn publish(
        &self,
        tenant: &Name,
        topic: &Name,
        payload: Payload,
        (idempotency_key, trace): (Option<String>, Option<String>),
    ) -> Result<Published, Failure> {
        let ask = Ask {
            address: topic::address(tenant, topic),
            method: PUBLISH.into(),
            input: payload,
            idempotency_key,
            trace,
        };
        let answer = self.0.engine.ask(ask).await?;
        read_json(&answer.payload)
    }

    /// Reads messages of a topic after a number, as many as are kept and fit.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn read(&self, tenant: &Name, topic: &Name, after: Option<u64>, limit: usize) -> Result<Window, Failure> {
        let asked = serde_json::to_vec(&ReadAsked { after, limit: Some(limit) }).unwrap_or_default();
        let (address, input) = (topic::address(tenant, topic), Payload::json(asked));
        let ask = Ask { address, method: READ.into(), input, idempotency_key: None, trace: None };
        read_json(&self.0.engine.ask(ask).await?.payload)
    }

    /// The topics of a tenant, after one, as many as that.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn topics(&self, tenant: &Name, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, Failure> {
        let after = after.map(|after| topic::address(tenant, after).key);
        let found = self.0.engine.list(tenant, &TOPICS.name(), after.as_ref(), limit).await?;
        Ok(found.iter().filter_map(|address| Name::new(address.key.as_str()).ok()).collect())
    }

    /// What a request under `/r` is to do.
    ///
    /// # Errors
    /// `not_found` if no trigger has such a route, `invalid_request` if what the trigger selects is not in the request.
    pub fn route(
        &self,
        tenant: &Name,
        (method, path): (&str, &str),
        query: Vec<(String, String)>,
        headers: Headers<'_>,
        body: Payload,
        key: Option<&str>,
    ) -> Result<Errand, Failure> {
        let inner = &self.0;
        let (component, spec, routed) = inner.declared.route(tenant, method, path)?;
        let request = request_value((method, path), routed.params, query, headers, &body);
        let input = spec.input_from(&request, body)?;
        let run = inner.run_name(&spec, key);
        Ok(match (&spec.target, spec.target.agent(tenant, &request, &run)?) {
            (Target::Flow(_), Some((run, method))) => Errand::Start(run, method, input),
            (_, Some((agent, method))) => Errand::Ask(agent, method, input),
            (target, None) => {
                let (component, function) =
                    target.function(&component).ok_or_else(|| Failure::new(Code::Internal, "a route has no target"))?;
                Errand::Call(component, function, input)
            }
        })
    }

    /// Begins nothing new. What waits is delivered when the node starts again.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Waits until the calls that had begun are recorded.
    pub async fn stopped(&self) {
        // The sender is part of this, so it cannot be gone.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

fn read_json<T: DeserializeOwned>(payload: &Payload) -> Result<T, Failure> {
    let unreadable =
        |e: serde_json::Error| Failure::new(Code::Internal, format!("a topic answered what cannot be read: {e}"));
    serde_json::from_slice(&payload.body).map_err(unreadable)
}

impl Inner {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub(crate) async fn standing(&self, address: &Address) -> Result<Standing, Failure> {
        ask(&self.engine, address, STATUS, &()).await
    }

    async fn status(&self, tenant: &Name, component: &Name, spec: &TriggerSpec) -> Result<Status, Failure> {
        let status = match &spec.source {
            Source::Http(_) => Status::of_route(component.clone(), spec),
            _ => {
                let standing = self.standing(&trigger::address(tenant, component, &spec.name)).await?;
                Status::new(component.clone(), spec.name.clone(), &standing).told_by(spec)
            }
        };
        Ok(status.with_target(self.caller.check(tenant, component, &spec.target)))
    }

    /// Asks a trigger that keeps something.
    async fn ask<T: DeserializeOwned>(
        &self,
        tenant: &Name,
        (component, trigger): (&Name, &Name),
        method: &str,
        asked: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        let spec = self.declared.find(tenant, component, trigger);
        if spec.as_ref().is_some_and(|spec| matches!(spec.source, Source::Http(_))) {
            let message = format!(
                "trigger `{component}/{trigger}` is a route: its requests are answered at once, so nothing waits or is kept"
            );
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        let address = trigger::address(tenant, component, trigger);
        if spec.is_none() && self.standing(&address).await?.dead == 0 {
            let known = self.declared.of(tenant);
            let known: Vec<String> = known
                .iter()
                .flat_map(|(of, all)| all.triggers.iter().map(move |one| format!("{of}/{}", one.name)))
                .collect();
            let name = format!("{component}/{trigger}");
            let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, &name));
            return Err(Failure::not_found("trigger", &name, nearest.map(String::as_str)));
        }
        ask(&self.engine, &address, method, asked).await
    }

    /// Does something with one dead letter, or with all that are there now, as many at a time as a turn can move.
    async fn all(
        &self,
        tenant: &Name,
        trigger: (&Name, &Name),
        method: &str,
        number: Option<u64>,
    ) -> Result<u64, Failure> {
        let mut done = 0;
        let mut left = match number {
            Some(_) => 1,
            None => self.standing(&trigger::address(tenant, trigger.0, trigger.1)).await?.dead,
        };
        loop {
            let some: u64 = self.ask(tenant, trigger, method, &Which { number }).await?;
            done += some;
            left = left.saturating_sub(some);
            // Those that die again meanwhile are not tried for ever.
            if some == 0 || left == 0 {
                return Ok(done);
            }
        }
    }

    async fn addresses(&self, tenant: &Name) -> Result<Vec<Address>, Failure> {
        let mut all: Vec<Address> = Vec::new();
        loop {
            let page = self.engine.list(tenant, &TRIGGERS.name(), all.last().map(|last| &last.key), PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The name of the run that a request starts: the same for the same key, and else of its own.
    fn run_name(&self, spec: &TriggerSpec, key: Option<&str>) -> String {
        let name = match key {
            Some(key) => blake3::hash(key.as_bytes()).to_hex()[..32].to_owned(),
            None => format!("{:016x}", self.chance.next_u64()),
        };
        format!("{}-{name}", spec.name)
    }
}

/// The event that a request to a topic is, or its body.
///
/// # Errors
/// If it should be an event and is none.
pub fn publishable(headers: Headers<'_>, payload: Payload) -> Result<Payload, Failure> {
    let event: Option<Event> = crate::http::of_request(headers, &payload)?;
    Ok(event.map_or(payload, |event| event.payload()))
}
