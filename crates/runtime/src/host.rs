//! The one Wasmtime engine of a node, and what is linked into every guest.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use stride_data::Objects;
use stride_ids::{Code, Failure};
use stride_maps::Maps;
use stride_sim::{Chance, Clock};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component::Linker};
use wasmtime_wasi::p2;

use crate::{
    bindings,
    code::CodeCache,
    guest::Guest,
    here::{Here, Site},
    logs::Logs,
    memory::Memory,
    objects::link_read,
    spares::SPARES_MAX,
};

/// How often a running guest lets others run. Also how late a time limit can strike.
const TICK: Duration = Duration::from_millis(5);
/// The stack of a guest, in bytes. Parsers recurse.
const STACK_BYTES: usize = 1 << 20;
/// How much of an unused place in the pool stays in memory, in bytes, so that the next call does not fault it in.
const KEPT_RESIDENT_BYTES: usize = 1 << 20;
/// A component from a usual toolchain consists of this many core modules, at most.
const CORE_INSTANCES_PER_GUEST: u32 = 6;

/// The bounds of a host.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many instances there may be at a time, functions and agents together.
    pub instances_max: u32,
    /// How much memory all of them may take beyond what they start with, in bytes. Over that, agents leave memory.
    pub memory_max: u64,
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
}

/// Runs guests. One per process.
pub struct Host {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    pub(crate) code: CodeCache,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) logs: Arc<Logs>,
    pub(crate) memory: Arc<Memory>,
    objects: OnceLock<(Site, Weak<Objects>)>,
    maps: OnceLock<Weak<Maps>>,
}

impl Host {
    /// Starts a host.
    ///
    /// # Errors
    /// `internal` if the machine cannot reserve the address space or the cache directory cannot be made.
    pub fn new(settings: &Settings, clock: Clock, chance: Chance) -> Result<Self, Failure> {
        let internal = |e: wasmtime::Error| Failure::new(Code::Internal, format!("the runtime cannot start: {e:#}"));
        let engine = Engine::new(&config(settings)).map_err(internal)?;
        let mut linker = Linker::new(&engine);
        p2::add_to_linker_async(&mut linker).map_err(internal)?;
        bindings::Guest::add_to_linker::<_, HasGuest>(&mut linker, |guest| guest).map_err(internal)?;
        link_read(&mut linker).map_err(internal)?;
        let code = CodeCache::open(settings.cache_dir.clone(), &engine)?;
        tick_while_alive(&engine, clock.clone());
        let logs = Arc::new(Logs::new(clock.clone()));
        let memory = Arc::new(Memory::new(settings.memory_max));
        let (objects, maps) = (OnceLock::new(), OnceLock::new());
        Ok(Self { engine, linker, code, logs, memory, clock, chance, objects, maps })
    }

    /// Lets guests reach these objects, as far as their capabilities and the labels of buckets and of this site go. To be
    /// called once: the index of objects is kept by the agents that this host runs, so it is there only after the host.
    pub fn bring_objects(&self, objects: &Arc<Objects>, site: Site) {
        // Weak, or each would keep the other in memory for ever.
        let is_first = self.objects.set((site, Arc::downgrade(objects))).is_ok();
        debug_assert!(is_first, "a host has the objects of one node");
    }

    /// The node and its objects.
    pub(crate) fn here(&self) -> Result<Here<'_>, Failure> {
        let here = self.objects.get().and_then(|(site, objects)| Some(Here { site, objects: objects.upgrade()? }));
        here.ok_or_else(|| Failure::new(Code::Unavailable, "this node has no objects"))
    }

    /// Lets guests begin maps, as far as their capabilities go. To be called once: maps call the functions that this host runs, so
    /// they are there only after the host.
    pub fn bring_maps(&self, maps: &Arc<Maps>) {
        let is_first = self.maps.set(Arc::downgrade(maps)).is_ok();
        debug_assert!(is_first, "a host has the maps of one node");
    }

    /// The node's maps.
    pub(crate) fn maps(&self) -> Result<Arc<Maps>, Failure> {
        let maps = self.maps.get().and_then(Weak::upgrade);
        maps.ok_or_else(|| Failure::new(Code::Unavailable, "this node has no maps"))
    }

    /// How much memory instances have taken beyond what they started with, in bytes.
    pub fn memory_taken(&self) -> u64 {
        self.memory.taken()
    }

    /// What guests print.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }
}

/// Tells Wasmtime that host functions work on the whole [`Guest`].
struct HasGuest;

impl wasmtime::component::HasData for HasGuest {
    type Data<'a> = &'a mut Guest;
}

fn config(settings: &Settings) -> Config {
    let scans = PoolingAllocationConfig::is_pagemap_scan_available();
    let instances_max = settings.instances_max + SPARES_MAX;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max * CORE_INSTANCES_PER_GUEST)
        .total_memories(instances_max)
        .total_tables(instances_max * 2)
        .total_stacks(instances_max)
        // Where the kernel tells which pages a call dirtied, those are wiped by writing, which is cheaper than giving
        // them back and faulting them in again. Elsewhere the kernel takes all of them back.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(if scans { KEPT_RESIDENT_BYTES } else { 0 })
        .table_keep_resident(if scans { KEPT_RESIDENT_BYTES } else { 0 });
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .memory_init_cow(true)
        .concurrency_support(false)
        // The same instructions give the same bits on every node, wherever a call or an agent goes.
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES);
    config
}

/// Moves the engine's epoch, which is what makes a running guest yield. Ends with the engine.
fn tick_while_alive(engine: &Engine, clock: Clock) {
    let weak = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            clock.block(TICK);
        }
    });
}
