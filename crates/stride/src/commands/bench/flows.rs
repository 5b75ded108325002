//! Flows: what a durable step costs against a bare commit, a fused chain against its functions called one after the other, and how
//! many items a fan-out does in a second.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stride_ids::{Name, Payload};
use stride_node::{Config, Node};
use stride_runs::{Runs, Status};
use stride_runtime::{Call, Functions};
use stride_sim::Clock;

use super::{
    floor::BareLog,
    node::deploy,
    table::{Against, Figures, Latencies, ratio},
};

/// How many runs are measured of each kind, and how many bare commits with each.
const RUNS: usize = 30;
const COMMITS: usize = 200;
/// How many steps a run has, one after the other.
const STEPS: u32 = 200;
/// How many items a fan-out has, and how many bytes a bare commit: what the record of a step has, about.
const ITEMS: u32 = 10_000;
const RECORD_LEN: usize = 1_024;
/// How long a function works that does something, and what is called to find out how many rounds that takes.
const WORK: Duration = Duration::from_micros(100);
const PROBE: u32 = 1_000_000;
const PROBES: usize = 21;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures, tiny: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let listen = ([127, 0, 0, 1], 0).into();
    let config = Config { data: dir.path().join("data"), listen, ..Config::default() };
    let node = Box::pin(Node::start(config)).await?;
    deploy(&format!("http://{}", node.address()), "echo").await?;
    let bench = Bench { clock, runs: node.runs(), functions: node.functions(), tenant: Name::default_tenant(), tiny };
    bench.steps(figures, dir.path()).await?;
    bench.chains(figures, dir.path()).await?;
    bench.fan_out(figures).await?;
    node.drain().await;
    Ok(())
}

struct Bench<'a> {
    clock: &'a Clock,
    runs: &'a Runs,
    functions: &'a Functions,
    tenant: Name,
    tiny: bool,
}

impl Bench<'_> {
    fn times(&self, times: usize) -> usize {
        if self.tiny { times.div_ceil(10) } else { times }
    }

    async fn deploy(&self, name: &str, nodes: Value, output: &str, without: &[&str]) -> anyhow::Result<()> {
        let flow = json!({"version": 1, "name": name, "graph": {"nodes": nodes, "output": output}}).to_string();
        let without = without.iter().map(|pass| (*pass).to_owned()).collect();
        self.runs.deploy(&self.tenant, flow.as_bytes(), without).await?;
        Ok(())
    }

    /// How long a run takes from its start to its end, and what came out.
    async fn run(&self, flow: &str, input: &Value) -> anyhow::Result<(Duration, Value)> {
        let (flow, input) = (Name::new(flow)?, Payload::json(input.to_string()));
        let began = self.clock.now();
        let status = self.runs.start(&self.tenant, &flow, None, input, PATIENCE).await?;
        let took = self.clock.now() - began;
        let Status { state, result, error, .. } = status;
        ensure!(state == "done", "a run is {state}: {error:?}");
        Ok((took, result.context("a run that is done has a result")?))
    }

    /// A step that commits once: an agent is asked that commits nothing.
    async fn steps(&self, figures: &mut Figures, dir: &Path) -> anyhow::Result<()> {
        let body = json!({"graph": {"nodes": {
            "ask": {"do": {"ask": {"agent": "echo", "key": "e", "method": "say", "input": "hello"}}, "in": "input"},
            "next": {"do": {"pass": {"value": {"$add": ["$.n", 1]}}}, "in": {"n": "input", "said": "ask"}}}, "output": "next"}});
        let until = json!({"$ge": ["$", STEPS]});
        let rounds =
            json!({"do": {"iterate": {"state": 0, "body": body, "until": until, "rounds_max": STEPS}}, "in": "input"});
        self.deploy("steps", json!({"rounds": rounds}), "rounds", &[]).await?;
        let mut log = BareLog::create(&dir.join("bare-steps"))?;
        let (mut bare, mut step) = (Latencies::new(), Latencies::new());
        for _ in 0..self.times(RUNS) {
            log.time(self.clock, &[b'x'; RECORD_LEN], self.times(COMMITS), &mut bare)?;
            let (took, result) = self.run("steps", &Value::Null).await?;
            ensure!(result == json!(STEPS), "the steps came to {result}");
            step.add(took / STEPS);
        }
        figures.latency("bare append + fdatasync, 1 KB", &bare, None);
        let against = Against { baseline: "bare append", ratio: ratio(step.p50(), bare.p50()), goal: "p50 <= 2x" };
        figures.latency("durable step of a flow, mean of each run", &step, Some(against));
        Ok(())
    }

    /// Five pure calls, one behind the other, against the same five without a flow: of functions that do nothing, and of some that work a little.
    async fn chains(&self, figures: &mut Figures, dir: &Path) -> anyhow::Result<()> {
        let text = json!("x".repeat(1_000));
        self.chain(figures, dir, ("nothing", "echo"), &text, "five pure functions that do nothing, in process").await?;
        let rounds = self.rounds().await?;
        self.chain(figures, dir, ("work", "work"), &rounds, "five pure functions of 0.1 ms, in process").await
    }

    async fn chain(
        &self,
        figures: &mut Figures,
        dir: &Path,
        (name, function): (&str, &str),
        input: &Value,
        what: &str,
    ) -> anyhow::Result<()> {
        let unfused_name = format!("{name}-unfused");
        let call = |before: &str| json!({"do": {"call": {"function": format!("echo/{function}")}}, "in": before});
        let nodes = json!({"a": call("input"), "b": call("a"), "c": call("b"), "d": call("c"), "e": call("d")});
        self.deploy(name, nodes.clone(), "e", &[]).await?;
        self.deploy(&unfused_name, nodes, "e", &["fuse"]).await?;
        let mut log = BareLog::create(&dir.join(format!("bare-{name}")))?;
        let [mut bare, mut direct, mut chain, mut unfused] = [(); 4].map(|()| Latencies::new());
        for _ in 0..self.times(RUNS) * 5 {
            log.time(self.clock, &[b'x'; RECORD_LEN], 1, &mut bare)?;
            let began = self.clock.now();
            for _ in 0..5 {
                self.call(function, input).await?;
            }
            direct.add(self.clock.now() - began);
            chain.add(self.run(name, input).await?.0);
            unfused.add(self.run(&unfused_name, input).await?.0);
        }
        figures.latency(what, &direct, None);
        let against =
            Against { baseline: "five functions", ratio: ratio(chain.p50(), direct.p50()), goal: "p50 <= 1.5x" };
        figures.latency("  run of a chain of those, from start to durable result", &chain, Some(against));
        let floor = direct.p50() + bare.p50();
        let against = Against { baseline: "five functions + bare append", ratio: ratio(chain.p50(), floor), goal: "" };
        figures.latency("  the same against one commit more", &chain, Some(against));
        figures.latency("  the same without fusing", &unfused, None);
        Ok(())
    }

    /// How many rounds a function works that takes 0.1 ms.
    async fn rounds(&self) -> anyhow::Result<Value> {
        let mut took = Latencies::new();
        for _ in 0..PROBES {
            let began = self.clock.now();
            self.call("work", &json!(PROBE)).await?;
            took.add(self.clock.now() - began);
        }
        Ok(json!((f64::from(PROBE) * ratio(WORK, took.p50())) as u64))
    }

    async fn call(&self, function: &str, input: &Value) -> anyhow::Result<()> {
        let (tenant, component) = (self.tenant.clone(), Name::new("echo")?);
        let input = Payload::json(input.to_string());
        let call = Call { tenant, component, function: function.into(), input, data: Vec::new(), trace: None };
        self.functions.call(call).await?;
        Ok(())
    }

    async fn fan_out(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let items = if self.tiny { ITEMS / 100 } else { ITEMS };
        let map = json!({"do": {"map": {"items": {"$range": [1, items, 1]}, "body": {"function": "echo/echo"}, "window": 256}}, "in": "input"});
        let count = json!({"do": {"pass": {"value": {"$length": "$"}}}, "in": "map"});
        for (name, without, what) in [
            ("batched", &[][..], "fan-out of 10,000 no-op items"),
            ("single", &["batch"][..], "  the same, a call for each item"),
        ] {
            self.deploy(name, json!({"map": map.clone(), "count": count.clone()}), "count", without).await?;
            let mut took = Vec::new();
            for _ in 0..self.times(5) {
                let (one, result) = self.run(name, &Value::Null).await?;
                ensure!(result == json!(items), "{result} items came out");
                took.push(one);
            }
            took.sort_unstable();
            let rate = f64::from(items) / took[took.len() / 2].as_secs_f64();
            figures.bounded(what, format!("{rate:.0} items/s"), ">= 5,000 items/s");
        }
        Ok(())
    }
}
