//! The paper's third case: leader election. Garcia-Molina's bully algorithm among agents that tell each other, the same among
//! agents that reach each other only through a polled table, and an agent that is a lease.
//!
//! An election begins when a candidate is told that the leader is gone and ends when the last one that lives follows the new leader, both by the
//! clocks of the nodes, to the millisecond. Then everybody is asked: exactly one leads, it has the highest id of those that live, and
//! all follow it, or the run fails. Between two elections the dead one comes back.

mod group;
mod lease;
mod nodes;
mod prices;

use std::time::Duration;

use clap::Args;
use stride_sim::{Chance, Clock};

use self::{
    group::{Group, Means},
    nodes::Nodes,
};
use super::table::{Against, Figures, Latencies, ratio};

#[derive(Debug, Args)]
#[command(next_help_heading = "Election")]
pub(crate) struct Options {
    /// How many candidates there are, for one table after another
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [3, 10, 100, 1000], value_parser = clap::value_parser!(u32).range(2..=3000))]
    agents: Vec<u32>,
    /// How long a candidate that tells waits for an answer
    #[arg(long, value_name = "MS", default_value_t = 5)]
    timeout_ms: u64,
    /// Nodes that run already, any of one cluster, instead of one that is started for this
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    nodes: Vec<String>,
}

/// Groups larger than this are not asked to elect from below: those messages grow with the square.
const FROM_BELOW_MAX: u32 = 100;
const TOLD_ROUNDS: usize = 20;
/// Each takes a second or two.
const POLLED_ROUNDS: usize = 5;

/// Who notices that the leader is gone.
#[derive(Clone, Copy)]
enum Notices {
    /// The next leader itself: as few messages as there can be.
    Next,
    /// The lowest: everybody asks everybody above.
    Lowest,
}

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures, options: &Options, tiny: bool) -> anyhow::Result<()> {
    let nodes = Nodes::open(clock, &options.nodes).await?;
    let sizes = if tiny { &[3][..] } else { &options.agents };
    let name = format!("{:x}", Chance::from_os().next_u64());
    for members in sizes.iter().copied() {
        eprintln!("  {members} candidates ...");
        let every = [Notices::Next, Notices::Lowest];
        let every = if members > FROM_BELOW_MAX { &every[..1] } else { &every };
        // One after the other: those that poll take time of the processors also while nothing happens.
        let told = Group::join(&nodes, Means::Told { timeout_ms: options.timeout_ms }, &name, members).await?;
        let told = elect_each(&told, every, if tiny { 2 } else { TOLD_ROUNDS }).await?;
        let polled = Group::join(&nodes, Means::Polled, &name, members).await?;
        let by_polls = elect_each(&polled, every, if tiny { 1 } else { POLLED_ROUNDS }).await?;
        polled.leave().await?;
        for ((notices, told), polled) in every.iter().zip(&told).zip(&by_polls) {
            show(figures, members, *notices, told, polled);
        }
    }
    lease::measure(clock, figures, &nodes, &name, tiny).await?;
    for (what, value) in PAPER {
        figures.value(what, value.into(), None);
    }
    Ok(())
}

/// What the paper measured: functions that polled DynamoDB four times a second.
const PAPER: [(&str, &str); 2] = [
    ("  paper: one election through DynamoDB", "16.7 s"),
    ("  paper: an hour of 1,000 functions that can do so", "$450 at least"),
];

/// Some elections.
struct Elections {
    took: Latencies,
    messages: u64,
    /// Of all elections, how many had another leader for a moment, because an answer came later than the timeout.
    hasty: usize,
    rounds: usize,
}

/// Some elections for each of these.
async fn elect_each(group: &Group<'_>, every: &[Notices], rounds: usize) -> anyhow::Result<Vec<Elections>> {
    let mut all = Vec::new();
    for notices in every {
        all.push(elect(group, *notices, rounds).await?);
    }
    Ok(all)
}

async fn elect(group: &Group<'_>, notices: Notices, rounds: usize) -> anyhow::Result<Elections> {
    let mut elections = Elections { took: Latencies::new(), messages: 0, hasty: 0, rounds };
    let noticing = match notices {
        Notices::Next => group.members() - 1,
        Notices::Lowest => 1,
    };
    for _ in 0..rounds {
        let election = group.elect(noticing).await?;
        elections.took.add(election.took.max(Duration::from_millis(1)));
        elections.messages += election.messages;
        elections.hasty += usize::from(election.claims > 1);
    }
    Ok(elections)
}

fn show(figures: &mut Figures, members: u32, notices: Notices, told: &Elections, polled: &Elections) {
    let who = match notices {
        Notices::Next => "the next notices",
        Notices::Lowest => "the lowest notices",
    };
    figures.latency(&format!("election of {members}, {who}: told"), &told.took, None);
    if members == 100 {
        figures.goal("p50 < 50 ms");
    }
    let ratio = ratio(polled.took.p50(), told.took.p50());
    let against = Against { baseline: "told", ratio, goal: "p50 >= 100x" };
    figures.latency(&format!("election of {members}, {who}: polled storage"), &polled.took, Some(against));
    let messages = told.messages / told.rounds as u64;
    let hasty = match told.hasty {
        0 => String::new(),
        hasty => format!("; {hasty} of {} elections had another leader for a moment", told.rounds),
    };
    figures.value("  messages of an election", format!("{messages}{hasty}"), None);
    let written = polled.messages / polled.rounds as u64;
    let price = prices::of_an_election(members, written, polled.took.p50());
    figures.value("  what the polled one would cost on AWS", prices::shown(price), None);
    let waiting = prices::of_an_hour(members);
    figures.value("  and an hour of waiting for the next", prices::shown(waiting), None);
}
