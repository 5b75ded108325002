//! One file per command: its arguments and what it does.

pub(crate) mod agents;
pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cells;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod deploy;
pub(crate) mod deployments;
pub(crate) mod explain;
pub(crate) mod flow;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod map;
pub(crate) mod new;
pub(crate) mod nodes;
pub(crate) mod parked;
pub(crate) mod put;
pub(crate) mod repair;
pub(crate) mod rm;
pub(crate) mod rollback;
pub(crate) mod state;
pub(crate) mod transfer;
pub(crate) mod triggers;
pub(crate) mod up;

use crate::{
    cli::{Cli, Command},
    client::Client,
};

/// Runs what was typed.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let client = || Client::new(&cli.node);
    match cli.command {
        Command::Up(up) => up.run().await,
        Command::Cluster(cluster) => cluster.run().await,
        Command::New(new) => new.run(),
        Command::Build(build) => build.run(),
        Command::Deploy(deploy) => deploy.run(&client()?).await,
        Command::Deployments(deployments) => deployments.run(&client()?).await,
        Command::Rollback(rollback) => rollback.run(&client()?).await,
        Command::Call(call) => call.run(&client()?).await,
        Command::Map(map) => map.run(client()?).await,
        Command::Flow(flow) => flow.run(&client()?).await,
        Command::Ask(ask) => ask.run(&client()?).await,
        Command::Tell(tell) => tell.run(&client()?).await,
        Command::Agents(agents) => agents.run(&client()?).await,
        Command::State(state) => state.run(&client()?).await,
        Command::Triggers(triggers) => triggers.run(&client()?).await,
        Command::Put(put) => put.run(&client()?).await,
        Command::Get(get) => get.run(&client()?).await,
        Command::Ls(ls) => ls.run(&client()?).await,
        Command::Rm(rm) => rm.run(&client()?).await,
        Command::Cells(cells) => cells.run(&client()?).await,
        Command::Nodes(nodes) => nodes.run(&client()?).await,
        Command::Explain(explain) => explain.run(&client()?).await,
        Command::Logs(logs) => logs.run(&client()?).await,
        Command::Bench(bench) => Box::pin(bench.run()).await,
        Command::Check(check) => check.run(),
        Command::Repair(repair) => repair.run(),
    }
}
