//! `stride bench`: what the promises of speed are measured with. Every figure stands beside its baseline, measured in the
//! same run and interleaved with it, because machines are shared and noisy. Everything started here, the load included,
//! runs on the CPUs that this process may use: `taskset -c 0 stride bench` pins both ends to one core.

mod density;
mod documents;
mod echo;
mod election;
mod floor;
mod flows;
mod functions;
mod log;
mod maps;
mod messages;
mod moves;
mod neighbours;
mod node;
mod objects;
mod peers;
mod populate;
mod postgres;
mod prediction;
mod rig;
mod start;
mod table;
mod timers;
mod traffic;
mod training;
mod turns;
mod turns_in_process;
mod watched;
mod zeromq;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use stride_sim::Clock;

use self::table::Figures;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure; everything if left out
    #[arg(value_enum)]
    case: Option<Case>,
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
    /// A hundredth of the work of a case study, so that a test can run it; its figures say nothing
    #[arg(long, hide = true)]
    tiny: bool,
    /// The certificates of the bare peer server
    #[arg(long, hide = true)]
    certificates: Option<PathBuf>,
    #[command(flatten)]
    election: election::Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Function calls over HTTP against a bare echo server, and in process
    Functions,
    /// Asks over HTTP against a bare echo server and a bare append, alone and 64 at a time; turns in process against the log
    Turns,
    /// Tells from agent to agent and asks within a turn, in process, against a bare ping-pong and a bare append
    Messages,
    /// How late timers are, how many fire at once, and what pending ones cost
    Timers,
    /// The journal against the bare disk and against fjall
    Log,
    /// The journal in PostgreSQL against the bare fenced transaction, on a server of its own, which needs PostgreSQL on this machine
    Postgres,
    /// A call of 1 KB between two nodes, and an ask of an agent on another node, against a bare ZeroMQ server, without and with TLS;
    /// needs a C++ compiler and PostgreSQL on this machine
    Peers,
    /// The pause when a warm cell with 10,000 agents moves to another node under load; needs PostgreSQL on this machine
    Moves,
    /// An object of 1 GB in and out against cp and fsync, and ranges of a cached chunk
    Objects,
    /// A map over 10,000 small objects: what an item costs, and how much of the CPUs is left to the function
    Map,
    /// Flows in process: a durable step against a bare commit, a fused chain against its functions, a fan-out over 10,000 items
    Flows,
    /// Memory and disk per live agent and of up to a million sleeping ones, and their first ask
    Density,
    /// From start to ready with 100,000 sleeping agents
    Start,
    /// From start to ready with a million sleeping agents
    Recovery,
    /// The paper's prediction case: an agent, a function and a stored queue against a bare ZeroMQ server, which needs a C++ compiler
    Prediction,
    /// The paper's training case: an agent beside its data against native code, and against functions that are sent the data
    Training,
    /// The paper's leader election: candidates that tell each other, that poll a table, and a lease
    Election,
    /// Only the bare echo server, for the other cases
    #[value(hide = true)]
    EchoServer,
    /// Only the bare peer server, for the case of peers
    #[value(hide = true)]
    PeerServer,
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if self.case == Some(Case::EchoServer) {
            return echo::serve().await;
        }
        if self.case == Some(Case::PeerServer) {
            return peers::serve(self.certificates.as_deref()).await;
        }
        let clock = Clock::real();
        let cases = match self.case {
            Some(case) => vec![case],
            None => vec![
                Case::Log,
                Case::Postgres,
                Case::Functions,
                Case::Turns,
                Case::Messages,
                Case::Timers,
                Case::Peers,
                Case::Moves,
                Case::Objects,
                Case::Map,
                Case::Flows,
                Case::Density,
                Case::Start,
                Case::Recovery,
                Case::Prediction,
                Case::Training,
                Case::Election,
            ],
        };
        let mut figures = Figures::default();
        for case in cases {
            eprintln!("measuring {case:?} ...");
            match case {
                Case::Functions => functions::measure(&clock, &mut figures).await,
                Case::Turns => match turns::measure(&clock, &mut figures).await {
                    Ok(()) => turns_in_process::measure(&clock, &mut figures).await,
                    failed => failed,
                },
                Case::Messages => messages::measure(&clock, &mut figures).await,
                Case::Timers => timers::measure(&clock, &mut figures).await,
                Case::Peers => match peers::measure(&clock, &mut figures).await {
                    Ok(()) => neighbours::measure(&clock, &mut figures).await,
                    failed => failed,
                },
                Case::Moves => moves::measure(&clock, &mut figures, self.tiny).await,
                Case::Objects => objects::measure(&clock, &mut figures).await,
                Case::Map => maps::measure(&clock, &mut figures).await,
                Case::Flows => Box::pin(flows::measure(&clock, &mut figures, self.tiny)).await,
                Case::Postgres => postgres::measure(&clock, &mut figures).await,
                Case::Log => log::measure(&clock, &mut figures).await,
                Case::Density => density::measure(&clock, &mut figures).await,
                Case::Start => start::measure(&clock, &mut figures).await,
                Case::Recovery => start::measure_a_million(&clock, &mut figures).await,
                Case::Prediction => prediction::measure(&clock, &mut figures, self.tiny).await,
                Case::Training => training::measure(&clock, &mut figures, self.tiny).await,
                Case::Election => election::measure(&clock, &mut figures, &self.election, self.tiny).await,
                Case::EchoServer | Case::PeerServer => Ok(()),
            }
            .with_context(|| format!("cannot measure {case:?}"))?;
        }
        if self.json {
            return output::json(&figures.rows);
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        output::line(format_args!("on {cpus} CPU(s); load, node and baselines share them"))?;
        Ok(output::print(&figures.table())?)
    }
}
