//! The PostgreSQL backend: the tail of every cell in a database that the user already trusts.
//!
//! Always true: epoch and holder are checked in the statement that stores, so a stale owner stores nothing; a record is
//! acknowledged only when the server has said so in a session that commits synchronously; whatever was sent and not
//! answered is asked for and never guessed. While the server is away, what is ordered stays ordered and goes on when it is
//! back; new appends are refused with [`Error::Unavailable`] once that takes long, and with [`Error::Busy`] when too much waits.
//! `docs/design/0009-postgres-journal.md` says why each part is as it is.
//!
//! ```text
//! append -> tail (order, queue)   lane (one batch in flight; reconnects, asks about what is in doubt) -> session -> server
//! open, replay -> control session           keeper (floors, slots that can be emptied, cells that somebody took)
//! ```
//! All of it runs on one thread with a runtime of its own, so that callers may block or be on any executor.
//! Not here: who is to own a cell (see `cluster`), and where its state is (the store, and snapshots of it).

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock, mpsc},
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_ids::{CellId, Epoch, Incarnation, Seq};
use stride_sim::{Backoff, Chance, Clock};
use tokio::{runtime, sync::Notify};

use self::{
    schema::Identity,
    session::{Session, Taken, damaged},
    tail::Tail,
};
use crate::{Error, Fenced, Journal, Opened, Pending, Receipt, Record, journal::Outcome};

mod connect;
mod keeper;
mod lane;
mod schema;
mod session;
mod tail;
mod tls;

pub use connect::{Connection, Connector, Trouble};

/// How long a commit may take, or the server be away, before appends are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long opening, taking over and reading wait for a server that is away.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How long closing waits for what is queued, if the server is away.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How often a hole in the records is looked at again, because a truncation may have made it in the meantime.
const READS_MAX: usize = 3;

/// Where the journal is and what it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The connection string, with the password if there is one. Several hosts may be named; the one that takes writes is used.
    pub url: String,
    /// How many cells there are; fixed when the journal is begun.
    pub cells: u16,
    /// This start of the node: who owns a cell is said with it, and a node that starts again is somebody else.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Settings {
    /// Without the connection string: there may be a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("cells", &self.cells).field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// A journal in a database.
pub struct PostgresJournal {
    shared: Arc<Shared>,
    runtime: runtime::Handle,
    thread: Option<JoinHandle<()>>,
}

/// What callers and the journal's thread share.
struct Shared {
    connector: Connector,
    identity: Identity,
    /// Tells this journal from every other that ever had the same epoch.
    holder: i64,
    /// The name of the database, once it is known.
    cluster: OnceLock<String>,
    clock: Clock,
    chance: Chance,
    state: Mutex<State>,
    /// Tells the lane that there is something to send.
    wake: Notify,
    /// Tells the lane that it is to end.
    close: Notify,
    /// Tells the keeper that records can be given up.
    keep: Notify,
    /// For whatever is not a batch.
    control: tokio::sync::Mutex<Option<Session>>,
}

struct State {
    tail: Tail,
    link: Link,
    closing: bool,
}

/// How the server is doing, as the lane sees it.
#[derive(Default)]
struct Link {
    /// Since when nothing has been answered that should have been.
    waiting_since: Option<Duration>,
    /// Why the last attempt failed; none while an answer is only late.
    trouble: Option<String>,
    /// The partition that is written to.
    slot: i32,
}

impl PostgresJournal {
    /// Connects, makes the tables if there are none, and checks that the server's settings keep the promise. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the connection string cannot be used, [`Error::Unavailable`] if the server does not answer,
    /// [`Error::Unfit`] and [`Error::CellsFixed`] if this is not a database for this journal.
    pub fn open(settings: Settings, clock: Clock, chance: Chance) -> Result<Self, Error> {
        if settings.cells == 0 {
            return Err(Error::Invalid("a journal needs at least one cell".into()));
        }
        let identity = Identity { cluster: format!("clu-{:016x}", chance.next_u64()), cells: settings.cells };
        let shared = Arc::new(Shared {
            connector: Connector::new(&settings.url)?,
            identity,
            holder: settings.incarnation.bits() as i64,
            cluster: OnceLock::new(),
            clock,
            chance,
            state: Mutex::new(State { tail: Tail::new(settings.cells), link: Link::default(), closing: false }),
            wake: Notify::new(),
            close: Notify::new(),
            keep: Notify::new(),
            control: tokio::sync::Mutex::new(None),
        });
        let io = |what: &str, e: &std::io::Error| Error::io(what.into(), e);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| io("start a runtime for the database", &e))?;
        let handle = runtime.handle().clone();
        let (send, begun) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("journal-postgres".into()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(live(&shared, &send))
        });
        let thread = Some(thread.map_err(|e| io("start the thread journal-postgres", &e))?);
        begun.recv().unwrap_or_else(|_| Err(Error::Stopped("the journal's thread has ended".into())))?;
        Ok(Self { shared, runtime: handle, thread })
    }

    /// The name that the database was given when it was begun.
    pub fn cluster(&self) -> &str {
        self.shared.cluster.get().map_or("", String::as_str)
    }

    /// Runs something on the journal's thread and waits for it.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (send, receive) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Whoever asked waits for it.
            let _ = send.send(work.await);
        });
        receive.recv().unwrap_or_else(|_| Err(Error::Stopped("the journal's thread has ended".into())))
    }
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
    async fn connect(&self) -> Result<Session, Trouble> {
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

    /// Does something in the control session, again and again until it succeeds or [`CALL_MAX`] is over. So it has to be
    /// something that can be done twice.
    async fn with_control<T>(
        &self,
        work: impl for<'a> Fn(&'a mut Session) -> Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>,
    ) -> Result<T, Error> {
        let (began, mut backoff, mut told) = (self.clock.now(), Backoff::default(), false);
        loop {
            // What is late is not cancelled, only not waited for any longer.
            let why = match self.clock.timeout(CALL_MAX, self.try_control(&work)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Trouble::Lasting(error))) => return Err(error),
                Ok(Err(Trouble::Refused(why))) => return Err(Error::Unfit(why)),
                Ok(Err(Trouble::Passing(why))) => why,
                Err(_) => format!("no answer within {CALL_MAX:?}; a synchronous standby may be away"),
            };
            self.state.lock().tail.check_running()?;
            if self.clock.now() - began > CALL_MAX {
                return Err(Error::Unavailable(why));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(why, "the database does not answer; it is tried again for {CALL_MAX:?}");
            }
            self.clock.sleep(backoff.next(&self.chance)).await;
        }
    }

    async fn try_control<T>(
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

    async fn take_over(&self, cells: Vec<CellId>) -> Result<Vec<Opened>, Error> {
        self.begin_open(&cells).await?;
        let taken = self.with_control(|session| {
            let cells = cells.clone();
            Box::pin(async move { session.take_over(&cells).await })
        });
        let taken = taken.await.inspect_err(|_| self.not_changed(&cells))?;
        let mut state = self.state.lock();
        Ok(taken.into_iter().map(|taken| state.opened(taken)).collect())
    }

    async fn take_over_at(&self, cells: Vec<(CellId, Epoch)>) -> Result<Vec<Option<Opened>>, Error> {
        // What this journal has taken over since is not what it meant; only an attempt without an answer is.
        let asked: Vec<_> = {
            let state = self.state.lock();
            cells.iter().copied().filter(|(cell, epoch)| !state.tail.is_ours_since(*cell, *epoch)).collect()
        };
        let ids: Vec<CellId> = asked.iter().map(|(cell, _)| *cell).collect();
        self.begin_open(&ids).await?;
        let taken = self.with_control(|session| {
            let asked = asked.clone();
            Box::pin(async move { session.take_over_at(&asked).await })
        });
        let taken = taken.await.inspect_err(|_| self.not_changed(&ids))?;
        let opened: HashMap<CellId, Opened> = {
            let mut state = self.state.lock();
            taken.into_values().map(|taken| (taken.cell, state.opened(taken))).collect()
        };
        // The others are whose they were.
        let left: Vec<CellId> = ids.into_iter().filter(|id| !opened.contains_key(id)).collect();
        self.not_changed(&left);
        Ok(cells.iter().map(|(cell, _)| opened.get(cell).copied()).collect())
    }

    /// Nothing more is ordered in these cells, and what was is stored.
    async fn begin_open(&self, cells: &[CellId]) -> Result<(), Error> {
        self.state.lock().tail.begin_open(cells)?;
        self.wake.notify_one();
        self.all_stored(cells).await.inspect_err(|_| self.not_changed(cells))
    }

    async fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
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

    fn not_changed(&self, cells: &[CellId]) {
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
        self.clock.timeout(CALL_MAX, stored).await.map_err(|_| late())?
    }

    async fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
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

impl Journal for PostgresJournal {
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        let (shared, cells) = (self.shared.clone(), cells.to_vec());
        self.run(async move { shared.take_over(cells).await })
    }

    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        let (shared, cells) = (self.shared.clone(), cells.to_vec());
        self.run(async move { shared.take_over_at(cells).await })
    }

    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        let shared = self.shared.clone();
        self.run(async move { shared.release(cell, epoch).await })
    }

    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock();
        // Who is fenced or asks for too much hears that first, whether or not the server is there.
        state.tail.check_append(cell, epoch, record.len())?;
        state.check_link(now)?;
        let seq = state.tail.append(cell, epoch, record)?;
        drop(state);
        Ok(Pending::new(seq, Wait { shared: self.shared.clone(), cell, epoch, seq, hurries: true }))
    }

    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        let checked = self.shared.state.lock().tail.check_ordered(cell, epoch, seq);
        match checked {
            Ok(()) => Pending::new(seq, Wait { shared: self.shared.clone(), cell, epoch, seq, hurries: false }),
            Err(error) => Pending::new(seq, std::future::ready(Err(error))),
        }
    }

    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let shared = self.shared.clone();
        self.run(async move { shared.replay(cell, after).await })
    }

    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        self.shared.state.lock().tail.truncate(cell, through)?;
        self.shared.keep.notify_one();
        Ok(())
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        Box::pin(poll_fn(|cx| match self.shared.state.lock().tail.ended(cx.waker()) {
            Some(error) => Poll::Ready(error),
            None => Poll::Pending,
        }))
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        Box::pin(poll_fn(|cx| match self.shared.state.lock().tail.next_lost(cx.waker()) {
            Some(fenced) => Poll::Ready(fenced),
            None => Poll::Pending,
        }))
    }
}

impl Drop for PostgresJournal {
    /// Waits for what is queued, for as long as the server is there.
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.closing = true;
            state.tail.hurry();
        }
        self.shared.wake.notify_one();
        self.shared.close.notify_one();
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
