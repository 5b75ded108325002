//! A function call with a fresh instance: over HTTP against the bare echo, and in process.

use stride_ids::{Name, Payload};
use stride_runtime::{Call, ComponentSpec};
use stride_sim::Clock;

use super::{
    node::Server,
    rig::Rig,
    table::{Against, Figures, Latencies, ratio},
    traffic::{Connection, Request, one_by_one},
};

const ROUNDS: usize = 10;
const REQUESTS: usize = 500;
const BODY: &[u8] = &[b'x'; 1024];

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    over_http(clock, figures).await?;
    in_process(clock, figures).await
}

async fn over_http(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (echo, node) = (Server::echo()?, Server::node(dir.path())?);
    node.deploy("echo").await?;
    let bare_request = Request::post("/echo", "text/plain", BODY);
    let call_request = Request::post("/v1/functions/echo/echo", "text/plain", BODY);
    let (mut to_echo, mut to_node) = (Connection::open(echo.address).await?, Connection::open(node.address).await?);
    let (mut bare, mut call) = (Latencies::new(), Latencies::new());
    one_by_one(clock, &mut to_echo, &bare_request, REQUESTS, &mut Latencies::new()).await?;
    one_by_one(clock, &mut to_node, &call_request, REQUESTS, &mut Latencies::new()).await?;
    for _ in 0..ROUNDS {
        one_by_one(clock, &mut to_echo, &bare_request, REQUESTS, &mut bare).await?;
        one_by_one(clock, &mut to_node, &call_request, REQUESTS, &mut call).await?;
    }
    figures.latency("bare axum echo, 1 KB", &bare, None);
    let against = Against { baseline: "bare axum echo", ratio: ratio(call.p50(), bare.p50()), goal: "p50 <= 1.5x" };
    figures.latency("function over HTTP, fresh instance, 1 KB", &call, Some(against));
    Ok(())
}

async fn in_process(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let functions = Rig::open(clock, dir.path(), "echo", ComponentSpec::default()).await?.functions;
    let (tenant, name) = (Name::default_tenant(), Name::new("echo")?);
    let mut taken = Latencies::new();
    for n in 0..ROUNDS * REQUESTS {
        let input = Payload { content_type: "text/plain".into(), body: BODY.into() };
        let began = clock.now();
        let (tenant, component, function) = (tenant.clone(), name.clone(), "echo".to_owned());
        functions.call(Call { tenant, component, function, input, data: Vec::new(), trace: None }).await?;
        // The first calls touch memory for the first time.
        if n >= REQUESTS {
            taken.add(clock.now() - began);
        }
    }
    figures.latency("function in process, fresh instance, 1 KB", &taken, None);
    figures.goal("p50 <= 30 µs");
    Ok(())
}
