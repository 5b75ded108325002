//! One database: the tails that are in it, with a connection for batches, one for everything else, and a keeper.
//!
//! ```text
//! append -> tail (order, queue)   lane (one batch in flight; reconnects, asks about what is in doubt) -> session -> server
//! take over, replay -> control session      keeper (floors, slots that can be emptied, cells that somebody took)
//! ```
//! All of it runs on one thread with a runtime of its own, so that callers may block or be on any executor.
//! Not here: which cells are in which database (see `databases`).

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock, mpsc},
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_ids::{CellId, DatabaseId, Epoch, Seq};
use stride_sim::{Backoff, Chance, Clock};
use tokio::{
    runtime::{self, Handle},
    sync::Notify,
};

use super::{
    connect::{Connector, Trouble},
    keeper, lane,
    schema::Identity,
    session::{Claim, Session, Taken, damaged},
    tail::Tail,
};
use crate::{Error, Fenced, Opened, Pending, Receipt, Record, journal::Outcome};

/// How long a commit may take, or the server be away, before appends are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long closing waits for what is queued, if the server is away.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How often a hole in the records is looked at again, because a truncation may have made it in the meantime.
const READS_MAX: usize = 3;

/// What a database is opened with.
pub(super) struct Opening {
    pub(super) connector: Connector,
    pub(super) identity: Identity,
    /// Tells this journal from every other that ever had the same epoch.
    pub(super) holder: i64,
    /// How long opening, taking over and reading wait for a server that is away.
    pub(super) call_max: Duration,
    pub(super) clock: Clock,
    pub(super) chance: Chance,
}

/// A database, for as long as this lives. Dropping it waits for what is queued, for as long as the server is there.
pub(super) struct Database {
    handle: DatabaseHandle,
    thread: Option<JoinHandle<()>>,
}

/// A database for those who do not decide how long it lives: after its end everything is refused.
#[derive(Clone)]
pub(super) struct DatabaseHandle {
    pub(super) shared: Arc<Shared>,
    runtime: Handle,
}

/// What callers and the database's thread share.
pub(super) struct Shared {
    connector: Connector,
    identity: Identity,
    pub(super) holder: i64,
    call_max: Duration,
    /// The name of the cluster, once it is known.
    cluster: OnceLock<String>,
    pub(super) clock: Clock,
    pub(super) chance: Chance,
    pub(super) state: Mutex<State>,
    /// Tells the lane that there is something to send.
    pub(super) wake: Notify,
    /// Tells the lane that it is to end.
    pub(super) close: Notify,
    /// Tells the keeper that records can be given up.
    pub(super) keep: Notify,
    /// For whatever is not a batch.
    control: tokio::sync::Mutex<Option<Session>>,
}

pub(super) struct State {
    pub(super) tail: Tail,
    pub(super) link: Link,
    pub(super) closing: bool,
}

/// How the server is doing, as the lane sees it.
#[derive(Default)]
pub(super) struct Link {
    /// Since when nothing has been answered that should have been.
    pub(super) waiting_since: Option<Duration>,
    /// Why the last attempt failed; none while an answer is only late.
    pub(super) trouble: Option<String>,
    /// The partition that is written to.
    pub(super) slot: i32,
}

impl Database {
    /// Connects, makes the tables if they may be made, and checks that the server's settings keep the promise. Blocks.
    pub(super) fn open(opening: Opening) -> Result<Self, Error> {
        let Opening { connector, identity, holder, call_max, clock, chance } = opening;
        let tail = Tail::new(identity.cells);
        let shared = Arc::new(Shared {
            connector,
            identity,
            holder,
            call_max,
            cluster: OnceLock::new(),
            clock,
            chance,
            state: Mutex::new(State { tail, link: Link::default(), closing: false }),
            wake: Notify::new(),
            close: Notify::new(),
            keep: Notify::new(),
            control: tokio::sync::Mutex::new(None),
        });
        let io = |what: &str, e: &std::io::Error| Error::io(what.into(), e);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| io("start a runtime for the database", &e))?;
        let handle = DatabaseHandle { shared: shared.clone(), runtime: runtime.handle().clone() };
        let (send, begun) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("journal-postgres".into())
            .spawn(move || runtime.block_on(live(&shared, &send)));
        let thread = Some(thread.map_err(|e| io("start the thread journal-postgres", &e))?);
        begun.recv().unwrap_or_else(|_| Err(ended()))?;
        Ok(Self { handle, thread })
    }

    pub(super) fn handle(&self) -> &DatabaseHandle {
        &self.handle
    }
}

impl DatabaseHandle {
    /// Runs something on the database's thread and blocks until it is done.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (send, receive) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // What it holds is let go first. Whoever asked waits for it.
            let done = work.await;
            let _ = send.send(done);
        });
        receive.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// The same for whoever waits without blocking.
    pub(super) async fn on<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.runtime.spawn(work(self.shared.clone())).await.unwrap_or_else(|_| Err(ended()))
    }

    /// The name of the cluster.
    pub(super) fn cluster(&self) -> &str {
        self.shared.cluster.get().map_or("", String::as_str)
    }

    pub(super) fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock();
        // Who is fenced or asks for too much hears that first, whether or not the server is there.
        state.tail.check_append(cell, epoch, record.len())?;
        state.check_link(now)?;
        let seq = state.tail.append(cell, epoch, record)?;
        drop(state);
        Ok(Pending::new(seq, Wait { shared: self.shared.clone(), cell, epoch, seq, hurries: true }))
    }

    pub(super) fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        let checked = self.shared.state.lock().tail.check_ordered(cell, epoch, seq);
        match checked {
            Ok(()) => Pending::new(seq, Wait { shared: self.shared.clone(), cell, epoch, seq, hurries: false }),
            Err(error) => Pending::new(seq, std::future::ready(Err(error))),
        }
    }

    pub(super) fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        self.shared.state.lock().tail.truncate(cell, through)?;
        self.shared.keep.notify_one();
        Ok(())
    }
}

fn ended() -> Error {
    Error::Stopped("the thread of the database has ended".into())
}

/// The journal's thread: says whether the database can be used, and uses it until it is closed.
async fn live(shared: &Arc<Shared>, begun: &mpsc::SyncSender<Result<(), Error>>) {
    // The first connection makes the tables.
    let outcome = shared.with_control(|_| Box::pin(async { Ok(()) })).await;
    let usable = outcome.is_ok();
    // Whoever opens the journal waits for it.
    let _ = begun.send(outcome);
    if usable {
        let keeper = tokio::spawn(keeper::run(shared.clone()));
        lane::run(shared).await;
        keeper.abort();
    }
}

impl Shared {
    pub(super) async fn connect(&self) -> Result<Session, Trouble> {
        let session = Session::connect(&self.connector, &self.identity, self.holder).await?;
        let first = self.cluster.get_or_init(|| session.cluster.clone());
        if *first != session.cluster {
            let other = format!(
                "it was {first} and is {} now: somebody replaced it; bring the first one back",
                session.cluster
            );
            return Err(Error::Unfit(other).into());
        }
        Ok(session)
    }

    /// Does something in the control session, again and again until it succeeds or `call_max` is over. So it has to be
    /// something that can be done twice.
    pub(super) async fn with_control<T>(
        &self,
        work: impl for<'a> Fn(&'a mut Session) -> Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>,
    ) -> Result<T, Error> {
        let (began, mut backoff, mut told, call_max) = (self.clock.now(), Backoff::default(), false, self.call_max);
        loop {
            // What is late is not cancelled, only not waited for any longer.
            let why = match self.clock.timeout(call_max, self.try_control(&work)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Trouble::Lasting(error))) => return Err(error),
                Ok(Err(Trouble::Refused(why))) => return Err(Error::Unfit(why)),
                Ok(Err(Trouble::Passing(why))) => why,
                Err(_) => format!("no answer within {call_max:?}; a synchronous standby may be away"),
            };
            self.state.lock().tail.check_running()?;
            if self.clock.now() - began > call_max {
                return Err(Error::Unavailable(why));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(why, "the database does not answer; it is tried again for {call_max:?}");
            }
            self.clock.sleep(backoff.next(&self.chance)).await;
        }
    }

    pub(super) async fn try_control<T>(
        &self,
        work: impl for<'a> Fn(&'a mut Session) -> Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>,
    ) -> Result<T, Trouble> {
        let mut control = self.control.lock().await;
        let mut session = match control.take() {
            Some(session) if !session.is_closed() => session,
            _ => self.connect().await?,
        };
        let done = work(&mut session).await;
        // After an error nobody knows what state the session is in.
        if done.is_ok() {
            *control = Some(session);
        }
        done
    }

    /// Takes cells over that are in this database, which is the first one, if they still have these epochs.
    pub(super) async fn take_over(&self, cells: Vec<(CellId, Epoch)>) -> Result<HashMap<CellId, Opened>, Error> {
        let asked: Vec<Claim> = self.not_ours_since(cells).into_iter().map(Claim::from).collect();
        let ids: Vec<CellId> = asked.iter().map(|claim| claim.cell).collect();
        self.begin_open(&ids).await?;
        let taken = self.claim(asked, DatabaseId::FIRST).await.inspect_err(|_| self.not_changed(&ids))?;
        Ok(self.finish_open(&ids, taken))
    }

    /// Those that this journal has not taken over since. What it has is not what it meant; only an attempt without an answer is.
    pub(super) fn not_ours_since(&self, cells: Vec<(CellId, Epoch)>) -> Vec<(CellId, Epoch)> {
        let state = self.state.lock();
        cells.into_iter().filter(|(cell, epoch)| !state.tail.is_ours_since(*cell, *epoch)).collect()
    }

    /// Makes epochs for cells whose tails are in a database, if they still have those that were seen. Only the first database can.
    pub(super) async fn claim(
        &self,
        claims: Vec<Claim>,
        database: DatabaseId,
    ) -> Result<HashMap<CellId, Taken>, Error> {
        self.with_control(|session| {
            let claims = claims.clone();
            Box::pin(async move { session.claim(&claims, database).await })
        })
        .await
    }

    /// What was taken over is owned; the others are whose they were.
    pub(super) fn finish_open(&self, asked: &[CellId], taken: HashMap<CellId, Taken>) -> HashMap<CellId, Opened> {
        let opened: HashMap<CellId, Opened> = {
            let mut state = self.state.lock();
            taken.into_values().map(|taken| (taken.cell, state.opened(taken))).collect()
        };
        let left: Vec<CellId> = asked.iter().copied().filter(|id| !opened.contains_key(id)).collect();
        self.not_changed(&left);
        opened
    }

    /// Nothing more is ordered in these cells, and what was is stored.
    pub(super) async fn begin_open(&self, cells: &[CellId]) -> Result<(), Error> {
        self.state.lock().tail.begin_open(cells)?;
        self.wake.notify_one();
        self.all_stored(cells).await.inspect_err(|_| self.not_changed(cells))
    }

    pub(super) async fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        self.state.lock().tail.begin_release(cell, epoch)?;
        self.wake.notify_one();
        let released = async {
            self.all_stored(&[cell]).await?;
            let floor = self.state.lock().tail.floor(cell);
            self.with_control(|session| Box::pin(session.release(cell, epoch, floor))).await
        };
        let released = released.await.inspect_err(|_| self.not_changed(&[cell]))?;
        let current = released.unwrap_or_else(|fenced| fenced.current);
        self.state.lock().tail.gone(cell, current);
        Ok(released.map(drop)?)
    }

    /// All cells that there are.
    pub(super) fn cells(&self) -> Vec<CellId> {
        (0..self.identity.cells).map(CellId).collect()
    }

    /// Resolves when nothing more can be made durable here, with the reason.
    pub(super) fn stopped(&self) -> impl Future<Output = Error> + Send + '_ {
        poll_fn(|cx| match self.state.lock().tail.ended(cx.waker()) {
            Some(error) => Poll::Ready(error),
            None => Poll::Pending,
        })
    }

    /// Resolves with the next cell that is lost.
    pub(super) fn lost(&self) -> impl Future<Output = Fenced> + Send + '_ {
        poll_fn(|cx| match self.state.lock().tail.next_lost(cx.waker()) {
            Some(fenced) => Poll::Ready(fenced),
            None => Poll::Pending,
        })
    }

    /// Stops for good if the server has been away for longer than this.
    pub(super) fn give_up_if_away(&self, max: Duration) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.link.waiting_since.is_some_and(|since| now.saturating_sub(since) > max) {
            let why = state.link.trouble.clone().unwrap_or_else(|| "a commit is not answered".into());
            state.tail.stop(Error::Unavailable(why));
        }
    }

    pub(super) fn not_changed(&self, cells: &[CellId]) {
        let mut state = self.state.lock();
        cells.iter().for_each(|cell| state.tail.not_changed(*cell));
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until all that was ordered in these cells has its outcome.
    async fn all_stored(&self, cells: &[CellId]) -> Result<(), Error> {
        let stored = poll_fn(|cx| {
            let mut state = self.state.lock();
            let Some(cell) = cells.iter().copied().find(|cell| !state.tail.is_idle(*cell)) else {
                return Poll::Ready(state.tail.check_running());
            };
            state.tail.wait_for_all(cell, cx.waker());
            Poll::Pending
        });
        let late = || Error::Unavailable("what was ordered before is not stored yet".into());
        self.clock.timeout(self.call_max, stored).await.map_err(|_| late())?
    }

    pub(super) async fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let mut hole = None;
        for _ in 0..READS_MAX {
            match self.with_control(|session| Box::pin(session.replay(cell, after))).await? {
                Ok(records) => return Ok(records),
                Err(found) if after < found.floor => return Err(Error::Gap { cell, after, first: found.floor.next() }),
                Err(found) => hole = Some(found.at),
            }
        }
        Err(damaged(cell, hole.unwrap_or(after.next()), "it is missing, and was not given up"))
    }
}

impl State {
    fn opened(&mut self, Taken { cell, epoch, last, floor }: Taken) -> Opened {
        self.tail.opened(cell, epoch, last, floor);
        Opened { epoch, last }
    }

    /// Refuses while the server has been away for long.
    fn check_link(&self, now: Duration) -> Result<(), Error> {
        match self.link.waiting_since {
            Some(since) if now.saturating_sub(since) > PATIENCE => {
                let late = "a commit is not answered; a synchronous standby may be away";
                Err(Error::Unavailable(self.link.trouble.clone().unwrap_or_else(|| late.into())))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        {
            let mut state = shared.state.lock();
            state.closing = true;
            state.tail.hurry();
        }
        shared.wake.notify_one();
        shared.close.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already; there is nobody to tell here.
            let _ = thread.join();
        }
    }
}

/// Waits for a record. Polling it hurries the record, and so does dropping it.
struct Wait {
    shared: Arc<Shared>,
    cell: CellId,
    epoch: Epoch,
    seq: Seq,
    /// Dropping it hurries the record.
    hurries: bool,
}

impl Future for Wait {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.shared.state.lock();
        if let Some(outcome) = state.tail.outcome(this.cell, this.epoch, this.seq) {
            this.hurries = false;
            return Poll::Ready(outcome);
        }
        state.tail.wait(this.cell, this.seq, cx.waker());
        let news = state.tail.hurry();
        drop(state);
        if news {
            this.shared.wake.notify_one();
        }
        Poll::Pending
    }
}

impl Outcome for Wait {
    fn unhurried(mut self: Pin<&mut Self>) {
        self.hurries = false;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.hurries && self.shared.state.lock().tail.hurry() {
            self.shared.wake.notify_one();
        }
    }
}
