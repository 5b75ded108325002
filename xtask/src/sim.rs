//! `cargo xtask sim`: the simulation of the whole protocol, for many seeds or for one with its trace.

use clap::Args;

use crate::step;

/// Which runs.
#[derive(Args)]
pub(crate) struct Sim {
    /// Replay this seed and print its trace
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds from zero up to this number
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Several nodes, between which cells move, instead of one that is killed
    #[arg(long)]
    nodes: bool,
}

impl Sim {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (test, one) = if self.nodes {
            ("every_promise_holds_while_cells_move_between_nodes_that_die", "STRIDE_SIM_NODES_SEED")
        } else {
            ("every_promise_holds_for_every_seed", "STRIDE_SIM_SEED")
        };
        let mut command = step::cargo([
            "test",
            "--release",
            "-p",
            "stride-agents",
            "--test",
            "sim",
            "--",
            test,
            "--exact",
            "--nocapture",
        ]);
        match self.seed {
            Some(seed) => command.env(one, seed.to_string()),
            None => command.env("STRIDE_SIM_SEEDS", self.seeds.to_string()),
        };
        step::run(&mut command)
    }
}
