//! One run: a world, clients, one fault after the other, and the verdict.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use futures::future::try_join_all;
use stride_sim::{Chance, Clock};

use crate::{
    Error, Kind, Report, Settings, Step,
    bank::Wish,
    clients::Clients,
    doors::Doors,
    fault::{Fault, Schedule},
    history::History,
    linear::{self, Access},
    world::{World, make_room},
};

/// How long after a fault every client has to be answered again, and every node has to answer.
const WELL_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long nothing happens between two faults, at most.
const CALM_MS_MAX: u64 = 1_500;

/// Tortures a cluster, says what it does, and reports. Logs and the history are in `settings.keep` afterwards, whatever comes of it.
///
/// # Errors
/// If there is no verdict: something is missing on this machine, or a node does not start any more.
pub async fn run(settings: &Settings, tell: impl Fn(&str)) -> Result<Report, Error> {
    make_room(&settings.keep, settings.nodes)?;
    let clock = Clock::real();
    let doors = Arc::new(Doors::new(settings.nodes, clock.clone()));
    tell("starting PostgreSQL and the nodes");
    let world = World::begin(settings, doors.clone(), clock.clone()).await?;
    let clients = Clients::new(doors.clone(), clock.clone(), settings.nodes, settings.seed);
    let run = Run { settings, world: &world, clients: &clients, doors: &doors, clock: &clock, tell: &tell };
    let report = run.torture().await;
    clients.history.lock().write(&settings.keep.join("history.jsonl"))?;
    let report = report?;
    world.end().await?;
    fs::write(settings.keep.join("report.txt"), format!("{report}\n"))?;
    Ok(report)
}

struct Run<'a, T> {
    settings: &'a Settings,
    world: &'a World,
    clients: &'a Arc<Clients>,
    doors: &'a Doors,
    clock: &'a Clock,
    tell: &'a T,
}

impl<T: Fn(&str)> Run<'_, T> {
    async fn torture(&self) -> Result<Report, Error> {
        let left_out = self.left_out();
        for (kind, why) in &left_out {
            (self.tell)(&format!("left out: {kind}: {why}"));
        }
        let is_possible = |kind: &Kind| !left_out.iter().any(|(other, _)| other == kind);
        let kinds: Vec<Kind> = self.settings.faults.iter().copied().filter(is_possible).collect();
        if kinds.is_empty() {
            return Err(Error::NoFaults(left_out.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ")));
        }
        let mut report = Report { seed: self.settings.seed, left_out, ..Report::default() };
        self.furnish(&mut report.broken).await?;
        let mut tasks = self.clients.start();
        self.until_well(self.clock.now(), &mut report.broken).await?;

        let began = self.clock.now();
        let chance = Chance::seeded(self.settings.seed);
        let mut schedule = Schedule::new(kinds, self.settings.nodes, chance.clone());
        while self.clock.now() - began < self.settings.lasts && report.broken.is_empty() {
            let step = schedule.step();
            report.steps.push(self.step(&step, &chance, &mut report.broken).await?);
            self.clock.sleep(Duration::from_millis(chance.below(CALM_MS_MAX))).await;
        }
        report.lasted = self.clock.now() - began;

        self.tell_now("no more faults: waiting for what is on its way");
        self.clients.stop();
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if self.clock.timeout(WELL_MAX, all_ended).await.is_err() {
            report.broken.push(format!("a client has no answer {WELL_MAX:?} after the last fault"));
        }
        self.judge(&mut report).await;
        self.tell_now("all is checked");
        Ok(report)
    }

    fn tell_now(&self, what: &str) {
        (self.tell)(&format!("{:6.1} s  {what}", self.clock.now().as_secs_f64()));
    }

    /// Faults that were asked for and cannot be made here.
    fn left_out(&self) -> Vec<(Kind, String)> {
        let is_wanted = |(kind, _): &&(Kind, String)| self.settings.faults.contains(kind);
        self.world.left_out().iter().filter(is_wanted).cloned().collect()
    }

    /// Deploys the guests, and gives the accounts their money.
    async fn furnish(&self, broken: &mut Vec<String>) -> Result<(), Error> {
        for example in ["counter", "bank"] {
            let component = fs::read(self.settings.components.join(format!("{example}.wasm")))?;
            let manifest = fs::read_to_string(self.settings.examples.join(example).join("stride.toml"))?;
            self.doors.deploy(0, component, manifest).await?;
        }
        if !self.clients.deposit().await {
            broken.push("the bank takes no deposit although nothing is wrong".to_owned());
        }
        Ok(())
    }

    async fn step(&self, faults: &[Fault], chance: &Chance, broken: &mut Vec<String>) -> Result<Step, Error> {
        let what = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let from = self.clock.now();
        self.tell_now(&what);
        try_join_all(faults.iter().map(|fault| self.world.suffer(fault, chance))).await?;
        let undone = self.clock.now();
        let well = self.until_well(undone, broken).await?;
        let kinds = faults.iter().map(|fault| fault.kind).collect();
        Ok(Step { what, kinds, from, undone, well, longest: Duration::ZERO })
    }

    /// Waits until every client was answered since then, and every node has answered; when that was.
    async fn until_well(&self, since: Duration, broken: &mut Vec<String>) -> Result<Duration, Error> {
        let began = self.clock.now();
        while self.clock.now() - began < WELL_MAX {
            self.world.revive().await?;
            if self.clients.waiting_since(since).is_empty() {
                return Ok(self.clock.now());
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
        let waiting = self.clients.waiting_since(since);
        broken
            .push(format!("clients {waiting:?} were not answered for {WELL_MAX:?} although nothing is wrong any more"));
        Ok(self.clock.now())
    }

    async fn judge(&self, report: &mut Report) {
        if let Some(left) = self.clients.until_quiet().await {
            report.broken.push(format!("messages or timers never come to an end: {left}"));
        }
        if let Some(parked) = self.clients.parked().await {
            report.broken.push(format!("parked although nothing fails for good: {parked}"));
        }
        if !self.clients.read_all().await {
            report.broken.push("a counter cannot be read although nothing is wrong any more".to_owned());
        }
        let ledger = self.clients.ledger().await;
        let history = self.clients.history.lock();
        match ledger {
            Some(ledger) => report.broken.extend(history.judge(&ledger)),
            None => report.broken.push("a statement cannot be read although nothing is wrong any more".to_owned()),
        }
        report.broken.extend(self.doors.odd());
        report.ended = self.world.ended();
        for (from, until) in history.waits() {
            for step in &mut report.steps {
                step.waited(from, until);
            }
        }
        report.operations = counts(&history);
    }
}

fn counts(history: &History) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for calls in &history.counters {
        for (op, count) in linear::answered(calls) {
            let name = if *op == Access::Add { "additions" } else { "reads" };
            *counts.entry(name).or_default() += count;
        }
        *counts.entry("without a known outcome").or_default() +=
            calls.iter().filter(|call| call.answered.is_none()).count();
    }
    for payment in &history.payments {
        let name = match payment.wish {
            Wish::Pay { .. } => "payments by message",
            Wish::PayLater { .. } => "payments by timer",
            Wish::PayTooMuch { .. } => "refused payments",
            Wish::Count => "reads of accounts",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}
