//! A connection to a peer, with the calls that are in flight on it.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_sim::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    Broken, CallError, Malformed, Part, Service, Settings, Why,
    frame::{Header, Kind, Refusal},
    inbox::Inbox,
    outbox::{Outbox, Outgoing},
    wire::{Sink, Source},
};

/// How often the peer is asked for a sign of life.
pub(crate) const TICK: Duration = Duration::from_millis(400);
/// A peer that gave none in so many ticks is gone. Ticks are counted and not time, so that a node that was stopped itself for a while
/// does not take its peers for dead.
const SILENT_TICKS_MAX: u32 = 4;
/// How much of bodies may wait to be written; callers wait for room.
const UNSENT_KIB_MAX: usize = 64 << 10;
/// With more calls in flight than this, several are written together, which costs each of them a moment and saves all of them CPU.
pub(crate) const ALONE_MAX: usize = 4;

pub(crate) struct Link {
    outbox: Outbox,
    calls: Mutex<Calls>,
    calls_max: usize,
    room: Arc<Semaphore>,
}

struct Calls {
    /// Whether new calls may begin.
    open: bool,
    newest: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

type Answer = Result<Bytes, CallError>;

/// A call without an answer.
pub(crate) enum Unanswered {
    /// The connection takes no new calls: the body goes back, for another connection.
    Over(Bytes),
    /// It failed.
    Failed(CallError),
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

impl Link {
    pub(crate) fn new(sink: Sink, settings: &Settings) -> Self {
        let calls = Calls { open: true, newest: 0, waiting: HashMap::new() };
        Self {
            outbox: Outbox::new(sink),
            calls: Mutex::new(calls),
            calls_max: settings.calls_per_connection_max,
            room: Arc::new(Semaphore::new(UNSENT_KIB_MAX)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.calls.lock().open
    }

    /// Calls, until the clock says `until`.
    pub(crate) async fn call(
        &self,
        clock: &Clock,
        service: Service,
        body: Bytes,
        until: Duration,
    ) -> Result<Bytes, Unanswered> {
        let left = || until.saturating_sub(clock.now());
        let kib = u32::try_from(body.len() >> 10).unwrap_or(u32::MAX);
        let room = clock.timeout(left(), self.room.clone().acquire_many_owned(kib)).await;
        let room = room.map_err(|_| CallError::NotSent(Why::NoTime))?.expect("nobody closes this semaphore");
        let (id, answer) = self.begin(service, body, left(), room)?;
        let _forget = Forget { link: self, id };
        match clock.timeout(left(), answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            // The connection's task never ends without an answer for everybody, unless its runtime ends.
            Ok(Err(_)) => Err(CallError::NoAnswer(Why::Lost(Broken::Closed)).into()),
            Err(_) => Err(CallError::Late.into()),
        }
    }

    fn begin(
        &self,
        service: Service,
        body: Bytes,
        deadline: Duration,
        room: OwnedSemaphorePermit,
    ) -> Result<(u64, oneshot::Receiver<Answer>), Unanswered> {
        let mut calls = self.calls.lock();
        if !calls.open {
            return Err(Unanswered::Over(body));
        }
        if calls.waiting.len() >= self.calls_max {
            return Err(CallError::Overloaded.into());
        }
        let (sender, receiver) = oneshot::channel();
        calls.newest += 1;
        let id = calls.newest;
        calls.waiting.insert(id, sender);
        let alone = calls.waiting.len() <= ALONE_MAX;
        // With the lock held, so that calls are on the wire in the order of their ids.
        self.outbox.push(Outgoing::new(Kind::Call { service, deadline }, id, body, vec![room]));
        drop(calls);
        self.outbox.send(alone);
        Ok((id, receiver))
    }

    /// Reads, writes what could not be written at once, and looks after the connection, until it is over.
    pub(crate) async fn run(&self, source: Source, clock: &Clock, idle_max: Duration) -> Broken {
        let read = async { self.read(Inbox::new(source), clock, idle_max).await.err().unwrap_or(Broken::Closed) };
        let broken = tokio::select! {
            broken = read => broken,
            broken = self.outbox.run() => broken,
        };
        let waiting = {
            let mut calls = self.calls.lock();
            calls.open = false;
            std::mem::take(&mut calls.waiting)
        };
        let unsent = self.outbox.close();
        for (id, caller) in waiting {
            let why = Why::Lost(broken.clone());
            let error = if unsent.contains(&id) { CallError::NotSent(why) } else { CallError::NoAnswer(why) };
            // Whoever has given up is not told.
            let _ = caller.send(Err(error));
        }
        broken
    }

    /// Ends the connection, on which nobody waits any more.
    pub(crate) fn leave(&self) {
        self.calls.lock().open = false;
        self.outbox.close();
    }

    /// Ends well when the connection is of no more use.
    async fn read(&self, mut inbox: Inbox, clock: &Clock, idle_max: Duration) -> Result<(), Broken> {
        let mut tick = pin!(clock.sleep(TICK));
        let (mut silent, mut idle, mut newest) = (0, Duration::ZERO, 0);
        loop {
            tokio::select! {
                biased;
                frame = inbox.next() => {
                    let (header, body) = frame?;
                    self.take(header, body)?;
                    if self.is_done() {
                        return Ok(());
                    }
                }
                () = &mut tick => {
                    tick.set(clock.sleep(TICK));
                    let heard = inbox.take_heard() | self.outbox.take_moved();
                    silent = if heard { 0 } else { silent + 1 };
                    if silent >= SILENT_TICKS_MAX {
                        return Err(Broken::Silent);
                    }
                    let mut calls = self.calls.lock();
                    let called = !calls.waiting.is_empty() || calls.newest != newest;
                    newest = calls.newest;
                    idle = if called { Duration::ZERO } else { idle + TICK };
                    if idle >= idle_max {
                        calls.open = false;
                        return Ok(());
                    }
                    drop(calls);
                    self.outbox.push(Outgoing::bare(Kind::Ping, 0));
                    self.outbox.flush();
                }
            }
        }
    }

    fn take(&self, header: Header, body: Bytes) -> Result<(), Broken> {
        let answer = match header.kind {
            Kind::Answer => Ok(body),
            Kind::Refusal(refusal) => Err(refusal.into()),
            Kind::Pong => return Ok(()),
            Kind::Goodbye => {
                self.part(header.id);
                return Ok(());
            }
            Kind::Call { .. } | Kind::Ping => return Err(Malformed::Direction.into()),
        };
        // A call that nobody waits for any more was late.
        if let Some(caller) = self.calls.lock().waiting.remove(&header.id) {
            let _ = caller.send(answer);
        }
        Ok(())
    }

    /// The peer is about to end: it answers the calls up to `last`, and begins no other.
    fn part(&self, last: u64) {
        let mut calls = self.calls.lock();
        calls.open = false;
        for (_, caller) in calls.waiting.extract_if(|id, _| *id > last) {
            let _ = caller.send(Err(CallError::NotSent(Why::Leaving)));
        }
    }

    fn is_done(&self) -> bool {
        let calls = self.calls.lock();
        !calls.open && calls.waiting.is_empty()
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Overloaded => Self::Overloaded,
            Refusal::NotServed => Self::NotSent(Why::NotServed),
            Refusal::Late => Self::Late,
            Refusal::AnswerTooLarge => Self::TooLarge(Part::Answer),
            Refusal::Failed => Self::NoAnswer(Why::Failed),
        }
    }
}

/// Forgets a call whose caller is gone.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.calls.lock().waiting.remove(&self.id);
    }
}
