//! A call between two nodes: 1 KB to another process and back, against ZeroMQ's REQ and REP sockets, which do that and nothing else.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use stride_ids::Name;
use stride_net::{Answers, PeerAddr, Peers, Refused, Service, Settings, Tls, certificates::Authority};
use stride_sim::{Chance, Clock, Tasks};
use tokio::{net::TcpListener, sync::watch};

use super::{
    node::Server,
    table::{Against, Figures, Latencies, ratio},
    zeromq::ZeroMq,
};
use crate::output;

const ROUNDS: usize = 20;
const CALLS: usize = 500;
const BODY_LEN: usize = 1024;
const ECHO: Service = Service(1);
const HOST: &str = "127.0.0.1";

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut zeromq = ZeroMq::echoing(&dir.path().join("zeromq"), &[vec![7; BODY_LEN]])?;
    let cluster = dir.path().join("cluster");
    Authority::open(&cluster, clock)?.add(HOST)?;
    let open = Way::start(clock, None)?;
    let secret = Way::start(clock, Some(&cluster.join(HOST)))?;

    let [mut bare, mut without, mut with] = [(); 3].map(|()| Latencies::new());
    // The first round connects, and touches everything for the first time.
    for round in 0..=ROUNDS {
        if round == 1 {
            [bare, without, with] = [(); 3].map(|()| Latencies::new());
        }
        zeromq.time(CALLS, &mut bare)?;
        without.merge(&open.time(clock).await?);
        with.merge(&secret.time(clock).await?);
    }
    figures.latency("ZeroMQ REQ and REP, 1 KB there and back", &bare, None);
    let against =
        |latencies: &Latencies, goal| Against { baseline: "ZeroMQ", ratio: ratio(latencies.p50(), bare.p50()), goal };
    figures.latency("call between nodes, 1 KB", &without, Some(against(&without, "p50 <= 1.3x")));
    figures.latency("call between nodes, 1 KB, mutual TLS", &with, Some(against(&with, "p50 <= 1.6x")));
    Ok(())
}

/// A peer in a process of its own, and whoever calls it.
struct Way {
    peers: Arc<Peers>,
    server: Server,
}

impl Way {
    fn start(clock: &Clock, certificates: Option<&Path>) -> anyhow::Result<Self> {
        let tls = load(clock, certificates)?;
        let peers = Peers::new(settings()?, tls, clock.clone(), Chance::from_os(), Tasks::real());
        Ok(Self { peers: Arc::new(peers), server: Server::peer(certificates)? })
    }

    /// Calls one after another, from a task, as a node does.
    async fn time(&self, clock: &Clock) -> anyhow::Result<Latencies> {
        let (clock, peers, to) = (clock.clone(), self.peers.clone(), PeerAddr::from(self.server.address));
        let calls = async move {
            let (mut latencies, body) = (Latencies::new(), Bytes::from(vec![7; BODY_LEN]));
            for _ in 0..CALLS {
                let began = clock.now();
                let answer = peers.call(&to, ECHO, body.clone(), Duration::from_secs(10)).await?;
                latencies.add(clock.now() - began);
                anyhow::ensure!(answer == body, "the answer is not what was sent");
            }
            Ok(latencies)
        };
        tokio::spawn(calls).await.context("the calls panicked")?
    }
}

/// Answers with what it is sent until the process is ended.
pub(crate) async fn serve(certificates: Option<&Path>) -> anyhow::Result<()> {
    let clock = Clock::real();
    let tls = load(&clock, certificates)?;
    let listener = TcpListener::bind((HOST, 0)).await?;
    output::line(format_args!("stride ready http://{}", listener.local_addr()?))?;
    let (_never, stop) = watch::channel(false);
    stride_net::serve(listener, settings()?, tls, Arc::new(Echo), clock, Tasks::real(), stop).await;
    Ok(())
}

struct Echo;

impl Answers for Echo {
    fn answer(&self, _service: Service, body: Bytes) -> BoxFuture<'_, Result<Bytes, Refused>> {
        std::future::ready(Ok(body)).boxed()
    }
}

fn settings() -> anyhow::Result<Settings> {
    Ok(Settings::of(Name::new("bench")?))
}

fn load(clock: &Clock, certificates: Option<&Path>) -> anyhow::Result<Option<Tls>> {
    Ok(certificates.map(|dir| Tls::load(dir, clock)).transpose()?)
}
