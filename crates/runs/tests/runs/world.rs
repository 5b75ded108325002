//! What the tests share.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stride_agents::{
    Engine, Surroundings, Turn,
    native::{Asked, NativeType, NativeTypes},
};
use stride_data::{BUCKETS, Objects, Put, Storage};
use stride_flows::{Effect, Function, Signature, plan::Hardware};
use stride_ids::{BucketName, Code, Failure, Name, ObjectKey, ObjectName, Payload};
use stride_journal::{Journal, memory::MemoryJournal};
use stride_maps::{Callee, Caller, Chain, FunctionName, Input, Part, Reply, Wishes};
use stride_runs::{Afar, Catalog, FLOWS, Refused, Runs, Settings, Status};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;
use tokio::sync::watch;

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that counts what it is told and asked. It stands for those of users, whose type may be reached by everybody.
const COUNTER: NativeType = NativeType {
    name: "topic",
    methods: &[("add", false), ("publish", false), ("get", true), ("fail", false)],
    handle: count,
};

fn count(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    let before: u64 = turn.load().map_or(0, |bytes| serde_json::from_slice(&bytes).unwrap());
    match asked.method {
        "get" => Ok(Payload::json(before.to_string())),
        "fail" => Err(Failure::new(Code::GuestError, "it does not want to")),
        _ => {
            let after = (before + 1).to_string();
            turn.save(after.clone().into())?;
            Ok(Payload::json(after))
        }
    }
}

/// Functions that do what tests need. Those whose name begins with `pure-` are pure.
#[derive(Default)]
pub(crate) struct Functions {
    pub(crate) calls: AtomicU64,
    /// Inputs whose first call does not come back until it is let go.
    pub(crate) stuck: Mutex<HashSet<String>>,
    pub(crate) let_go: watch::Sender<bool>,
    /// How many calls of `flaky` fail before one succeeds.
    pub(crate) flaky: AtomicU64,
    /// How many calls of `inc` are going on, and how many there were at most.
    pub(crate) going: AtomicU64,
    pub(crate) most: AtomicU64,
    /// The node that has the data of all calls, if there is one, and what was sent there.
    pub(crate) other: Mutex<Option<Runs>>,
    pub(crate) sent: AtomicU64,
    /// The bucket whose labels do not allow work here.
    pub(crate) forbidden: Mutex<Option<String>>,
    objects: OnceLock<Weak<Objects>>,
}

struct Calls(Arc<Functions>);

impl Caller for Calls {
    fn find<'a>(
        &'a self,
        _: &'a Name,
        function: &'a FunctionName,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<dyn Callee>, Failure>> {
        let called = Called { functions: self.0.clone(), name: function.function.to_string() };
        Box::pin(async move { Ok(Arc::new(called) as Arc<dyn Callee>) })
    }

    fn chain(&self, _: &Name) -> Box<dyn Chain> {
        Box::new(ChainOf(self.0.clone()))
    }
}

impl Afar for Calls {
    fn send<'a>(
        &'a self,
        _: &'a Name,
        parts: &'a [Part],
        work: Bytes,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Failure>> {
        assert!(!parts.is_empty(), "what reads nothing is sent nowhere");
        let other = self.0.other.lock().clone();
        Box::pin(async move {
            let Some(other) = other else { return Ok(None) };
            self.0.sent.fetch_add(1, Ordering::Relaxed);
            match other.work(&work).await {
                Err(Failure { code: Code::Overloaded, .. }) => Ok(None),
                answer => answer.map(Some),
            }
        })
    }

    fn may_work<'a>(&'a self, _: &'a Name, parts: &'a [Part]) -> BoxFuture<'a, Result<bool, Failure>> {
        let forbidden = self.0.forbidden.lock().clone();
        let may = parts.iter().all(|part| forbidden.as_deref() != Some(part.object.bucket.as_str()));
        async move { Ok(may) }.boxed()
    }
}

struct ChainOf(Arc<Functions>);

impl Chain for ChainOf {
    fn call<'a>(
        &'a mut self,
        function: &'a FunctionName,
        input: Payload,
    ) -> BoxFuture<'a, Result<Option<Payload>, Failure>> {
        Box::pin(async move {
            let Some(name) = function.function.as_str().strip_prefix("pure-") else { return Ok(None) };
            self.0.call(name, input).await.map(Some)
        })
    }
}

struct Called {
    functions: Arc<Functions>,
    name: String,
}

impl Callee for Called {
    fn version(&self) -> &str {
        "v1"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn is_pure(&self) -> bool {
        self.name.starts_with("pure-")
    }

    fn place<'a>(&'a self, _: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }

    fn call(&self, input: Input, _: Wishes) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let objects = self.functions.objects.get().and_then(Weak::upgrade).unwrap();
            let input = input.read(&objects).await?;
            drop(objects);
            let is_counted = u64::from(self.name == "inc");
            let going = self.functions.going.fetch_add(is_counted, Ordering::Relaxed) + is_counted;
            self.functions.most.fetch_max(going, Ordering::Relaxed);
            let payload = self.functions.call(self.name.trim_start_matches("pure-"), input).await;
            self.functions.going.fetch_sub(is_counted, Ordering::Relaxed);
            Ok(Reply { payload: payload?, is_memoised: false })
        })
    }
}

impl Functions {
    async fn call(&self, function: &str, input: Payload) -> Result<Payload, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let text = String::from_utf8_lossy(&input.body).into_owned();
        if self.stuck.lock().remove(&text) {
            self.let_go.subscribe().wait_for(|let_go| *let_go).await.unwrap();
        }
        let value = || serde_json::from_slice::<Value>(&input.body).unwrap_or(Value::Null);
        match function {
            "inc" => Ok(Payload::json((value().as_i64().unwrap_or(0) + 1).to_string())),
            "large" => Ok(Payload::json(json!("x".repeat(value().as_u64().unwrap_or(0) as usize)).to_string())),
            "length" => Ok(Payload::json(input.body.len().to_string())),
            "sum" => {
                let sum: i64 = value().as_array().into_iter().flatten().filter_map(Value::as_i64).sum();
                Ok(Payload::json(sum.to_string()))
            }
            "fail" => Err(Failure::new(Code::GuestError, "it is bad")),
            "flaky" => {
                match self.flaky.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
                    Ok(_) => Err(Failure::new(Code::GuestError, "not yet")),
                    Err(_) => Ok(input),
                }
            }
            _ => Ok(input),
        }
    }
}

impl Catalog for Functions {
    fn function(&self, _: &Name, name: &str) -> Option<(Function, String)> {
        let function = name.strip_prefix("t/")?;
        let effects = if function.starts_with("pure-") { [].into() } else { [Effect::Network].into() };
        (function != "nothing").then(|| (Function { effects, ..Function::default() }, "v1".into()))
    }

    fn agent(&self, _: &Name, agent: &str, method: &str) -> Option<Signature> {
        let is_there = agent == "topic" && COUNTER.methods.iter().any(|(name, _)| *name == method);
        is_there.then(Signature::default)
    }

    fn hardware(&self) -> Vec<Hardware> {
        Vec::new()
    }

    fn nodes<'a>(&'a self, _: &'a [ObjectName]) -> BoxFuture<'a, Result<Option<stride_placement::Input>, Failure>> {
        async { Ok(None) }.boxed()
    }

    fn names(&self, _: &Name) -> Vec<String> {
        vec!["t/echo".into(), "t/inc".into(), "topic/add".into()]
    }
}

/// Runs, and what they are made of.
pub(crate) struct World {
    pub(crate) runs: Runs,
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) functions: Arc<Functions>,
    journal: Arc<dyn Journal>,
    dir: tempfile::TempDir,
}

pub(crate) fn tenant() -> Name {
    Name::default_tenant()
}

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub(crate) async fn world() -> World {
    open(tempfile::tempdir().unwrap(), Arc::new(MemoryJournal::new()), settings()).await
}

pub(crate) async fn world_with(settings: Settings) -> World {
    open(tempfile::tempdir().unwrap(), Arc::new(MemoryJournal::new()), settings).await
}

pub(crate) fn settings() -> Settings {
    Settings { watch: Duration::from_millis(500), ..Settings::default() }
}

async fn open(dir: tempfile::TempDir, journal: Arc<dyn Journal>, settings: Settings) -> World {
    let (clock, chance, tasks) = (Clock::real(), Chance::seeded(1), Tasks::real());
    let runs = Runs::new(settings, clock.clone(), chance.clone(), tasks.clone());
    let engine = engine(dir.path(), journal.clone(), &runs, &clock).await;
    let storage = Storage::local(&dir.path().join("objects"), tasks.clone()).unwrap();
    let objects = Arc::new(Objects::new(engine.clone(), storage, Default::default(), clock, tasks));
    let functions = Arc::new(Functions::default());
    functions.objects.set(Arc::downgrade(&objects)).unwrap();
    let calls = Arc::new(Calls(functions.clone()));
    runs.open(engine.clone(), objects.clone(), (calls.clone(), calls), functions.clone());
    World { runs, engine, objects, functions, journal, dir }
}

async fn engine(dir: &Path, journal: Arc<dyn Journal>, runs: &Runs, clock: &Clock) -> Arc<Engine> {
    let settings = stride_agents::Settings::default();
    let store = loop {
        // The engine before may hold on to it for a moment.
        match Store::open(&dir.join("store"), settings.cells, Default::default()) {
            Ok(store) => break store,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let surroundings = Surroundings {
        journal,
        store: Arc::new(store),
        bodies: runs.bodies(Arc::new(NativeTypes::new([BUCKETS, FLOWS, COUNTER]))),
        clock: clock.clone(),
        chance: Chance::seeded(1),
        tasks: Tasks::real(),
        cluster: None,
    };
    Engine::open(surroundings, settings).await.unwrap()
}

impl World {
    /// The same after the node was killed and started again. What was recorded is all that is left.
    pub(crate) async fn restarted(self) -> Self {
        let world = self.restarted_without_looking().await;
        world.runs.take_up().unwrap();
        world
    }

    /// The same, but nobody looks for what has to go on.
    pub(crate) async fn restarted_without_looking(self) -> Self {
        let Self { runs, engine, objects, functions, journal, dir } = self;
        runs.stop();
        runs.stopped().await;
        engine.stop_handling().await;
        drop((runs, engine, objects, functions));
        open(dir, journal, settings()).await
    }

    pub(crate) async fn deploy(&self, nodes: Value, output: &str) {
        self.try_deploy("f", nodes, output).await.unwrap();
    }

    pub(crate) async fn try_deploy(&self, name: &str, nodes: Value, output: &str) -> Result<u64, Refused> {
        let flow = json!({"version": 1, "name": name, "graph": {"nodes": nodes, "output": output}});
        let status = self.runs.deploy(&tenant(), flow.to_string().as_bytes(), Vec::new()).await?;
        Ok(status.version)
    }

    /// Begins a run of the flow `f`.
    pub(crate) async fn begin(&self, run: &str, input: Value) -> Status {
        let input = Payload::json(input.to_string());
        self.runs.start(&tenant(), &name("f"), Some(run), input, Duration::ZERO).await.unwrap()
    }

    /// Runs the flow `f` to its end.
    pub(crate) async fn run(&self, input: Value) -> Status {
        self.begin("r", input).await;
        self.end("r").await
    }

    pub(crate) async fn end(&self, run: &str) -> Status {
        let status = self.runs.wait_for(&tenant(), &name("f"), run, PATIENCE).await.unwrap();
        assert_ne!(status.state, "running", "{status:?}");
        status
    }

    /// Waits until a run is as it should be.
    pub(crate) async fn until(&self, run: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let deadline = Clock::real();
        let since = deadline.now();
        loop {
            let status = self.runs.status(&tenant(), &name("f"), run).await.unwrap();
            if is_so(&status) {
                return status;
            }
            assert!(deadline.now() - since < PATIENCE, "{status:?}");
            deadline.sleep(Duration::from_millis(5)).await;
        }
    }

    /// What an agent has counted.
    pub(crate) async fn counted(&self, key: &str) -> u64 {
        let address = stride_ids::Address {
            tenant: tenant(),
            kind: COUNTER.name(),
            key: stride_ids::AgentKey::new(key).unwrap(),
        };
        let ask = stride_agents::Ask {
            address,
            method: "get".into(),
            input: Payload::json("null"),
            idempotency_key: None,
            trace: None,
        };
        let answer = self.engine.ask(ask).await.unwrap();
        serde_json::from_slice(&answer.payload.body).unwrap()
    }

    pub(crate) async fn put(&self, object: &str, bytes: impl Into<Bytes>) {
        let (bucket, key) = object.split_once('/').unwrap();
        let (bucket, key) = (BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
        let body = stream::iter([Ok::<_, String>(bytes.into())]);
        self.objects.put(&ObjectName { tenant: tenant(), bucket, key }, body, Put::default()).await.unwrap();
    }
}
