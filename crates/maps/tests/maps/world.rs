//! What the tests share: maps without a node. Functions are closures.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{TryStreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use serde_json::Value;
use stride_agents::{Engine, Surroundings, native::NativeTypes};
use stride_data::{BUCKETS, Objects, Put, Storage};
use stride_ids::{BucketName, Code, Failure, Name, ObjectKey, ObjectName, Payload};
use stride_journal::{Journal, memory::MemoryJournal};
use stride_maps::{
    Callee, Caller, Chain, FunctionName, Input, MAPS, MapId, Maps, Reply, Settings, Spec, State, Status, Wishes,
};
use stride_sim::{Chance, Clock, Tasks};
use stride_store::Store;
use tokio::sync::watch;

/// Functions that do what tests need, and count. Those whose name begins with `pure-` are pure.
pub(crate) struct Functions {
    pub(crate) calls: AtomicU64,
    /// The version in force.
    pub(crate) version: Mutex<&'static str>,
    /// A version that is not kept any more.
    pub(crate) gone: Mutex<Option<&'static str>>,
    /// Texts whose first call of a function does not come back until it is let go.
    pub(crate) slow: Mutex<Vec<String>>,
    pub(crate) let_go: watch::Sender<bool>,
    /// How many more calls are refused before one is taken.
    pub(crate) overloaded: AtomicU64,
    /// After so many calls, none comes back any more.
    pub(crate) stuck_after: AtomicU64,
    /// The bucket whose data must not be used here.
    pub(crate) forbidden: Mutex<Option<String>>,
    objects: OnceLock<Weak<Objects>>,
}

impl Default for Functions {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            version: Mutex::new("v1"),
            gone: Mutex::default(),
            slow: Mutex::default(),
            let_go: watch::Sender::new(false),
            overloaded: AtomicU64::new(0),
            stuck_after: AtomicU64::new(0),
            forbidden: Mutex::default(),
            objects: OnceLock::new(),
        }
    }
}

struct Calls(Arc<Functions>);

impl Caller for Calls {
    fn find<'a>(
        &'a self,
        _: &'a Name,
        function: &'a FunctionName,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<dyn Callee>, Failure>> {
        let functions = self.0.clone();
        Box::pin(async move {
            let in_force = functions.version.lock().to_owned();
            let version = version.map_or(in_force, str::to_owned);
            if function.function.as_str() == "nothing" {
                return Err(Failure::not_found("function", "nothing", Some("echo")));
            }
            if functions.gone.lock().is_some_and(|gone| gone == version) {
                return Err(Failure::not_found("version", &version, None));
            }
            let name = function.function.to_string();
            let callee: Arc<dyn Callee> = Arc::new(Function { functions, name, version });
            Ok(callee)
        })
    }

    fn chain(&self, _: &Name) -> Box<dyn Chain> {
        unreachable!("a map calls each item by itself")
    }
}

struct Function {
    functions: Arc<Functions>,
    name: String,
    version: String,
}

impl Callee for Function {
    fn version(&self) -> &str {
        &self.version
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn is_pure(&self) -> bool {
        self.name.starts_with("pure-")
    }

    fn place<'a>(&'a self, buckets: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>> {
        let forbidden = self.functions.forbidden.lock().clone();
        let found = buckets.iter().find(|bucket| forbidden.as_deref() == Some(bucket.as_str()));
        let outcome =
            found.map_or(Ok(()), |bucket| Err(Failure::new(Code::CapabilityDenied, format!("{bucket}: not here"))));
        Box::pin(async { outcome })
    }

    fn call(&self, input: Input, _: Wishes) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let objects = self.functions.objects.get().and_then(Weak::upgrade).unwrap();
            let input = input.read(&objects).await?;
            drop(objects);
            let payload = self.functions.call(self.name.trim_start_matches("pure-"), &self.version, input).await?;
            Ok(Reply { payload, is_memoised: false })
        })
    }
}

impl Functions {
    fn call<'a>(
        &'a self,
        function: &'a str,
        version: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload, Failure>> {
        Box::pin(async move {
            let refused =
                self.overloaded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if refused.is_ok() {
                return Err(Failure::new(Code::Overloaded, "full"));
            }
            let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            let text = String::from_utf8_lossy(&input.body).into_owned();
            let stuck_after = self.stuck_after.load(Ordering::Relaxed);
            if stuck_after > 0 && calls > stuck_after {
                std::future::pending::<()>().await;
            }
            let slow = {
                let mut slow = self.slow.lock();
                let found = slow.iter().position(|slow| *slow == text);
                found.map(|found| slow.remove(found))
            };
            if slow.is_some() {
                self.let_go.subscribe().wait_for(|let_go| *let_go).await.unwrap();
            }
            match function {
                "version" => Ok(Payload::json(format!("\"{version}\""))),
                "fails" if text.contains("bad") => Err(Failure::new(Code::GuestError, "it is bad")),
                "len" => Ok(Payload::json(input.body.len().to_string())),
                "sum" => {
                    let values: Vec<u64> = serde_json::from_str(&text).unwrap();
                    Ok(Payload::json(values.iter().sum::<u64>().to_string()))
                }
                "join" => {
                    let values: Vec<String> = serde_json::from_str(&text).unwrap();
                    Ok(Payload::json(serde_json::to_string(&values.concat()).unwrap()))
                }
                _ => Ok(input),
            }
        })
    }
}

/// Maps, and what they are made of.
pub(crate) struct World {
    pub(crate) maps: Maps,
    pub(crate) objects: Arc<Objects>,
    pub(crate) functions: Arc<Functions>,
    journal: Arc<dyn Journal>,
    dir: tempfile::TempDir,
}

pub(crate) fn tenant() -> Name {
    Name::default_tenant()
}

pub(crate) async fn world() -> World {
    world_with(Settings::default()).await
}

pub(crate) async fn world_with(settings: Settings) -> World {
    world_at(Clock::real(), settings).await
}

pub(crate) async fn world_at(clock: Clock, settings: Settings) -> World {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Arc::new(MemoryJournal::new()));
    open(dir, journal, clock, settings).await
}

async fn open(dir: tempfile::TempDir, journal: Arc<dyn Journal>, clock: Clock, settings: Settings) -> World {
    let (chance, tasks) = (Chance::seeded(1), Tasks::real());
    let engine = engine(dir.path(), journal.clone(), &clock).await;
    let storage = Storage::local(&dir.path().join("objects"), tasks.clone()).unwrap();
    let objects = Objects::new(engine.clone(), storage, Default::default(), clock.clone(), tasks.clone());
    let (objects, functions) = (Arc::new(objects), Arc::new(Functions::default()));
    functions.objects.set(Arc::downgrade(&objects)).unwrap();
    let maps = Maps::new(engine, objects.clone(), Arc::new(Calls(functions.clone())), settings, (clock, chance, tasks));
    World { maps, objects, functions, journal, dir }
}

async fn engine(dir: &Path, journal: Arc<dyn Journal>, clock: &Clock) -> Arc<Engine> {
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
        bodies: Arc::new(NativeTypes::new([BUCKETS, MAPS])),
        clock: clock.clone(),
        chance: Chance::seeded(1),
        tasks: Tasks::real(),
        cluster: None,
    };
    Engine::open(surroundings, settings).await.unwrap()
}

impl World {
    /// The same after the node stopped and started again. What was recorded is all that is left.
    pub(crate) async fn restarted(self) -> Self {
        let Self { maps, objects, functions, journal, dir } = self;
        drop((maps, objects, functions));
        open(dir, journal, Clock::real(), Settings::default()).await
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<bytes::Bytes>) {
        let (bucket, key) = name.split_once('/').unwrap();
        let (bucket, key) = (BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
        let body = stream::iter([Ok::<_, String>(bytes.into())]);
        self.objects.put(&ObjectName { tenant: tenant(), bucket, key }, body, Put::default()).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> String {
        let (bucket, key) = name.split_once('/').unwrap();
        let (bucket, key) = (BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
        let reader = self.objects.open(&ObjectName { tenant: tenant(), bucket, key }, None).await.unwrap();
        let pieces: Vec<bytes::Bytes> = reader.stream(0..reader.status().len).try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    pub(crate) async fn begin(&self, spec: Value) -> MapId {
        self.try_begin(spec).await.unwrap().id
    }

    pub(crate) async fn try_begin(&self, spec: Value) -> Result<Status, Failure> {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        Ok(self.maps.begin(&tenant(), spec, None).await?.status)
    }

    pub(crate) async fn status(&self, id: &MapId) -> Status {
        self.maps.status(&tenant(), id).await.unwrap()
    }

    /// All lines, once the map has ended.
    pub(crate) async fn results(&self, id: &MapId) -> Vec<Value> {
        let lines = self.maps.results(&tenant(), id).await.unwrap();
        let bytes: Vec<bytes::Bytes> = lines.try_collect().await.unwrap();
        let text = String::from_utf8(bytes.concat()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a map to its end: its lines, and how it ended.
    pub(crate) async fn run(&self, spec: Value) -> (Vec<Value>, Status) {
        let id = self.begin(spec).await;
        let lines = self.results(&id).await;
        (lines, self.status(&id).await)
    }

    /// Waits until so many items have a result.
    pub(crate) async fn wait_for(&self, id: &MapId, done: u64) {
        while self.status(id).await.done < done {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn wait_for_calls(&self, calls: u64) {
        while self.functions.calls.load(Ordering::Relaxed) < calls {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn is_done(status: &Status) -> bool {
    status.state == State::Done
}
