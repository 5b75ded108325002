//! What the tests share: triggers without a node. Functions are closures, and whoever is told writes it down.

use std::{path::Path, sync::Arc, time::Duration};

use futures::{future::BoxFuture, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stride_agents::{
    Ask, Engine, Surroundings, Turn,
    native::{Asked, NativeType, NativeTypes},
};
use stride_data::{BUCKETS, Conditions, Objects, Put, Storage};
use stride_ids::{Address, AgentKey, BucketName, Code, Failure, Name, ObjectKey, ObjectName, Payload};
use stride_journal::{Journal, memory::MemoryJournal};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;
use stride_triggers::{Caller, Declared, InForce, Status, TOPICS, TRIGGERS, Target, TriggerSpec, Triggers, Typed};

/// Agents that keep what they are told. Their type is one that the platform serves, as that of flows is.
const HEARERS: NativeType =
    NativeType { name: "flow", methods: &[("start", false), ("refuse", false), ("heard", true)], handle: hear };

fn hear(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    let mut heard: Vec<Value> = turn.load().map_or_else(Vec::new, |bytes| serde_json::from_slice(&bytes).unwrap());
    match asked.method {
        "heard" => return Ok(Payload::json(Value::from(heard).to_string())),
        "refuse" => return Err(Failure::new(Code::GuestError, "it refuses")),
        _ => {}
    }
    heard.push(serde_json::from_slice(&asked.payload().body).unwrap());
    turn.save(Value::from(heard).to_string().into())?;
    Ok(Payload::json("null"))
}

/// What a function does with its input.
type Does = dyn Fn(&str, &Value) -> Result<(), Failure> + Send + Sync;

/// Functions, and the inputs that they were called with.
pub(crate) struct Functions {
    pub(crate) calls: Mutex<Vec<Value>>,
    pub(crate) does: Mutex<Box<Does>>,
    /// Calls do not come back.
    pub(crate) stuck: Mutex<bool>,
}

impl Default for Functions {
    fn default() -> Self {
        Self { calls: Mutex::default(), does: Mutex::new(Box::new(|_, _| Ok(()))), stuck: Mutex::default() }
    }
}

impl Functions {
    pub(crate) fn does(&self, does: impl Fn(&str, &Value) -> Result<(), Failure> + Send + Sync + 'static) {
        *self.does.lock() = Box::new(does);
    }

    pub(crate) fn calls(&self) -> Vec<Value> {
        self.calls.lock().clone()
    }
}

impl Caller for Functions {
    fn call<'a>(
        &'a self,
        _: &'a Name,
        (_, function): (&'a Name, &'a Name),
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>> {
        Box::pin(async move {
            let input: Value = serde_json::from_slice(&input.body).unwrap();
            self.calls.lock().push(input.clone());
            if *self.stuck.lock() {
                std::future::pending::<()>().await;
            }
            (self.does.lock())(function.as_str(), &input)?;
            Ok(Payload::json("null"))
        })
    }

    fn check(&self, _: &Name, _: &Name, target: &Target) -> Result<(), Failure> {
        match target {
            Target::Function { function, .. } if function.as_str() == "nothing" => {
                Err(Failure::not_found("function", "nothing", Some("something")))
            }
            _ => Ok(()),
        }
    }
}

/// Triggers, and what they are made of.
pub(crate) struct World {
    pub(crate) triggers: Arc<Triggers>,
    pub(crate) declared: Arc<Declared>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) clock: Clock,
    journal: Arc<dyn Journal>,
    dir: tempfile::TempDir,
    /// How often it was started before.
    lives: u32,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn tenant() -> Name {
    Name::default_tenant()
}

pub(crate) async fn world() -> World {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Arc::new(MemoryJournal::new()));
    open(dir, journal, Clock::simulated(), Arc::default(), 0).await
}

async fn open(
    dir: tempfile::TempDir,
    journal: Arc<dyn Journal>,
    clock: Clock,
    declared: Arc<Declared>,
    lives: u32,
) -> World {
    let (chance, tasks) = (Chance::seeded(1), Tasks::real());
    let engine = engine(&dir.path().join(format!("store-{lives}")), journal.clone(), &clock).await;
    let storage = Storage::local(&dir.path().join("objects"), tasks.clone()).unwrap();
    let objects = Objects::new(engine.clone(), storage, Default::default(), clock.clone(), tasks.clone());
    let functions = Arc::new(Functions::default());
    let seams = (clock.clone(), chance, tasks);
    let triggers = Triggers::new(engine.clone(), declared.clone(), functions.clone(), seams);
    World {
        triggers: Arc::new(triggers),
        declared,
        engine,
        objects: Arc::new(objects),
        functions,
        clock,
        journal,
        dir,
        lives,
    }
}

/// The store begins empty: whoever was killed may still hold the one before, and the journal has everything.
async fn engine(dir: &Path, journal: Arc<dyn Journal>, clock: &Clock) -> Arc<Engine> {
    let settings = stride_agents::Settings::default();
    let store = Store::open(dir, settings.cells, Default::default()).unwrap();
    let surroundings = Surroundings {
        journal,
        store: Arc::new(store),
        bodies: Arc::new(NativeTypes::new([BUCKETS, TOPICS, TRIGGERS, HEARERS])),
        clock: clock.clone(),
        chance: Chance::seeded(1),
        tasks: Tasks::real(),
        cluster: None,
    };
    Engine::open(surroundings, settings).await.unwrap()
}

impl World {
    /// The same after the node was killed, stood still for so long, and started again. What was recorded is all that is left.
    pub(crate) async fn restarted_after(self, pause: Duration) -> Self {
        let Self { triggers, declared, engine, objects, functions, clock, journal, dir, lives } = self;
        // Nobody is left who could go on working.
        triggers.stop();
        engine.stop_handling().await;
        drop((triggers, engine, objects, functions));
        clock.sleep(pause).await;
        open(dir, journal, clock, declared, lives + 1).await
    }

    /// What a deployment of the component `shop` says that came at this time.
    pub(crate) fn declare(&self, since: u64, triggers: &[Value]) {
        let triggers = triggers.iter().map(|trigger| {
            let typed: Typed = serde_json::from_value(trigger.clone()).unwrap();
            Arc::new(TriggerSpec::try_from(typed).unwrap())
        });
        self.declared.put(&tenant(), &name("shop"), InForce { since, triggers: triggers.collect() });
    }

    /// Deploys the component `shop` with these triggers, and waits until they hear of events.
    pub(crate) async fn deploy(&self, since: u64, triggers: &[Value]) {
        self.declare(since, triggers);
        self.triggers.settle(&tenant(), &name("shop")).await.unwrap();
    }

    pub(crate) async fn publish(&self, topic: &str, data: Value) -> u64 {
        let payload = Payload::json(data.to_string());
        self.triggers.publish(&tenant(), &name(topic), payload, (None, None)).await.unwrap().number
    }

    /// Looks after the triggers, as a node does, until something is so.
    pub(crate) async fn until(&self, is_so: impl AsyncFn() -> bool) {
        while !is_so().await {
            self.triggers.look_after([tenant()]).await.unwrap();
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// What an agent was told, once it was told so often.
    pub(crate) async fn heard(&self, key: &str, times: usize) -> Vec<Value> {
        self.until(async || self.hearing(key).await.len() >= times).await;
        let heard = self.hearing(key).await;
        assert_eq!(heard.len(), times, "{heard:?}");
        heard
    }

    pub(crate) async fn hearing(&self, key: &str) -> Vec<Value> {
        let payload = self.ask(HEARERS, key, "heard", Value::Null).await.unwrap();
        serde_json::from_slice(&payload.body).unwrap()
    }

    pub(crate) async fn ask(
        &self,
        kind: NativeType,
        key: &str,
        method: &str,
        input: Value,
    ) -> Result<Payload, Failure> {
        let address = Address { tenant: tenant(), kind: kind.name(), key: AgentKey::new(key).unwrap() };
        let (method, input) = (method.into(), Payload::json(input.to_string()));
        let ask = Ask { address, method, input, idempotency_key: None, trace: None };
        Ok(self.engine.ask(ask).await?.payload)
    }

    pub(crate) async fn status(&self, trigger: &str) -> Status {
        let all = self.triggers.list(&tenant()).await.unwrap();
        all.into_iter().find(|status| status.trigger.as_str() == trigger).unwrap()
    }

    /// The keys of what waits and is dead: how many.
    pub(crate) async fn counts(&self, trigger: &str) -> (u64, u64, u64) {
        let status = self.status(trigger).await;
        (status.delivered, status.waiting, status.dead)
    }

    pub(crate) async fn put(&self, object: &str) {
        let body = stream::iter([Ok::<_, String>(bytes::Bytes::from_static(b"hello"))]);
        self.objects.put(&object_name(object), body, Put::default()).await.unwrap();
    }

    pub(crate) async fn delete(&self, object: &str) {
        self.objects.delete(&object_name(object), Conditions::default()).await.unwrap();
    }
}

fn object_name(object: &str) -> ObjectName {
    let (bucket, key) = object.split_once('/').unwrap();
    ObjectName { tenant: tenant(), bucket: BucketName::new(bucket).unwrap(), key: ObjectKey::new(key).unwrap() }
}

/// A trigger that tells the agent `key` what is in the event.
pub(crate) fn tells(name: &str, source: Value, key: &str) -> Value {
    with(json!({"name": name, "agent": "flow", "key": key, "method": "start", "input": "$.data"}), source)
}

/// A trigger that calls a function with what is in the event.
pub(crate) fn calls(name: &str, source: Value, function: &str) -> Value {
    with(json!({"name": name, "function": function, "input": "$.data"}), source)
}

pub(crate) fn with(mut trigger: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("it is a record") };
    trigger.as_object_mut().unwrap().extend(more);
    trigger
}
