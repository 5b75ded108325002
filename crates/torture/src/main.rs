//! `torture`: what `cargo xtask torture` runs when all is built.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use stride_sim::Chance;
use stride_torture::{Kind, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Torture a cluster and check every promise
#[derive(Parser)]
struct Torture {
    /// How long faults go on, in minutes
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    minutes: f64,
    /// Draw the same faults again [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9), value_name = "N")]
    nodes: u8,
    /// Which faults [default: all of pause, kill, stop, partition, one-way, loss, disk, database]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    faults: Vec<Kind>,
    /// The binary
    #[arg(long, value_name = "FILE")]
    stride: PathBuf,
    /// Where the components of the examples are
    #[arg(long, value_name = "DIR")]
    components: PathBuf,
    /// Where the examples are
    #[arg(long, value_name = "DIR")]
    examples: PathBuf,
    /// Where logs, history and report are left, in a directory for each seed
    #[arg(long, value_name = "DIR")]
    keep: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let torture = Torture::parse();
    // A number that people can type.
    let seed = torture.seed.unwrap_or_else(|| Chance::from_os().below(1_000_000));
    let lasts = Duration::try_from_secs_f64(torture.minutes * 60.0).context("--minutes is not a length of time")?;
    let settings = Settings {
        stride: torture.stride,
        components: torture.components,
        examples: torture.examples,
        keep: torture.keep.join(format!("seed-{seed}")),
        seed,
        nodes: usize::from(torture.nodes),
        lasts,
        faults: if torture.faults.is_empty() { Kind::ALL.to_vec() } else { torture.faults },
    };
    let kept = settings.keep.display().to_string();
    eprintln!("seed {seed}; logs and history go to {kept}");
    let report = tokio::select! {
        report = Box::pin(stride_torture::run(&settings, |line| eprintln!("{line}"))) => report,
        asked = asked_to_end() => {
            asked.context("cannot listen for signals")?;
            eprintln!("ended before there was a verdict; nothing is left running");
            return Ok(ExitCode::from(130));
        }
    };
    let report = report.with_context(|| format!("no verdict; replay with --seed {seed}, see {kept}"))?;
    eprintln!("{report}");
    if report.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("replay with --seed {seed}; logs and history are in {kept}");
    Ok(ExitCode::FAILURE)
}

/// Ctrl-C, or SIGTERM as a CI sends it.
async fn asked_to_end() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
