//! Messages that are durable in their cell, on their way to other cells: gathered by where they go, so that what many cells
//! have for one cell becomes one record there, and what they have for one node becomes one call.
//!
//! Always true: the messages of a pair of cells leave in the order of their ids, one batch at a time; and they leave for another
//! node only while the cell they are for is not here. What it had taken and could not make durable is back in its lane by then,
//! before any later one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use stride_ids::{CellId, MessageId, Name};

use crate::{
    cell::Cell,
    elsewhere::{NotDone, Parcel},
    engine::Engine,
    message::Envelope,
};

/// How many bytes of messages go together, roughly.
const BATCH_BYTES: usize = 1 << 20;
/// What a message costs beside its input, roughly.
const MESSAGE_OVERHEAD: usize = 128;
/// How long to wait before messages that were refused are sent again; twice as long each time.
const AGAIN: Duration = Duration::from_millis(20);
/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// Messages and their ids, in order.
pub(crate) type Messages = Vec<(MessageId, Envelope)>;

/// The messages of one cell for another one.
#[derive(Default)]
pub(crate) struct Lane {
    waiting: BTreeMap<MessageId, Envelope>,
    /// Somebody sees to it that they leave.
    busy: bool,
    refusals: u32,
}

impl Lane {
    /// Adds messages, each where its id belongs.
    pub(crate) fn add(&mut self, messages: impl IntoIterator<Item = (MessageId, Envelope)>) {
        self.waiting.extend(messages);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the first messages, as many as fit beside `bytes` that go along. Where nothing does yet, one always fits.
    fn take(&mut self, bytes: &mut usize) -> Messages {
        let mut taken = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let len = first.get().message.input.body.len() + MESSAGE_OVERHEAD;
            if *bytes > 0 && *bytes + len > BATCH_BYTES {
                break;
            }
            *bytes += len;
            taken.push(first.remove_entry());
        }
        taken
    }

    /// How long to wait after one more refusal.
    fn refused(&mut self) -> Duration {
        let wait = AGAIN.saturating_mul(1 << self.refusals.min(16)).min(AGAIN_MAX);
        self.refusals += 1;
        wait
    }
}

/// A lane, and somebody who sees to it that its messages leave.
pub(crate) struct Pair {
    from: Arc<Cell>,
    to: CellId,
}

impl Pair {
    /// Takes messages out of the lane; none if their cell was given up: then its next owner sends them.
    fn take(&self, bytes: &mut usize) -> Messages {
        let closed = self.from.is_closed();
        let mut lanes = self.from.lanes.lock();
        if closed {
            lanes.remove(&self.to);
        }
        lanes.get_mut(&self.to).map(|lane| lane.take(bytes)).unwrap_or_default()
    }

    fn put_back(&self, messages: Messages) -> Duration {
        let mut lanes = self.from.lanes.lock();
        let lane = lanes.entry(self.to).or_default();
        lane.add(messages);
        lane.refused()
    }
}

/// The lanes that have something to send and that nobody sends yet, by the cell that it is for.
#[derive(Default)]
pub(crate) struct Departures {
    ready: BTreeMap<CellId, Vec<Arc<Cell>>>,
    /// A task sees them off.
    running: bool,
}

impl Departures {
    /// What is ready; if that is nothing, the task that asks ends.
    fn take(&mut self) -> Option<BTreeMap<CellId, Vec<Arc<Cell>>>> {
        self.running = !self.ready.is_empty();
        self.running.then(|| std::mem::take(&mut self.ready))
    }
}

impl Engine {
    /// Sees to it that the messages of `cell` for `to` leave.
    pub(crate) fn send_soon(self: &Arc<Self>, cell: &Arc<Cell>, to: CellId) {
        let begins = match cell.lanes.lock().get_mut(&to) {
            Some(lane) if !lane.waiting.is_empty() => !std::mem::replace(&mut lane.busy, true),
            _ => false,
        };
        if !begins {
            return;
        }
        let runs = {
            let mut departures = self.departures.lock();
            departures.ready.entry(to).or_default().push(cell.clone());
            std::mem::replace(&mut departures.running, true)
        };
        if !runs {
            self.tasks.spawn(depart(Arc::downgrade(self)));
        }
    }

    /// Sees these messages off, each to where its cell is now.
    fn see_off(self: &Arc<Self>, ready: BTreeMap<CellId, Vec<Arc<Cell>>>) {
        let mut away: BTreeMap<Option<Name>, Vec<Pair>> = BTreeMap::new();
        for (to, cells) in ready {
            let pairs = cells.into_iter().map(|from| Pair { from, to }).collect();
            match self.cells.get(to) {
                Some(here) => self.hand_over(&here, pairs),
                None => {
                    let owner = self.cluster.as_ref().and_then(|cluster| cluster.elsewhere.owner(to));
                    away.entry(owner).or_default().extend(pairs);
                }
            }
        }
        for pairs in away.into_values() {
            self.tasks.spawn(send(Arc::downgrade(self), pairs));
        }
    }

    /// Has a cell of this engine take what others have for it, with one record.
    fn hand_over(self: &Arc<Self>, to: &Arc<Cell>, mut pairs: Vec<Pair>) {
        // In one order, as all are locked at once. Until what was taken is noted, nobody concludes what became of it.
        pairs.sort_by_key(|pair| pair.from.id);
        let in_order: Vec<_> = pairs.iter().map(|pair| pair.from.delivering.lock()).collect();
        let mut bytes = 0;
        let batches: Vec<_> = pairs.iter().map(|pair| (pair.from.id, pair.take(&mut bytes))).collect();
        let taken = self.take_in(to, batches.iter().map(|(from, messages)| (*from, messages.as_slice())));
        let refused = match taken {
            Ok(seq) => {
                for (pair, (_, messages)) in pairs.iter().zip(&batches) {
                    pair.from.note_accepted(to, seq, messages.iter().map(|(id, _)| *id));
                }
                None
            }
            Err(failure) => {
                tracing::warn!(%failure, to = %to.id, "messages wait to be delivered");
                pairs.iter().zip(batches).map(|(pair, (_, messages))| pair.put_back(messages)).max()
            }
        };
        drop(in_order);
        match refused {
            None => pairs.iter().for_each(|pair| self.sent(pair)),
            Some(wait) => self.send_again(pairs, wait),
        }
    }

    /// A batch of this lane has arrived; what came meanwhile follows.
    fn sent(self: &Arc<Self>, pair: &Pair) {
        {
            let mut lanes = pair.from.lanes.lock();
            let Some(lane) = lanes.get_mut(&pair.to) else { return };
            (lane.busy, lane.refusals) = (false, 0);
            if lane.waiting.is_empty() {
                lanes.remove(&pair.to);
                return;
            }
        }
        self.send_soon(&pair.from, pair.to);
    }

    /// What these lanes have is sent again after a while.
    fn send_again(self: &Arc<Self>, pairs: Vec<Pair>, wait: Duration) {
        let jitter = self.chance.below(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        let wait = wait / 2 + Duration::from_millis(jitter);
        let (engine, clock) = (Arc::downgrade(self), self.clock.clone());
        self.tasks.spawn(async move {
            clock.sleep(wait).await;
            let Some(engine) = engine.upgrade() else { return };
            for Pair { from, to } in pairs {
                if let Some(lane) = from.lanes.lock().get_mut(&to) {
                    lane.busy = false;
                }
                engine.send_soon(&from, to);
            }
        });
    }

    /// Takes messages out of lanes for one call to whoever owns the cells they are for.
    fn pack(self: &Arc<Self>, pairs: Vec<Pair>) -> (Vec<Pair>, Vec<Parcel>) {
        let (mut sending, mut parcels, mut bytes) = (Vec::new(), Vec::new(), 0);
        for pair in pairs {
            // First looked at, then taken: see the head of this file.
            let messages = if self.cells.get(pair.to).is_none() { pair.take(&mut bytes) } else { Vec::new() };
            if messages.is_empty() {
                self.sent(&pair);
                continue;
            }
            parcels.push(Parcel { from: pair.from.id, to: pair.to, messages });
            sending.push(pair);
        }
        (sending, parcels)
    }

    async fn send_parcels(&self, parcels: &[Parcel]) -> Vec<Result<(), NotDone>> {
        match &self.cluster {
            Some(cluster) => cluster.elsewhere.deliver(parcels).await,
            None => parcels.iter().map(|_| Err(NotDone::NotHere)).collect(),
        }
    }

    /// What became of a call: what is durable there is forgotten here, and the rest is sent again.
    fn conclude_call(
        self: &Arc<Self>,
        pairs: Vec<Pair>,
        parcels: Vec<Parcel>,
        outcomes: impl IntoIterator<Item = Result<(), NotDone>>,
    ) {
        let mut refused = Vec::new();
        let mut longest = Duration::ZERO;
        for ((pair, parcel), outcome) in pairs.into_iter().zip(parcels).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    pair.from.delivered.lock().extend(parcel.messages.into_iter().map(|(id, _)| id));
                    self.sent(&pair);
                }
                Err(failure) => {
                    tracing::debug!(?failure, from = %pair.from.id, to = %pair.to, "messages wait to be delivered");
                    longest = longest.max(pair.put_back(parcel.messages));
                    refused.push(pair);
                }
            }
        }
        if !refused.is_empty() {
            self.send_again(refused, longest);
        }
    }
}

/// Sees off what is ready, until nothing is.
async fn depart(engine: Weak<Engine>) {
    loop {
        // Whoever can run runs first: what they send goes along.
        tokio::task::yield_now().await;
        let Some(engine) = engine.upgrade() else { return };
        let Some(ready) = engine.departures.lock().take() else { return };
        engine.see_off(ready);
    }
}

/// Sends what is in some lanes with one call.
async fn send(engine: Weak<Engine>, pairs: Vec<Pair>) {
    let Some(engine) = engine.upgrade() else { return };
    // Never closed, so there is always a permit in the end.
    let _permit = engine.parcels.acquire().await;
    let (pairs, parcels) = engine.pack(pairs);
    if parcels.is_empty() {
        return;
    }
    let mut outcomes = engine.send_parcels(&parcels).await;
    // Another release may have said less.
    outcomes.resize(parcels.len(), Err(NotDone::NotHere));
    engine.conclude_call(pairs, parcels, outcomes);
}
