//! Those who go on whatever happens, and write down what they see.
//!
//! - **Counters** add one and read, at any node. Most additions are asked again under their key until they are answered, at another node each time;
//!   some are asked once, and if no answer comes nobody knows whether they happened.
//! - **Probers** add to counters that are quiet most of the time, and then read at *every* node and do not wait for what those say. So a node that
//!   lost a counter without knowing it is asked for it right after others changed it. It takes quiet counters: of one on which an
//!   addition is waiting for the database, nothing is answered anyway.
//! - **Payers** use the bank, at once and by timers. A **watcher** reads its statements as they grow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use stride_sim::{Chance, Clock};
use tokio::task::JoinSet;

use crate::{
    bank::{ACCOUNTS, DEPOSIT, Ledger, Line, Operation},
    doors::{Doors, Said},
    fault::below,
    history::History,
    linear::{Access, Call},
};

const COUNTERS: usize = 9;
/// How many clients add to and read each counter.
const SHARING: usize = 2;
const PAYERS: usize = 6;
/// How long a client waits for a node before it asks another one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long until it asks again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a client thinks between two things, at most: the machine is to have time for faults as well.
const THINK_MS_MAX: u64 = 60;
/// How many counters are quiet, and who looks after them.
const QUIET: usize = 40;
const PROBERS: usize = 3;
/// How many reads of one prober may be on their way, and how long each waits: longer than any node stands still.
const READS_MAX: usize = 300;
const READ_WAITS: Duration = Duration::from_secs(15);
/// How often the watcher looks.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// By how much payments are put off, at most: timers are to be due in the midst of faults.
const LATER_MAX: Duration = Duration::from_secs(5);
/// How long what is asked before and after the faults may take.
const CALM_MAX: Duration = Duration::from_secs(60);

/// All of them.
pub(crate) struct Clients {
    doors: Arc<Doors>,
    clock: Clock,
    nodes: usize,
    seed: u64,
    pub(crate) history: Mutex<History>,
    /// When each was answered last, in milliseconds. One for each that has to be well before the next fault.
    answered: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Clients {
    pub(crate) fn new(doors: Arc<Doors>, clock: Clock, nodes: usize, seed: u64) -> Arc<Self> {
        let history = History { counters: vec![Vec::new(); COUNTERS + QUIET], ..History::default() };
        let answered = (0..COUNTERS * SHARING + PAYERS + PROBERS + nodes).map(|_| AtomicU64::new(0)).collect();
        let (history, stop) = (Mutex::new(history), AtomicBool::new(false));
        Arc::new(Self { doors, clock, nodes, seed, history, answered, stop })
    }

    /// Starts them. They end when they are told to, or with the set.
    pub(crate) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for number in 0..COUNTERS * SHARING {
            tasks.spawn(self.clone().count(number));
        }
        for number in 0..PAYERS {
            tasks.spawn(self.clone().pay(COUNTERS * SHARING + number));
        }
        for number in 0..PROBERS {
            tasks.spawn(self.clone().probe(COUNTERS * SHARING + PAYERS + number));
        }
        tasks.spawn(self.clone().watch());
        tasks
    }

    /// From now on each finishes what it is at, and ends.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Those that were not answered since then; the last numbers stand for nodes that answered no read.
    pub(crate) fn waiting_since(&self, moment: Duration) -> Vec<usize> {
        let moment = milliseconds(moment);
        (0..self.answered.len()).filter(|number| self.answered[*number].load(Ordering::SeqCst) <= moment).collect()
    }

    fn was_answered(&self, number: usize) {
        self.answered[number].store(milliseconds(self.clock.now()), Ordering::SeqCst);
    }

    fn chance(&self, number: usize) -> Chance {
        Chance::seeded(self.seed.wrapping_mul(1_000).wrapping_add(number as u64))
    }

    async fn think(&self, chance: &Chance) {
        self.clock.sleep(Duration::from_millis(chance.below(THINK_MS_MAX))).await;
    }

    async fn count(self: Arc<Self>, number: usize) {
        let (chance, counter) = (self.chance(number), number % COUNTERS);
        for n in 0_u64.. {
            if !self.goes_on() {
                return;
            }
            let called = self.clock.now();
            let answer = match chance.below(100) {
                0..50 => {
                    let key = format!("{number}-{n}");
                    let answer = self.until_answered(&chance, &add(counter), &key, "1").await;
                    self.note(counter, Access::Add, called, answer);
                    answer
                }
                50..55 => {
                    let answer = self.once(&chance, &add(counter), "1").await;
                    self.note(counter, Access::Add, called, answer);
                    answer
                }
                _ => {
                    let answer = self.once(&chance, &get(counter), "").await;
                    // A read that nobody answered has done nothing.
                    if answer.is_some() {
                        self.note(counter, Access::Get, called, answer);
                    }
                    answer
                }
            };
            if answer.is_some() {
                self.was_answered(number);
            }
            self.think(&chance).await;
        }
    }

    fn note(&self, counter: usize, op: Access, called: Duration, answer: Option<u64>) {
        let answered = answer.map(|answer| (self.clock.now(), answer));
        self.history.lock().counters[counter].push(Call { op, called, answered });
    }

    /// Asks any node, once.
    async fn once(&self, chance: &Chance, path: &str, body: &str) -> Option<u64> {
        match self.doors.ask(below(chance, self.nodes), path, None, body.to_owned(), PATIENCE).await {
            Said::Answer(value) => value.as_u64(),
            Said::Refused | Said::Unknown => None,
        }
    }

    /// Asks one node after the other, for as long as it takes. None if it was refused.
    async fn until_answered(&self, chance: &Chance, path: &str, key: &str, body: &str) -> Option<u64> {
        for node in below(chance, self.nodes).. {
            match self.doors.ask(node % self.nodes, path, Some(key), body.to_owned(), PATIENCE).await {
                Said::Answer(value) => return Some(value.as_u64().unwrap_or_default()),
                Said::Refused => return None,
                Said::Unknown => self.clock.sleep(AGAIN).await,
            }
        }
        None
    }

    async fn pay(self: Arc<Self>, number: usize) {
        let chance = self.chance(number);
        for n in 0_u64.. {
            if !self.goes_on() {
                return;
            }
            let mut operation = Operation::draw(format!("{number}-{n}"), &chance, LATER_MAX);
            operation.called = self.clock.now();
            let (path, body) = operation.request();
            operation.answer = self.until_answered(&chance, &path, &operation.id, &body).await;
            operation.answered = self.clock.now();
            if operation.answer.is_none() != operation.is_refused() {
                self.doors.note(format!("{operation:?}: an answer that the bank never gives"));
            }
            self.history.lock().payments.push(operation);
            self.was_answered(number);
            self.think(&chance).await;
        }
    }

    async fn probe(self: Arc<Self>, number: usize) {
        let chance = self.chance(number);
        let mut reads = JoinSet::new();
        for n in 0_u64.. {
            if !self.goes_on() {
                return;
            }
            let counter = COUNTERS + below(&chance, QUIET);
            let called = self.clock.now();
            let answer = self.until_answered(&chance, &add(counter), &format!("{number}-{n}"), "1").await;
            self.note(counter, Access::Add, called, answer);
            self.was_answered(number);
            // They have nothing to say: what they saw is written down.
            while reads.try_join_next().is_some() {}
            for node in 0..self.nodes {
                if reads.len() < READS_MAX {
                    reads.spawn(self.clone().read(node, counter));
                }
            }
            self.think(&chance).await;
        }
    }

    async fn read(self: Arc<Self>, node: usize, counter: usize) {
        let called = self.clock.now();
        let said = self.doors.ask(node, &get(counter), None, String::new(), READ_WAITS).await;
        if let Said::Answer(value) = said {
            self.note(counter, Access::Get, called, value.as_u64());
            self.was_answered(COUNTERS * SHARING + PAYERS + PROBERS + node);
        }
    }

    async fn watch(self: Arc<Self>) {
        let chance = self.chance(usize::from(u16::MAX));
        while self.goes_on() {
            for account in ACCOUNTS {
                let from = self.history.lock().seen.get(account).map_or(0, Vec::len);
                let (node, path) = (below(&chance, self.nodes), statement(account));
                if let Said::Answer(page) = self.doors.ask(node, &path, None, from.to_string(), PATIENCE).await {
                    let (lines, at) = (self.lines(page), self.clock.now());
                    let mut history = self.history.lock();
                    history
                        .seen
                        .entry(account.to_owned())
                        .or_default()
                        .extend(lines.into_iter().map(|line| (line, at)));
                }
            }
            self.clock.sleep(WATCH_EVERY).await;
        }
    }

    fn lines(&self, page: Value) -> Vec<Line> {
        serde_json::from_value(page).unwrap_or_else(|error| {
            self.doors.note(format!("a statement that cannot be read: {error}"));
            Vec::new()
        })
    }

    /// Asks until there is an answer; none if there is none in time although nothing is wrong any more.
    async fn in_calm(&self, path: &str, key: Option<&str>, body: &str) -> Option<Value> {
        let ask = async {
            for turn in 0.. {
                let said = self.doors.ask(turn % self.nodes, path, key, body.to_owned(), CALM_MAX).await;
                if let Said::Answer(value) = said {
                    return Some(value);
                }
                self.clock.sleep(AGAIN).await;
            }
            None
        };
        self.clock.timeout(CALM_MAX, ask).await.ok().flatten()
    }

    /// Gives every account what it begins with. Whether all were answered.
    pub(crate) async fn deposit(&self) -> bool {
        for account in ACCOUNTS {
            let path = format!("/v1/agents/account/{account}/deposit");
            if self.in_calm(&path, Some("deposit"), &DEPOSIT.to_string()).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Reads every counter once more, as part of the history. Whether all were answered.
    pub(crate) async fn read_all(&self) -> bool {
        for counter in 0..COUNTERS + QUIET {
            let called = self.clock.now();
            let Some(value) = self.in_calm(&get(counter), None, "").await else { return false };
            self.note(counter, Access::Get, called, value.as_u64());
        }
        true
    }

    /// What the bank says in the end, read from the beginning.
    pub(crate) async fn ledger(&self) -> Option<Ledger> {
        let mut ledger = Ledger::new();
        for account in ACCOUNTS {
            let balance = self.in_calm(&format!("/v1/agents/account/{account}/balance"), None, "").await?.as_i64()?;
            let mut lines: Vec<Line> = Vec::new();
            loop {
                let page = self.in_calm(&statement(account), None, &lines.len().to_string()).await?;
                let page = self.lines(page);
                if page.is_empty() {
                    break;
                }
                lines.extend(page);
            }
            ledger.insert(account.to_owned(), (balance, lines));
        }
        Some(ledger)
    }

    /// Waits until no message is on its way and no timer is set anywhere; what there still is if that does not come to pass.
    pub(crate) async fn until_quiet(&self) -> Option<String> {
        let mut left = Vec::new();
        let began = self.clock.now();
        while self.clock.now() - began < CALM_MAX {
            left.clear();
            // All of them at about the same time: one that is quiet may still be given work by another.
            for node in 0..self.nodes {
                let metrics = self.doors.get(node, "/metrics", PATIENCE).await;
                left.extend(not_quiet(metrics.as_deref()).into_iter().map(|line| format!("node {node}: {line}")));
            }
            if left.is_empty() {
                return None;
            }
            self.clock.sleep(AGAIN).await;
        }
        Some(left.join("; "))
    }

    /// What is parked, if anything.
    pub(crate) async fn parked(&self) -> Option<String> {
        let text = self.doors.get(0, "/v1/parked", CALM_MAX).await.unwrap_or_else(|| "no answer".to_owned());
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let is_empty = list["parked"].as_array().is_some_and(Vec::is_empty);
        (!is_empty).then_some(text)
    }
}

fn milliseconds(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

fn add(counter: usize) -> String {
    format!("/v1/agents/counter/c{counter}/add")
}

fn get(counter: usize) -> String {
    format!("/v1/agents/counter/c{counter}/get")
}

fn statement(account: &str) -> String {
    format!("/v1/agents/account/{account}/statement")
}

/// What a node's metrics say of messages that are on their way and of timers.
fn not_quiet(metrics: Option<&str>) -> Vec<String> {
    const QUIET: [&str; 3] =
        ["stride_messages{place=\"waiting\"}", "stride_messages{place=\"leaving\"}", "stride_timers"];
    let Some(metrics) = metrics else { return vec!["no metrics".to_owned()] };
    let found = QUIET.iter().map(|name| {
        let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or_else(|| format!("no {name}"), str::to_owned)
    });
    found.filter(|line| !line.ends_with(" 0")).collect()
}
