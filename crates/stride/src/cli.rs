//! What can be typed: the table of commands. One file per command is in `commands`, with its arguments beside its code.

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Where a node is unless someone says otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7373";

/// Stride runs functions and durable agents.
#[derive(Debug, Parser)]
#[command(name = "stride", version, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 done, 1 the work failed, 2 wrong usage, 3 the node cannot be reached.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which node to talk to, and as whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeArgs {
    /// The node's address
    #[arg(long, global = true, env = "STRIDE_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub(crate) url: String,
    /// The token to show
    #[arg(long, global = true, env = "STRIDE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The tenant to work in
    #[arg(long, global = true, env = "STRIDE_TENANT", value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node in the foreground
    Up(commands::up::Up),
    /// Prepare a cluster of several nodes
    #[command(subcommand)]
    Cluster(commands::cluster::Cluster),
    /// Start a project from a template
    New(commands::new::New),
    /// Compile a project, as its stride.toml says
    Build(commands::build::Build),
    /// Build, upload, wait until it answers, and say what can now be called
    Deploy(commands::deploy::Deploy),
    /// List what is deployed
    Deployments(commands::deployments::Deployments),
    /// Put the deployment before in force again
    Rollback(commands::rollback::Rollback),
    /// Call a function
    Call(commands::call::Call),
    /// Call a function once per file or line, in parallel; one JSON line per input on stdout
    Map(commands::map::Map),
    /// Keep, run and look at flows: processes over functions, agents, waits and data
    #[command(subcommand)]
    Flow(commands::flow::Flow),
    /// Ask an agent and wait for its reply
    Ask(commands::ask::Ask),
    /// Give an agent a message and go on; it is kept until it is handled, exactly once
    Tell(commands::ask::Tell),
    /// List, show and remove agents; see and take up again what failed
    #[command(subcommand)]
    Agents(commands::agents::Agents),
    /// See and change an agent's state without running its code
    #[command(subcommand)]
    State(commands::state::State),
    /// List, pause and resume triggers; see and replay what they could not deliver
    #[command(subcommand)]
    Triggers(commands::triggers::Triggers),
    /// Store a file as an object
    Put(commands::put::Put),
    /// Read an object into a file
    Get(commands::get::Get),
    /// List buckets, or the objects of one
    Ls(commands::ls::Ls),
    /// Delete an object
    Rm(commands::rm::Rm),
    /// The nodes: what they are and how busy they are
    Nodes(commands::nodes::Nodes),
    /// Say where a call or a turn would run, and why, without running it
    Explain(commands::explain::Explain),
    /// How far the node's cells are: in the log, on disk, in the store
    Cells(commands::cells::Cells),
    /// What components print
    Logs(commands::logs::Logs),
    /// Verify a data directory while no node runs on it
    Check(commands::check::Check),
    /// Say what repairing a data directory would give up, then do it if that is agreed to
    Repair(commands::repair::Repair),
    /// Measure this machine: the micro-benchmarks with their baselines in the same run
    Bench(commands::bench::Bench),
}
