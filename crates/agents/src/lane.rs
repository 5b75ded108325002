//! Messages for cells of other nodes: in order, one parcel on its way per pair of cells, until the other side has made
//! them durable.
//!
//! Always true: a lane that holds messages is not overtaken, also when its cell comes to this node meanwhile.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use stride_ids::{CellId, MessageId};

use crate::{
    cell::Cell,
    cells::Inside,
    elsewhere::{NotDone, Parcel},
    engine::{Engine, journal_failure},
    message::Envelope,
    record::Record,
};

/// How many bytes of messages go together, roughly.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// How long to wait before a parcel that was refused is sent again; twice as long each time.
const AGAIN: Duration = Duration::from_millis(20);
/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// The messages of one cell for another one.
#[derive(Default)]
pub(crate) struct Lane {
    waiting: VecDeque<(MessageId, Envelope)>,
    /// A task is sending them.
    busy: bool,
}

impl Lane {
    /// Adds messages behind those that wait.
    pub(crate) fn add(&mut self, messages: impl IntoIterator<Item = (MessageId, Envelope)>) {
        self.waiting.extend(messages);
    }

    /// Puts messages back before those that wait.
    fn put_back(&mut self, messages: Vec<(MessageId, Envelope)>) {
        for message in messages.into_iter().rev() {
            self.waiting.push_front(message);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.busy
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn next_batch(&mut self) -> Vec<(MessageId, Envelope)> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((_, envelope)) = self.waiting.front() {
            let len = envelope.message.input.body.len();
            if bytes + len > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            bytes += len;
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

impl Engine {
    /// Sees to it that the messages of `cell` for `to` are on their way.
    pub(crate) fn send_soon(self: &Arc<Self>, cell: &Arc<Cell>, to: CellId) {
        let begins = match cell.lanes.lock().get_mut(&to) {
            Some(lane) if !lane.waiting.is_empty() => !std::mem::replace(&mut lane.busy, true),
            _ => false,
        };
        if begins {
            self.tasks.spawn(send(Arc::downgrade(self), cell.clone(), to));
        }
    }

    /// Has one parcel become durable in its cell, wherever that is.
    async fn send_parcel(self: &Arc<Self>, parcel: Parcel) -> Result<(), NotDone> {
        if self.cells.get(parcel.to).is_some() {
            return self.deliver_here(parcel).await;
        }
        match &self.cluster {
            Some(cluster) => {
                // Never closed, so there is always a permit in the end.
                let _permit = self.parcels.acquire().await;
                cluster.elsewhere.deliver(parcel).await
            }
            None => Err(NotDone::NotHere),
        }
    }

    /// Takes messages that another node has sent; they are durable when this returns.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if this node does not own the cell. Whatever it is, they may be sent again.
    pub async fn deliver_here(self: &Arc<Self>, parcel: Parcel) -> Result<(), NotDone> {
        let inside = self.cells.get(parcel.to).and_then(|cell| Inside::enter(cell, false)).ok_or(NotDone::NotHere)?;
        let seq = self.take_in(parcel.from, &inside, &parcel.messages)?;
        let receipt = inside.settled(&*self.journal, seq).await.map_err(|e| journal_failure(&e))?;
        self.settle(&inside, &receipt);
        Ok(())
    }

    /// Forgets messages that are durable elsewhere. Not waited for: if that is lost, they are delivered again and not
    /// taken again.
    pub(crate) fn note_delivered(self: &Arc<Self>, cell: &Arc<Cell>, ids: Vec<MessageId>) {
        if ids.is_empty() {
            return;
        }
        match self.append(cell, &Record::Delivered(ids)) {
            Ok(pending) => pending.unhurried(),
            Err(failure) => {
                tracing::debug!(cell = %cell.id, %failure, "messages are delivered again, and not taken again");
            }
        }
    }
}

/// Sends what is in a lane until it is empty, or its cell is given up: then the next owner sends it.
async fn send(engine: Weak<Engine>, cell: Arc<Cell>, to: CellId) {
    let mut wait = AGAIN;
    loop {
        // An engine that nobody has any more can end between two parcels.
        let Some(engine) = engine.upgrade() else { return };
        let batch = {
            let closed = cell.is_closed();
            let mut lanes = cell.lanes.lock();
            let batch = lanes.get_mut(&to).filter(|_| !closed).map(Lane::next_batch).unwrap_or_default();
            if batch.is_empty() {
                lanes.remove(&to);
                return;
            }
            batch
        };
        let ids: Vec<MessageId> = batch.iter().map(|(id, _)| *id).collect();
        let failure = match engine.send_parcel(Parcel { from: cell.id, to, messages: batch.clone() }).await {
            Ok(()) => {
                wait = AGAIN;
                engine.note_delivered(&cell, ids);
                continue;
            }
            Err(failure) => failure,
        };
        tracing::debug!(?failure, from = %cell.id, %to, "messages wait to be delivered");
        cell.lanes.lock().entry(to).or_default().put_back(batch);
        let waits = engine.clock.clone();
        let jitter = engine.chance.below(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        drop(engine);
        waits.sleep(wait / 2 + Duration::from_millis(jitter)).await;
        wait = (wait * 2).min(AGAIN_MAX);
    }
}
