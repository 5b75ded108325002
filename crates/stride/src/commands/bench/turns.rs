//! Asks over HTTP: reading against the bare echo, durable ones against the bare echo and a bare append.

use std::{path::Path, time::Duration};

use stride_sim::Clock;

use super::{
    floor::{BareLog, PingPong},
    node::Server,
    table::{Against, Figures, Latencies, ratio},
    traffic::{Connection, Request, one_by_one, side_by_side},
};

const ROUNDS: usize = 10;
const REQUESTS: usize = 300;
const CONNECTIONS: usize = 64;
const BURST: Duration = Duration::from_secs(3);
const BURSTS: usize = 3;
/// About what the record of one counter's turn takes in the journal, in bytes.
pub(crate) const RECORD_LEN: usize = 160;

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (echo, node) = (Server::echo()?, Server::node(&dir.path().join("data"))?);
    node.deploy("counter").await?;
    alone(clock, figures, &echo, &node, dir.path()).await?;
    together(clock, figures, &echo, &node).await
}

async fn alone(clock: &Clock, figures: &mut Figures, echo: &Server, node: &Server, dir: &Path) -> anyhow::Result<()> {
    let bare_request = Request::post("/echo", "application/json", b"1");
    let get = Request::post("/v1/agents/counter/alone/get", "application/json", b"");
    let add = Request::post("/v1/agents/counter/alone/add", "application/json", b"1");
    let (mut to_echo, mut to_node) = (Connection::open(echo.address).await?, Connection::open(node.address).await?);
    let (mut ping, mut log) = (PingPong::open()?, BareLog::create(&dir.join("bare"))?);
    let [mut pings, mut bare, mut append, mut read, mut durable] = [(); 5].map(|()| Latencies::new());
    one_by_one(clock, &mut to_node, &add, REQUESTS, &mut Latencies::new()).await?;
    for _ in 0..ROUNDS {
        ping.time(clock, REQUESTS, &mut pings)?;
        one_by_one(clock, &mut to_echo, &bare_request, REQUESTS, &mut bare).await?;
        one_by_one(clock, &mut to_node, &get, REQUESTS, &mut read).await?;
        log.time(clock, &[b'x'; RECORD_LEN], REQUESTS, &mut append)?;
        one_by_one(clock, &mut to_node, &add, REQUESTS, &mut durable).await?;
    }
    let against = |baseline, ratio, goal| Some(Against { baseline, ratio, goal });
    figures.latency("bare TCP ping-pong, 1 byte", &pings, None);
    figures.latency("bare axum echo, 1 byte", &bare, None);
    figures.latency("bare append + fdatasync", &append, None);
    let reading = against("bare axum echo", ratio(read.p50(), bare.p50()), "p50 <= 1.3x");
    figures.latency("ask of a &self method over HTTP", &read, reading);
    let floor = bare.p50() + append.p50();
    let writing = against("bare append + bare echo", ratio(durable.p50(), floor), "p50 <= 1.5x");
    figures.latency("durable ask over HTTP", &durable, writing);
    Ok(())
}

async fn together(clock: &Clock, figures: &mut Figures, echo: &Server, node: &Server) -> anyhow::Result<()> {
    let (mut to_echo, mut to_node) = (Vec::new(), Vec::new());
    for n in 0..CONNECTIONS {
        let bare = Request::post("/echo", "application/json", b"1");
        let add = Request::post(&format!("/v1/agents/counter/together-{n}/add"), "application/json", b"1");
        to_echo.push((Connection::open(echo.address).await?, bare));
        to_node.push((Connection::open(node.address).await?, add));
    }
    let (mut bare_rate, mut rate) = (0.0, 0.0);
    let (mut bare_taken, mut taken) = (Latencies::new(), Latencies::new());
    for _ in 0..BURSTS {
        let (answers, latencies, open) = side_by_side(clock, to_echo, BURST).await?;
        (to_echo, bare_rate) = (open, bare_rate + answers / BURSTS as f64);
        bare_taken.merge(&latencies);
        let (answers, latencies, open) = side_by_side(clock, to_node, BURST).await?;
        (to_node, rate) = (open, rate + answers / BURSTS as f64);
        taken.merge(&latencies);
    }
    figures.value("bare axum echo, 64 connections", format!("{bare_rate:.0}/s"), None);
    let against = Against { baseline: "bare axum echo", ratio: rate / bare_rate, goal: "rate >= 0.40x" };
    figures.value("durable asks, 64 connections, 64 agents", format!("{rate:.0}/s"), Some(against));
    figures.latency("  latency of the bare echo then", &bare_taken, None);
    figures.latency("  latency of a durable ask then", &taken, None);
    Ok(())
}
