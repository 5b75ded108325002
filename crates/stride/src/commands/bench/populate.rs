//! A data directory with many agents that sleep. They are written by the engine itself, in process and with user code
//! that is plain Rust: what is on disk is what as many turns of the counter example leave there.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use indicatif::ProgressBar;
use stride_agents::{Bodies, Body, Engine, Kind, Method, Surroundings, Turn};
use stride_ids::{Address, Failure, Name, Payload};
use stride_journal::embedded::EmbeddedJournal;
use stride_sim::{Chance, Clock, Tasks, disk::RealDisk};
use stride_store::Store;

use super::{
    node::Server,
    rig::{Maintenance, address, ask},
};

/// The state of each agent, in bytes.
pub(crate) const STATE_LEN: usize = 200;
const CALLERS: u64 = 256;

/// Makes a node's data directory with the counter example deployed and `agents` counters, and drains it.
pub(crate) async fn populate(clock: &Clock, data: &Path, agents: u64) -> anyhow::Result<()> {
    let node = Server::node(data)?;
    node.deploy("counter").await?;
    node.terminate()?;
    let settings = stride_agents::Settings::default();
    let journal =
        EmbeddedJournal::open(Arc::new(RealDisk), &data.join("journal"), Default::default(), Chance::from_os())?;
    let surroundings = Surroundings {
        journal: Arc::new(journal),
        store: Arc::new(Store::open(&data.join("store"), settings.cells, Default::default())?),
        bodies: Arc::new(Padded),
        clock: clock.clone(),
        chance: Chance::from_os(),
        tasks: Tasks::real(),
        cluster: None,
    };
    let engine = Engine::open(surroundings, settings).await?;
    let progress = ProgressBar::new(agents);
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (engine, progress) = (engine.clone(), progress.clone());
        callers.push(tokio::spawn(async move {
            for n in (caller..agents).step_by(CALLERS as usize) {
                engine.ask(ask(&address("counter", &format!("agent-{n}"))?, "add", "1")).await?;
                progress.inc(1);
            }
            anyhow::Ok(())
        }));
    }
    let maintenance = Maintenance::of(&engine, clock);
    for caller in callers {
        caller.await??;
    }
    maintenance.stop().await;
    engine.stop_handling().await;
    engine.materialise().await?;
    engine.checkpoint().await?;
    progress.finish_and_clear();
    Ok(())
}

/// Counters whose state is as long as wanted: the counter example ignores what it does not know.
struct Padded;

impl Bodies for Padded {
    fn kind(&self, _: &Name, name: &Name) -> Option<Arc<Kind>> {
        let methods = BTreeMap::from([("add".to_owned(), Method { read_only: false })]);
        let idle = Duration::ZERO;
        Some(Arc::new(Kind { component: name.clone(), version: "bench".into(), name: name.clone(), methods, idle }))
    }

    fn kind_of_version(&self, _: &Name, _: &Name, _: &str) -> Option<Arc<Kind>> {
        None
    }

    fn nearest_kind(&self, _: &Name, _: &Name) -> Option<String> {
        None
    }

    fn start<'a>(&'a self, _: &'a Arc<Kind>, _: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        Box::pin(async { Ok(Box::new(Padded) as Box<dyn Body>) })
    }
}

impl Body for Padded {
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        Box::pin(async { Ok(turn) })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        _: &'a str,
        _: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let mut state = r#"{"value":1,"padding":""#.to_owned();
            let key = turn.address().key.to_string();
            // Not the same for all, or the disk would hold next to nothing of it.
            state.extend(
                key.chars()
                    .cycle()
                    .zip(0..STATE_LEN - state.len() - 2)
                    .map(|(c, n)| if n % 3 == 0 { c } else { digit(&key, n) }),
            );
            state.push_str("\"}");
            turn.save(state.into()).map_err(|e| Failure::new(stride_ids::Code::Internal, e.to_string()))?;
            Ok((turn, Payload::json("1")))
        })
    }
}

/// A character that depends on all of `key` and on `n`.
fn digit(key: &str, n: usize) -> char {
    let hash =
        key.bytes().fold(n as u32 ^ 0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    char::from(b'a' + (hash >> 16) as u8 % 26)
}
