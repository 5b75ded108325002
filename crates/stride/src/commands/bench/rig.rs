//! What a node runs on, in this process and without HTTP: what is left is the engine, the guests and the disk.

use std::{path::Path, sync::Arc, time::Duration};

use stride_agents::{Ask, Bodies, Engine, Surroundings};
use stride_ids::{Address, AgentKey, Name, Payload};
use stride_journal::{Journal, embedded::EmbeddedJournal};
use stride_runtime::{Component, ComponentSpec, Functions, Host, Registry};
use stride_sim::{Chance, Clock, Tasks, disk::RealDisk};
use stride_store::Store;
use tokio::task::JoinHandle;

use super::node::example_component;

/// An engine with one example deployed, on a journal and a store of its own.
pub(crate) struct Rig {
    pub(crate) engine: Arc<Engine>,
    pub(crate) functions: Functions,
    _maintenance: Maintenance,
}

impl Rig {
    pub(crate) async fn open(clock: &Clock, dir: &Path, example: &str, spec: ComponentSpec) -> anyhow::Result<Self> {
        Self::with_bodies(clock, dir, example, spec, |registry| registry).await
    }

    /// The same with something around the bodies.
    pub(crate) async fn with_bodies<B: Bodies>(
        clock: &Clock,
        dir: &Path,
        example: &str,
        spec: ComponentSpec,
        bodies: impl FnOnce(Arc<Registry>) -> Arc<B>,
    ) -> anyhow::Result<Self> {
        let settings =
            stride_runtime::Settings { instances_max: 512, memory_max: u64::MAX, cache_dir: dir.join("cache") };
        let host = Arc::new(Host::new(&settings, clock.clone(), Chance::from_os())?);
        let wasm = example_component(example)?;
        let (tenant, name) = (Name::default_tenant(), Name::new(example)?);
        let component = Component::load(&host, tenant, name, "bench".into(), spec, wasm.into()).await?;
        let registry = Arc::new(Registry::new(host.clone()));
        registry.install(component)?;
        let (disk, settings) = (Arc::new(RealDisk), stride_journal::embedded::Settings::default());
        let journal: Arc<dyn Journal> =
            Arc::new(EmbeddedJournal::open(disk, &dir.join("journal"), settings, Chance::from_os())?);
        let settings = stride_agents::Settings::default();
        let surroundings = Surroundings {
            journal,
            store: Arc::new(Store::open(&dir.join("store"), settings.cells, stride_store::Settings::default())?),
            bodies: bodies(registry.clone()),
            clock: clock.clone(),
            chance: Chance::from_os(),
            tasks: Tasks::real(),
            cluster: None,
        };
        let engine = Engine::open(surroundings, settings).await?;
        let maintenance = Maintenance::of(&engine, clock);
        Ok(Self { functions: Functions::new(registry, engine.clone()), engine, _maintenance: maintenance })
    }
}

/// Looks after an engine, as a node does, until it is dropped.
pub(crate) struct Maintenance(JoinHandle<()>);

impl Maintenance {
    pub(crate) fn of(engine: &Arc<Engine>, clock: &Clock) -> Self {
        let (engine, clock) = (engine.clone(), clock.clone());
        Self(tokio::spawn(async move {
            loop {
                clock.sleep(Duration::from_millis(200)).await;
                // What fails now is tried again by the next pass.
                let _ = engine.maintain().await;
            }
        }))
    }

    pub(crate) async fn stop(mut self) {
        self.0.abort();
        // Its end is what was asked for.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn address(kind: &str, key: &str) -> anyhow::Result<Address> {
    Ok(Address { tenant: Name::default_tenant(), kind: Name::new(kind)?, key: AgentKey::new(key)? })
}

pub(crate) fn ask(address: &Address, method: &str, body: &str) -> Ask {
    let input = Payload::json(body.to_owned());
    Ask { address: address.clone(), method: method.to_owned(), input, idempotency_key: None, trace: None }
}
