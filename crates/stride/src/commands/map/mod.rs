//! `stride map COMPONENT/FUNCTION --over BUCKET/PREFIX | --files GLOB | --lines FILE`: one call per input, in parallel. Over
//! objects it is the node that runs the map, see `over`; over files and lines it is this process.
//!
//! Always true: every input ends as exactly one line on stdout or is counted as not done; a failure stops no other input; what is
//! in memory is bounded by `--jobs`, however many inputs there are.
//! Not here: repeating a call whose answer was lost. The function may have run; only `overloaded` says that it has not.

mod inputs;
mod over;
mod progress;
mod work;

use std::{
    io::{self, IsTerminal as _},
    num::NonZeroUsize,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
};

use clap::{Args, ValueEnum};
use futures::{StreamExt as _, stream};
use stride_maps::{FunctionName, Prefix, Spec, Split};
use stride_sim::Clock;
use tokio::sync::mpsc;

use crate::{
    client::Client,
    commands::deployments::deployed,
    report::{Said, Trouble},
    target::FunctionTarget,
};
use inputs::{Input, Source};
use progress::Progress;
use work::{Outcome, Worker};

/// The most calls that one map has under way.
const JOBS_MAX: usize = 1_024;

#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The function
    #[arg(value_name = "COMPONENT/FUNCTION")]
    target: FunctionTarget,
    /// Run over the objects whose keys begin so; the node does it, also if it is restarted meanwhile
    #[arg(long, value_name = "BUCKET/PREFIX", conflicts_with_all = ["files", "lines", "jobs", "limit"])]
    over: Option<Prefix>,
    /// Cut objects into parts of about 1 MiB
    #[arg(long, value_enum, requires = "over", conflicts_with_all = ["files", "lines"])]
    split: Option<SplitAt>,
    /// Fold the results with this function: a JSON array of some of them in, one value out
    #[arg(long, value_name = "COMPONENT/FUNCTION", requires = "over", conflicts_with_all = ["files", "lines"])]
    reduce: Option<FunctionName>,
    /// Put each result there as an object; with --reduce, put its result into exactly this object
    #[arg(long, value_name = "BUCKET/PREFIX", requires = "over", conflicts_with_all = ["files", "lines"])]
    out: Option<Prefix>,
    /// Send the content of each file that matches, hidden ones too; a directory means all files beneath it
    #[arg(long, num_args = 1.., value_name = "GLOB", required_unless_present_any = ["lines", "over"])]
    files: Vec<String>,
    /// Send each line of this file (- for stdin), which has to be JSON
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    lines: Option<PathBuf>,
    /// Leave out files whose path, as it is told, matches this
    #[arg(long, num_args = 1.., value_name = "GLOB", requires = "files")]
    exclude: Vec<String>,
    /// Tell paths relative to this directory instead of the part of the glob without wildcards
    #[arg(long, value_name = "DIR", requires = "files")]
    relative_to: Option<PathBuf>,
    /// How many calls to have under way; four per core by default
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Stop after this many inputs
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitAt {
    /// Behind line breaks
    Lines,
    /// At fixed places
    Bytes,
}

impl Map {
    pub(crate) async fn run(self, client: Client) -> anyhow::Result<()> {
        if let Some(over) = self.over {
            let FunctionTarget { component, function } = self.target;
            let split = self.split.map(|split| match split {
                SplitAt::Lines => Split::Lines,
                SplitAt::Bytes => Split::Bytes,
            });
            let function = FunctionName { component, function };
            return over::run(&client, &Spec { function, over, split, reduce: self.reduce, out: self.out }).await;
        }
        let jobs =
            self.jobs.map_or_else(|| 4 * available_parallelism().map_or(2, NonZeroUsize::get), NonZeroUsize::get);
        let jobs = jobs.min(JOBS_MAX);
        let source = match self.lines {
            Some(path) => Source::lines(path)?,
            None => Source::files(&self.files, &self.exclude, self.relative_to)?,
        };
        let source = Arc::new(source.limited(self.limit.unwrap_or(usize::MAX)));
        must_be_deployed(&client, &self.target).await?;

        let clock = Clock::real();
        let progress = Progress::begin(clock.clone(), io::stderr().is_terminal());
        if source.can_be_read_twice() {
            let (source, progress) = (source.clone(), progress.clone());
            // Counted beside the work: a large tree would otherwise show nothing for a while.
            std::thread::spawn(move || progress.expect(source.count()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut inputs = produce(source, jobs, stop.clone());
        let worker = Worker::new(client, self.target, clock, stop.clone());
        let outcomes = stream::poll_fn(|context| inputs.poll_recv(context));
        let mut outcomes = outcomes.map(|input| worker.run(input)).buffer_unordered(jobs);
        loop {
            let outcome = tokio::select! {
                outcome = outcomes.next() => outcome,
                () = progress.tick() => continue,
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    interrupt(&stop, &progress);
                    continue;
                }
            };
            let Some(outcome) = outcome else { break };
            if let Outcome::Done { line, .. } | Outcome::Failed { line, .. } = &outcome {
                // A reader that has gone ends the map: nobody would see the rest.
                progress.result(line)?;
            }
            progress.count(outcome);
        }
        let summary = progress.end();
        if summary.inputs() == 0 && !stop.load(Ordering::Relaxed) {
            let next = "quote the glob so that the shell leaves it alone, and see that it names files";
            return Err(Trouble::failed("there is nothing to do: no input matches").next(next).into());
        }
        eprintln!("{summary}{}", if stop.load(Ordering::Relaxed) { "; stopped before the end" } else { "" });
        if summary.failed() == 0 && !stop.load(Ordering::Relaxed) { Ok(()) } else { Err(Said.into()) }
    }
}

/// The first Ctrl-C lets what is under way finish, the second does not.
fn interrupt(stop: &AtomicBool, progress: &Progress) {
    if stop.swap(true, Ordering::Relaxed) {
        std::process::exit(130);
    }
    progress.say("stopping: what is under way finishes; press Ctrl-C again to leave at once");
}

/// One clear error beats as many failures as there are inputs.
async fn must_be_deployed(client: &Client, target: &FunctionTarget) -> anyhow::Result<()> {
    let FunctionTarget { component, function } = target;
    let deployments = deployed(client).await?;
    let next = "`stride deployments` lists what can be called";
    let Some(deployment) = deployments.iter().find(|d| d.component == component.as_str()) else {
        return Err(Trouble::failed(format!("no component `{component}` is deployed (not_found)")).next(next).into());
    };
    if !deployment.functions.iter().any(|f| f == function.as_str()) {
        let known = deployment.functions.join(", ");
        let what = Trouble::failed(format!("{component} has no function `{function}` (not_found)"));
        return Err(what.why(format!("it has: {known}")).next(next).into());
    }
    Ok(())
}

/// Walks the inputs on a thread of its own, at most `jobs` ahead.
fn produce(source: Arc<Source>, jobs: usize, stop: Arc<AtomicBool>) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(jobs);
    std::thread::spawn(move || {
        source.walk(&mut |input| {
            if stop.load(Ordering::Relaxed) || sender.blocking_send(input).is_err() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    });
    receiver
}
