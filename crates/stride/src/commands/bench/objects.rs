//! Objects: 1 GB in and out through the command line, each against `cp` and an fsync of the same file in the same round; and
//! ranges of a chunk that is in the cache, against reading as much from an open file.
//!
//! What is put is in the page cache, and so is what `cp` is measured with for that. What is got is only on the disk, because chunks are
//! written past the page cache; so for that `cp` finds its file only on the disk, too.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::fs::{Advice, fadvise};
use stride_sim::{Chance, Clock};

use super::{
    node::Server,
    table::{Against, Figures, Latencies, ratio},
    traffic::{Connection, Request, one_by_one},
};

const LEN: usize = 1_000_000_000;
const ROUNDS: usize = 5;
/// How long a range is, and how many are read.
const RANGE_LEN: usize = 64 << 10;
const RANGES: usize = 5_000;
const OBJECT: &str = "bench/large";

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Server::node(&dir.path().join("data"))?;
    let (file, copy, back) = (dir.path().join("file"), dir.path().join("copy"), dir.path().join("back"));
    let (mut copies, mut puts, mut gets, mut from_disk) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // Other bytes each time: what is stored already would not be written.
        fill(&file)?;
        copies.push(timed(clock, || copy_durably(&file, &copy))?);
        puts.push(timed(clock, || stride(&node, &["put".as_ref(), file.as_ref(), OBJECT.as_ref()]))?);
        gets.push(timed(clock, || stride(&node, &["get".as_ref(), OBJECT.as_ref(), back.as_ref()]))?);
        ensure!(same(&file, &back)?, "what came back is not what was put");
        std::fs::remove_file(&copy)?;
        forget_pages(&file)?;
        from_disk.push(timed(clock, || copy_durably(&file, &copy))?);
        std::fs::remove_file(&copy)?;
        std::fs::remove_file(&back)?;
    }
    for (baseline, copied, what, took) in [
        ("cp + fsync, 1 GB in the page cache", copies, "stride put, 1 GB in the page cache", puts),
        ("cp + fsync, 1 GB on the disk", from_disk, "stride get, 1 GB on the disk", gets),
    ] {
        let (copied, took) = (median(copied), median(took));
        figures.value(baseline, rate(copied), None);
        let against = Against { baseline: "cp + fsync", ratio: ratio(took, copied), goal: "<= 1.3x" };
        figures.value(what, rate(took), Some(against));
    }
    let resident = node.resident()?;
    figures.value("memory of the node after that", format!("{} MiB", resident >> 20), None);
    ranges(clock, figures, &node, &file).await
}

async fn ranges(clock: &Clock, figures: &mut Figures, node: &Server, file: &Path) -> anyhow::Result<()> {
    let (chance, file) = (Chance::seeded(1), File::open(file)?);
    let mut connection = Connection::open(node.address).await?;
    let (mut bare, mut cached) = (Latencies::new(), Latencies::new());
    let mut buffer = vec![0; RANGE_LEN];
    let ranged = |at: u64| Request::range(&format!("/v1/objects/{OBJECT}"), at, RANGE_LEN as u64);
    // The first one brings the chunk into the cache.
    one_by_one(clock, &mut connection, &ranged(0), 1, &mut Latencies::new()).await?;
    for _ in 0..RANGES {
        let at = chance.below((stride_data::CHUNK_LEN - RANGE_LEN) as u64);
        let began = clock.now();
        file.read_exact_at(&mut buffer, at)?;
        bare.add(clock.now() - began);
        one_by_one(clock, &mut connection, &ranged(at), 1, &mut cached).await?;
    }
    figures.latency("pread of 64 KiB from the page cache", &bare, None);
    figures.latency("ranged read of 64 KiB of a cached chunk, over HTTP", &cached, None);
    figures.goal("p99 <= 1 ms");
    Ok(())
}

/// Fills a file with bytes that are nowhere else.
fn fill(path: &Path) -> anyhow::Result<()> {
    let chance = Chance::from_os();
    let mut block: Vec<u8> =
        std::iter::repeat_with(|| chance.next_u64().to_le_bytes()).take(1 << 17).flatten().collect();
    let mut file = File::create(path)?;
    let mut left = LEN;
    while left > 0 {
        block[..8].copy_from_slice(&chance.next_u64().to_le_bytes());
        let len = left.min(block.len());
        file.write_all(&block[..len])?;
        left -= len;
    }
    Ok(file.sync_all()?)
}

fn copy_durably(from: &Path, to: &Path) -> anyhow::Result<()> {
    ensure!(Command::new("cp").args([from, to]).status()?.success(), "cp failed");
    Ok(File::open(to)?.sync_all()?)
}

/// Sees to it that a file, which is durable, has to be read from the disk.
fn forget_pages(path: &Path) -> anyhow::Result<()> {
    Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
}

/// Runs this very binary, as a user does.
fn stride(node: &Server, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env("STRIDE_URL", format!("http://{}", node.address)).env_remove("STRIDE_TENANT");
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    Ok(Command::new("cmp").args(["--silent".as_ref(), one, other]).status().context("cmp")?.success())
}

fn timed(clock: &Clock, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let began = clock.now();
    work()?;
    Ok(clock.now() - began)
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

fn rate(took: Duration) -> String {
    format!("{:.2} s, {:.0} MB/s", took.as_secs_f64(), LEN as f64 / 1e6 / took.as_secs_f64())
}
