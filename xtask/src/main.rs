//! One door for every chore: `cargo xtask demo`, `cluster`, `test`, `sim`, `torture`, `ci`, `build-guests`.
//!
//! Only small dependencies, so that the first command of a stranger starts at once; what it then does is run programs.
#![forbid(unsafe_code)]

mod ci;
mod cluster;
mod demo;
mod guests;
mod postgres;
mod sim;
mod step;
mod test;
mod torture;

use clap::Parser;

/// The chores of Stride
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Build the example components for WebAssembly
    BuildGuests,
    /// See Stride do its main job on real input: audit the source of every dependency for unsafe code
    Demo(demo::Demo),
    /// Run three nodes and a PostgreSQL of their own on this machine, until Ctrl-C
    Cluster(cluster::Cluster),
    /// Run every test
    Test,
    /// Simulate the whole protocol with crashes, a bad disk and cells that move, for many seeds or for one
    Sim(sim::Sim),
    /// Stop, kill and cut off the nodes of a real cluster, fill their disks, lose their packets, and check every promise
    Torture(torture::Torture),
    /// Run what CI runs
    Ci,
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::BuildGuests => guests::build(&guests::ALL),
        Chore::Demo(demo) => demo.run(),
        Chore::Cluster(cluster) => cluster.run(),
        Chore::Test => test::run(),
        Chore::Sim(sim) => sim.run(),
        Chore::Torture(torture) => torture.run(),
        Chore::Ci => ci::run(),
    }
}
