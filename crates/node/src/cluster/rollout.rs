//! Deployments of a cluster: written into the tables by the node that was asked, loaded by all, each from its own disk or from
//! the store that they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_cluster::{Beat, Error, Tables};
use stride_data::Components;
use stride_ids::{Code, Failure, Layout, Name, with_causes};
use stride_sim::Clock;
use tokio::sync::watch;

use super::in_time;
use crate::{
    catalog::Entry,
    control::{Control, declared_by},
};

/// How long a deployment waits until all nodes have it.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(10);
/// How soon it is looked at again whether they have, and whether what failed can be loaded.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a node that starts tries to load what is deployed. A database that is busy answers in a moment.
const LOADED_WITHIN: Duration = Duration::from_secs(30);
/// How often a deployment is written again because somebody else was first.
const TRIES: usize = 5;

/// See the module.
pub(crate) struct Rollout {
    tables: Arc<dyn Tables>,
    components: Components,
    clock: Clock,
    beat: Mutex<Option<Arc<Beat>>>,
    /// Up to which number everything is loaded. Held while something is.
    loaded: tokio::sync::Mutex<u64>,
    layout: Layout,
    /// Up to which number it is known which agent types were deployed. Held while that is looked up.
    learned: tokio::sync::Mutex<u64>,
}

impl Rollout {
    pub(super) fn new(tables: Arc<dyn Tables>, components: Components, layout: Layout, clock: Clock) -> Self {
        Self {
            tables,
            components,
            clock,
            beat: Mutex::default(),
            loaded: tokio::sync::Mutex::default(),
            layout,
            learned: tokio::sync::Mutex::default(),
        }
    }

    /// Finds out which agent types were deployed before this is called, and what their agents are close to. Their code may come later:
    /// what others have written of them can be read and taken in from now on.
    pub(crate) async fn learn(&self) -> Result<(), Failure> {
        let mut learned = self.learned.lock().await;
        let unavailable = |e: Error| Failure::new(Code::Unavailable, e.to_string());
        for news in in_time(&self.clock, self.tables.deployments(*learned)).await.map_err(unavailable)? {
            if let Some(text) = &news.entry {
                let entry: Entry = serde_json::from_str(text).map_err(|e| unreadable(&e.to_string()))?;
                self.layout.declare(&news.tenant, &declared_by(&entry)?);
            }
            *learned = news.number;
        }
        Ok(())
    }

    pub(super) fn join(&self, beat: Arc<Beat>) {
        *self.beat.lock() = Some(beat);
    }

    /// Keeps what is deployed where all nodes find it. Its number; it is in force where it is loaded.
    pub(crate) async fn publish(&self, tenant: &Name, entry: &Entry, wasm: Bytes) -> Result<u64, Failure> {
        let unstored = |e: &(dyn std::error::Error + 'static)| {
            let why = with_causes(e);
            Failure::new(Code::Unavailable, format!("the deployment cannot be stored, so nothing has changed: {why}"))
        };
        let hash = self.components.put(wasm).await.map_err(|e| unstored(&e))?;
        let text = serde_json::to_string(entry).map_err(|e| unstored(&e))?;
        let deployment = stride_cluster::Deployment {
            number: 0,
            tenant: tenant.clone(),
            component: entry.deployment.component.clone(),
            entry: Some(text),
            hash,
        };
        let mut expected = None;
        for _ in 0..TRIES {
            match in_time(&self.clock, self.tables.deploy(&deployment, expected)).await {
                Ok(number) => return Ok(number),
                Err(Error::Conflict { current }) => {
                    expected = current;
                    // Whoever was first may have said something else about the same agent types.
                    self.learn().await?;
                    self.layout.check(tenant, &declared_by(entry)?)?;
                }
                Err(e) => return Err(unstored(&e)),
            }
        }
        Err(Failure::new(Code::Conflict, "others deploy this component all the time; try again"))
    }

    /// Loads what was deployed since it was looked at last.
    pub(crate) async fn catch_up(&self, control: &Control) -> Result<(), Failure> {
        self.learn().await?;
        let mut loaded = self.loaded.lock().await;
        let unavailable = |e: Error| Failure::new(Code::Unavailable, e.to_string());
        let news = in_time(&self.clock, self.tables.deployments(*loaded)).await.map_err(unavailable)?;
        let newest = news.last().map_or(*loaded, |news| news.number);
        let mut stored = Vec::new();
        for news in wanted(news) {
            let entry = news.entry.as_deref().map(serde_json::from_str::<Entry>);
            if let Some(entry) = entry.transpose().map_err(|e| unreadable(&e.to_string()))? {
                let known = control.knows(&news.tenant, &entry.deployment.id)?;
                stored.push(Stored { tenant: news.tenant, component: news.component, hash: news.hash, entry, known });
            }
        }
        for Stored { tenant, hash, entry, .. } in new_of(stored) {
            let wasm = self.components.get(&hash).await.map_err(|e| unreadable(&with_causes(&e)))?;
            control.take(tenant, entry, wasm).await?;
        }
        *loaded = newest;
        if let Some(beat) = self.beat.lock().clone() {
            beat.deployed(newest);
        }
        Ok(())
    }

    /// Waits until all living nodes have loaded a deployment; what is still missing after some seconds is only logged.
    pub(crate) async fn everywhere(&self, number: u64) {
        let Some(beat) = self.beat.lock().clone() else { return };
        let missing = || -> BTreeSet<String> {
            let map = beat.map();
            map.living().filter(|row| row.deployed < number).map(|row| row.spec.name.to_string()).collect()
        };
        let until = self.clock.now() + EVERYWHERE_WITHIN;
        let mut map = beat.watch();
        while !missing().is_empty() && self.clock.now() < until {
            beat.look_now();
            // Whichever comes first.
            let _ = self.clock.timeout(LOOK_AGAIN / 10, map.changed()).await;
        }
        let missing = missing();
        if !missing.is_empty() {
            tracing::warn!(?missing, number, "some nodes have not loaded a deployment yet; they go on trying");
        }
    }

    /// Loads what is deployed, for a node that starts.
    pub(crate) async fn begin(&self, control: &Control) -> Result<(), Failure> {
        let deadline = self.clock.now() + LOADED_WITHIN;
        loop {
            match self.catch_up(control).await {
                Err(failure) if failure.code == Code::Unavailable && self.clock.now() < deadline => {
                    tracing::warn!(%failure, "what is deployed cannot be loaded yet; it is tried again");
                    self.clock.sleep(LOOK_AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Loads what others deploy, until the node stops.
    pub(super) async fn follow(
        self: Arc<Self>,
        control: Arc<Control>,
        mut newest: watch::Receiver<u64>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut failing = false;
        loop {
            match self.catch_up(&control).await {
                Ok(()) => failing = false,
                Err(failure) if !failing => {
                    failing = true;
                    tracing::error!(%failure, "a deployment of the cluster cannot be loaded; it is tried again");
                }
                Err(_) => {}
            }
            let news = async {
                match failing {
                    true => self.clock.sleep(LOOK_AGAIN).await,
                    // The sender is gone only when the beat is, and then this node is about to end.
                    false => drop(newest.changed().await),
                }
            };
            tokio::select! {
                () = news => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// Of each component the last two: what is in force, and what agents that refuse it stay with.
fn wanted(news: Vec<stride_cluster::Deployment>) -> Vec<stride_cluster::Deployment> {
    const KEPT: usize = 2;
    let mut newer: BTreeMap<(Name, Name), usize> = BTreeMap::new();
    let mut kept: Vec<_> = news
        .into_iter()
        .rev()
        .filter(|one| {
            let count = newer.entry((one.tenant.clone(), one.component.clone())).or_default();
            *count += 1;
            *count <= KEPT
        })
        .collect();
    kept.reverse();
    kept
}

/// A deployment as it is in the tables, and whether this node has it on disk.
#[derive(Debug, PartialEq, Eq)]
struct Stored<E = Entry> {
    tenant: Name,
    component: Name,
    hash: String,
    entry: E,
    known: bool,
}

/// Those that came after the last one of their component that this node has. One before it may be missing because the
/// next one said the same; loading it now would put it in force in the place of that.
fn new_of<E>(mut stored: Vec<Stored<E>>) -> Vec<Stored<E>> {
    let mut seen = BTreeSet::new();
    stored.reverse();
    stored.retain(|one| {
        let component = (one.tenant.clone(), one.component.clone());
        if one.known {
            seen.insert(component.clone());
        }
        !seen.contains(&component)
    });
    stored.reverse();
    stored
}

fn unreadable(why: &str) -> Failure {
    Failure::new(Code::Unavailable, format!("a deployment of the cluster cannot be loaded: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_component_the_last_two_deployments_are_loaded_in_their_order() {
        let one = |number, component: &str| stride_cluster::Deployment {
            number,
            tenant: Name::default_tenant(),
            component: Name::new(component).unwrap(),
            entry: None,
            hash: String::new(),
        };
        let news = vec![one(1, "a"), one(2, "b"), one(3, "a"), one(4, "a"), one(5, "c")];
        let numbers: Vec<_> = wanted(news).iter().map(|one| one.number).collect();
        assert_eq!(numbers, [2, 3, 4, 5]);
    }

    #[test]
    fn nothing_is_loaded_over_a_later_deployment_that_is_there() {
        let one = |number: u64, component: &str, known| Stored {
            tenant: Name::default_tenant(),
            component: Name::new(component).unwrap(),
            hash: String::new(),
            entry: number,
            known,
        };
        let stored =
            vec![one(1, "a", false), one(2, "b", true), one(3, "a", true), one(4, "b", false), one(5, "c", false)];
        let numbers: Vec<_> = new_of(stored).iter().map(|one| one.entry).collect();
        assert_eq!(numbers, [4, 5]);
    }
}
