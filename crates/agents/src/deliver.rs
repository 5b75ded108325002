//! Messages on their way: out of a cell once they are durable there, into another one, and forgotten once they are
//! durable there as well.
//!
//! Exactly once follows from three facts: a message is a row of its sender's cell from the commit that sent it until the
//! receiving cell confirmed it; between two cells messages travel in the order of their ids; and the receiving cell
//! keeps, in the same record as the messages, the last id that it took, and takes nothing up to it again.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use stride_ids::{Address, CellId, Epoch, Failure, MessageId, Seq};
use stride_journal::Receipt;
use stride_store::RowKey;

use crate::{
    cell::{AcceptedElsewhere, Cell},
    engine::{Engine, journal_failure, store_failure, unreadable},
    held::Held,
    lane::{BATCH_BYTES, Lane},
    message::Envelope,
    order::Ordered,
    record::{Accept, Record},
};

impl Engine {
    /// Hands the messages that a receipt releases to their cells.
    pub(crate) fn deliver(self: &Arc<Self>, cell: &Arc<Cell>, receipt: &Receipt) {
        let ready = |held: &Held<(MessageId, Envelope)>| held.opens_with(receipt);
        if !cell.outbox.lock().front().is_some_and(ready) {
            return;
        }
        let _in_order = cell.delivering.lock();
        let mut by_cell: BTreeMap<CellId, Vec<(MessageId, Envelope)>> = BTreeMap::new();
        {
            let mut outbox = cell.outbox.lock();
            while outbox.front().is_some_and(ready) {
                let Some(held) = outbox.pop_front() else { break };
                let (id, envelope) = held.release(receipt);
                by_cell.entry(envelope.to.cell(self.settings.cells)).or_default().push((id, envelope));
            }
        }
        let mut refused = Vec::new();
        for (to, messages) in by_cell {
            refused.extend(self.deliver_to(cell, to, messages));
        }
        refused.sort_by_key(|(id, _)| *id);
        let mut outbox = cell.outbox.lock();
        for (id, envelope) in refused.into_iter().rev() {
            outbox.push_front(Held::until(cell.id, id.record, (id, envelope)));
        }
    }

    /// Hands messages to a cell, or to the lane that leads there. What the cell refuses comes back, in order; the next
    /// receipt or the next pass tries again. To be called with `delivering` held.
    fn deliver_to(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        to: CellId,
        messages: Vec<(MessageId, Envelope)>,
    ) -> Vec<(MessageId, Envelope)> {
        let idle = cell.lanes.lock().get(&to).is_none_or(Lane::is_idle);
        let Some(here) = self.cells.get(to).filter(|_| idle) else {
            cell.lanes.lock().entry(to).or_default().add(messages);
            self.send_soon(cell, to);
            return Vec::new();
        };
        let mut batches = batches(messages).into_iter();
        for batch in batches.by_ref() {
            match self.take_in(cell.id, &here, &batch) {
                Ok(seq) => {
                    let ids = batch.iter().map(|(id, _)| *id).collect();
                    cell.accepted.lock().push(AcceptedElsewhere { cell: to, epoch: here.epoch, seq, ids });
                }
                Err(failure) => {
                    tracing::warn!(%failure, from = %cell.id, %to, "messages wait to be delivered");
                    return std::iter::once(batch).chain(batches).flatten().collect();
                }
            }
        }
        Vec::new()
    }

    /// Takes messages of another cell into `to`, leaving out those that it has already. The record that has to be durable
    /// before they can be forgotten there.
    pub(crate) fn take_in(
        self: &Arc<Self>,
        from: CellId,
        to: &Arc<Cell>,
        batch: &[(MessageId, Envelope)],
    ) -> Result<Seq, Failure> {
        let (seq, woken) = {
            let mut tail = to.tail.lock();
            let newest = tail.received.get(&from).copied();
            let new = batch.iter().filter(|(id, _)| newest.is_none_or(|newest| *id > newest));
            let messages: Vec<_> = new.map(|(_, envelope)| envelope.clone()).collect();
            match batch.last() {
                Some((last, _)) if !messages.is_empty() => {
                    let record = Record::Accept(Accept { from: Some((from, *last)), messages, reply: None });
                    let Ordered { pending, woken } = self.order(to, &mut tail, &record)?;
                    let seq = pending.seq();
                    // The turns that handle them bring it along; and until it is durable, the sender has them.
                    pending.unhurried();
                    (seq, woken)
                }
                _ => (tail.last, Vec::new()),
            }
        };
        self.wake_all(to, woken);
        Ok(seq)
    }

    /// What became of messages that cells of this engine had handed to one that it gives up: if they are durable there they
    /// are forgotten here, else they are on their way again, before any later one.
    pub(crate) fn conclude(self: &Arc<Self>, to: &Cell, durable: bool) {
        for cell in self.cells.owned() {
            let _in_order = cell.delivering.lock();
            let there: Vec<_> = {
                let mut accepted = cell.accepted.lock();
                accepted.extract_if(.., |there| there.cell == to.id && there.epoch == to.epoch).collect()
            };
            let ids: Vec<MessageId> = there.into_iter().flat_map(|there| there.ids).collect();
            if ids.is_empty() {
                continue;
            }
            if durable {
                self.note_delivered(&cell, ids);
                continue;
            }
            match self.outbox_rows(&cell, &ids) {
                Ok(messages) => cell.lanes.lock().entry(to.id).or_default().add(messages),
                // They stay rows of the outbox, which whoever owns this cell next sends.
                Err(failure) => {
                    tracing::error!(%failure, from = %cell.id, to = %to.id, "messages cannot be read; this cell is given up");
                    cell.tail.lock().closed = true;
                }
            }
            self.send_soon(&cell, to.id);
        }
    }

    /// The messages of a cell's outbox with these ids.
    fn outbox_rows(&self, cell: &Cell, ids: &[MessageId]) -> Result<Vec<(MessageId, Envelope)>, Failure> {
        let mut messages = Vec::new();
        for id in ids {
            let row = self.store.get(&RowKey::Outbox(cell.id, *id)).map_err(|e| store_failure(&e))?;
            if let Some(bytes) = row {
                messages.push((*id, Envelope::decode(&bytes).map_err(|e| unreadable(&e))?));
            }
        }
        Ok(messages)
    }

    /// Brings everything that is ordered in a cell to disk, and lets go what that releases, beside its callers.
    pub(crate) fn flush_soon(self: &Arc<Self>, cell: &Arc<Cell>) {
        if !cell.flushed.swap(true, Ordering::AcqRel) {
            self.tasks.spawn(self.clone().flush(cell.clone()));
        }
    }

    async fn flush(self: Arc<Self>, cell: Arc<Cell>) {
        loop {
            let last = cell.tail.lock().last;
            match cell.settled(&*self.journal, last).await {
                Ok(receipt) => self.settle(&cell, &receipt),
                // Whoever owns the cell next goes on.
                Err(error) => {
                    tracing::debug!(cell = %cell.id, %error, "nothing leaves this cell any more");
                    return;
                }
            }
            // First down, then looked at again: whoever orders something in between starts the next one.
            cell.flushed.store(false, Ordering::Release);
            if cell.tail.lock().last == last || cell.flushed.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// Forgets the messages that are durable in other cells.
    ///
    /// # Errors
    /// Nothing is lost; the next pass tries again.
    pub(crate) async fn confirm(self: &Arc<Self>) -> Result<(), Failure> {
        for cell in self.cells.owned() {
            self.deliver(&cell, &cell.receipt());
            // Those that are given up meanwhile are concluded by whoever gives their cell up, so they stay in the list.
            let mut ends: BTreeMap<(CellId, Epoch), Seq> = BTreeMap::new();
            for there in cell.accepted.lock().iter() {
                let end = ends.entry((there.cell, there.epoch)).or_default();
                *end = there.seq.max(*end);
            }
            for ((id, epoch), seq) in ends {
                let Some(to) = self.cells.get(id).filter(|to| to.epoch == epoch) else { continue };
                to.settled(&*self.journal, seq).await.map_err(|e| journal_failure(&e))?;
                let durable =
                    |there: &mut AcceptedElsewhere| (there.cell, there.epoch) == (id, epoch) && there.seq <= seq;
                let there: Vec<_> = cell.accepted.lock().extract_if(.., durable).collect();
                self.note_delivered(&cell, there.into_iter().flat_map(|there| there.ids).collect());
            }
        }
        Ok(())
    }

    /// Starts to work through the messages of agents.
    pub(crate) fn wake_all(self: &Arc<Self>, cell: &Arc<Cell>, agents: Vec<Address>) {
        for agent in agents {
            self.tasks.spawn(self.clone().drain(cell.clone(), agent));
        }
    }
}

/// Messages in groups of about the size of a record.
fn batches(messages: Vec<(MessageId, Envelope)>) -> Vec<Vec<(MessageId, Envelope)>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for message in messages {
        let len = message.1.message.input.body.len();
        if bytes + len > BATCH_BYTES && bytes > 0 {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(batch) = batches.last_mut() {
            batch.push(message);
        }
    }
    batches
}
