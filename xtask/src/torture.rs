//! `cargo xtask torture`: real nodes under real faults, and a verdict. The work is done by the binary of `crates/torture`.

use std::process::Command;

use clap::Args;

use crate::{
    guests, postgres,
    step::{cargo, root, run, target},
};

/// Which run.
#[derive(Args)]
pub(crate) struct Torture {
    /// How long faults go on
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    minutes: f64,
    /// Draw the same faults again [default: another seed each time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u8,
    /// Which faults [default: pause,kill,stop,partition,one-way,loss,disk,database]
    #[arg(long, value_name = "LIST")]
    faults: Option<String>,
}

impl Torture {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        postgres::install()?;
        guests::build(&["bank", "counter"])?;
        run(&mut cargo(["build", "--release", "--workspace", "--bin", "stride", "--bin", "torture"]))?;
        let (built, guests) = (target().join("release"), target().join("wasm32-wasip2/release"));
        let mut torture = Command::new(built.join("torture"));
        torture.arg("--stride").arg(built.join("stride")).arg("--components").arg(guests);
        torture.arg("--examples").arg(root().join("examples")).arg("--keep").arg(target().join("torture"));
        torture.args(["--minutes", &self.minutes.to_string(), "--nodes", &self.nodes.to_string()]);
        torture.args(self.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        torture.args(self.faults.iter().flat_map(|faults| ["--faults", faults]));
        run(&mut torture)
    }
}
