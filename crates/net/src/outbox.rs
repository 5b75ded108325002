//! Writes frames.
//!
//! There is one pen per connection. Whoever has something to send and finds the pen free takes it and writes at once, without waiting and
//! without a lock held meanwhile: a call that meets an idle connection is in the kernel before its task waits, and no other task had to
//! be woken for it. Whoever finds it taken leaves the frame in the queue, from which the next write takes all there is. If the socket
//! is full, the connection's task waits with the pen until it is not.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWrite,
    sync::{Notify, OwnedSemaphorePermit},
};

use crate::{
    Broken,
    frame::{HEADER_LEN, Header, Kind},
    metrics,
    wire::Sink,
};

/// Frames of one write; the kernel takes at most 1024 slices, and each frame has two.
const BATCH_MAX: usize = 64;

/// A frame to be written, with what is to be free again once it is.
pub(crate) struct Outgoing {
    header: Header,
    encoded: [u8; HEADER_LEN],
    body: Bytes,
    _held: Vec<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn new(kind: Kind, id: u64, body: Bytes, held: Vec<OwnedSemaphorePermit>) -> Self {
        let header = Header { kind, id, len: body.len() };
        Self { encoded: header.encode(), header, body, _held: held }
    }

    /// A frame that is a header only.
    pub(crate) fn bare(kind: Kind, id: u64) -> Self {
        Self::new(kind, id, Bytes::new(), Vec::new())
    }

    fn len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }
}

pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Tells the connection's task that there is something for it to do.
    wake: Notify,
    /// Whether a socket that was full took more: a sign of life of the other side.
    moved: AtomicBool,
}

struct State {
    queue: VecDeque<Outgoing>,
    /// Not here while somebody writes.
    pen: Option<Pen>,
    end: End,
}

enum End {
    Open,
    Failed(Broken),
    Closed,
}

/// The right to write.
struct Pen {
    sink: Sink,
    /// What is being written, and how much of the first of it has been.
    batch: VecDeque<Outgoing>,
    written: usize,
    /// All bytes that the sink has taken.
    accepted: u64,
    flushed: bool,
    /// Whether the socket was full. Then it is the connection's task that is to be woken, so nobody else may try.
    blocked: bool,
}

impl Outbox {
    pub(crate) fn new(sink: Sink) -> Self {
        let pen = Pen { sink, batch: VecDeque::new(), written: 0, accepted: 0, flushed: true, blocked: false };
        let state = State { queue: VecDeque::new(), pen: Some(pen), end: End::Open };
        Self { state: Mutex::new(state), wake: Notify::new(), moved: AtomicBool::new(false) }
    }

    /// Adds a frame behind the others. Once the connection is over it goes nowhere, as would one that was sent just before.
    pub(crate) fn push(&self, frame: Outgoing) {
        let mut state = self.state.lock();
        if matches!(state.end, End::Open) {
            state.queue.push_back(frame);
        }
    }

    /// Writes what is queued as far as that goes without waiting, unless somebody is writing already.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        let Some(mut pen) = state.take_pen(false) else { return };
        drop(state);
        let written = pen.write(&mut Context::from_waker(Waker::noop()));
        self.put_back(pen, written);
    }

    /// Writes at once what is `alone`; otherwise has the connection's task write a little later, together with what is queued until then.
    pub(crate) fn send(&self, alone: bool) {
        if alone {
            self.flush();
        } else {
            self.wake.notify_one();
        }
    }

    /// What the connection's task does beside reading. Ends when the connection is over.
    pub(crate) async fn run(&self) -> Broken {
        loop {
            self.wake.notified().await;
            // Tasks that can run now may add to the same write.
            tokio::task::yield_now().await;
            loop {
                let mut pen = {
                    let mut state = self.state.lock();
                    match &state.end {
                        End::Open => {}
                        End::Failed(broken) => return broken.clone(),
                        End::Closed => return Broken::Closed,
                    }
                    let Some(pen) = state.take_pen(true) else { break };
                    pen
                };
                let mut full_at = None;
                let written = poll_fn(|cx| {
                    let written = pen.write(cx);
                    if full_at.is_some_and(|full_at| full_at < pen.accepted) {
                        self.moved.store(true, Ordering::Relaxed);
                    }
                    full_at = Some(pen.accepted);
                    written
                });
                let written = written.await;
                self.put_back(pen, Poll::Ready(written));
            }
        }
    }

    /// How many frames wait.
    pub(crate) fn queued(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Ends the connection and says which calls were surely not sent.
    pub(crate) fn close(&self) -> Vec<u64> {
        let mut state = self.state.lock();
        state.end = End::Closed;
        let State { queue, pen, .. } = &mut *state;
        let batch = pen.iter_mut().flat_map(|pen| pen.batch.drain(..));
        let unsent = batch.chain(queue.drain(..)).map(|frame| frame.header.id).collect();
        self.wake.notify_one();
        unsent
    }

    /// Whether a socket that was full took more since the last time that this was asked.
    pub(crate) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }

    fn put_back(&self, mut pen: Pen, written: Poll<io::Result<()>>) {
        let mut state = self.state.lock();
        pen.blocked = written.is_pending();
        if let Poll::Ready(Err(error)) = written
            && matches!(state.end, End::Open)
        {
            state.end = End::Failed(error.into());
        }
        let has_work = pen.blocked || !state.queue.is_empty() || !matches!(state.end, End::Open);
        state.pen = Some(pen);
        if has_work {
            self.wake.notify_one();
        }
    }
}

impl State {
    /// The pen, with the next batch, if there is something to write and nobody else does.
    fn take_pen(&mut self, by_task: bool) -> Option<Pen> {
        let pen = self.pen.as_mut().filter(|pen| by_task || !pen.blocked)?;
        let room = BATCH_MAX.saturating_sub(pen.batch.len()).min(self.queue.len());
        pen.batch.extend(self.queue.drain(..room));
        if pen.batch.is_empty() && pen.flushed { None } else { self.pen.take() }
    }
}

impl Pen {
    /// Writes the batch. Frames leave it when the sink has taken all of them.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * BATCH_MAX];
            for (pair, frame) in slices.chunks_exact_mut(2).zip(&self.batch) {
                pair.copy_from_slice(&[IoSlice::new(&frame.encoded), IoSlice::new(&frame.body)]);
            }
            let mut slices = &mut slices[..2 * self.batch.len()];
            IoSlice::advance_slices(&mut slices, self.written);
            let count = ready!(Pin::new(&mut self.sink).poll_write_vectored(cx, slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            metrics::BYTES_SENT.increment(count as u64);
            self.flushed = false;
            self.accepted += count as u64;
            self.written += count;
            while let Some(frame) = self.batch.front()
                && self.written >= frame.len()
            {
                self.written -= frame.len();
                self.batch.pop_front();
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.sink).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
