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

use stride_ids::{Address, CellId, Failure, MessageId};
use stride_journal::Receipt;

use crate::{
    cell::{AcceptedElsewhere, Cell},
    engine::{Engine, journal_failure},
    message::Envelope,
    order::Ordered,
    record::{Accept, Record},
    turn::Held,
};

/// How many bytes of messages go into one record, roughly.
const BATCH_BYTES: usize = 1 << 20;

impl Engine {
    /// Hands the messages that a receipt releases to their cells.
    pub(crate) fn deliver(self: &Arc<Self>, cell: &Cell, receipt: &Receipt) {
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
            for batch in batches(messages) {
                // What one cell refuses goes back in order; the next receipt or the next pass tries again.
                if refused.last().is_some_and(|(cell, _)| *cell == to) {
                    refused.push((to, batch));
                } else if let Err((failure, batch)) = self.accept(cell, &self.cells[usize::from(to.0)], batch) {
                    tracing::warn!(%failure, from = %cell.id, %to, "messages wait to be delivered");
                    refused.push((to, batch));
                }
            }
        }
        let mut refused: Vec<_> = refused.into_iter().flat_map(|(_, batch)| batch).collect();
        refused.sort_by_key(|(id, _)| *id);
        let mut outbox = cell.outbox.lock();
        for (id, envelope) in refused.into_iter().rev() {
            outbox.push_front(Held::until(cell.id, id.record, (id, envelope)));
        }
    }

    /// Takes messages of another cell into `to`, leaving out those that it has already.
    fn accept(
        self: &Arc<Self>,
        from: &Cell,
        to: &Cell,
        batch: Vec<(MessageId, Envelope)>,
    ) -> Result<(), (Failure, Vec<(MessageId, Envelope)>)> {
        let ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
        let (seq, woken) = {
            let mut tail = to.tail.lock();
            let newest = tail.received.get(&from.id).copied();
            let new = batch.iter().filter(|(id, _)| newest.is_none_or(|newest| *id > newest));
            let messages: Vec<_> = new.map(|(_, envelope)| envelope.clone()).collect();
            match ids.last() {
                Some(last) if !messages.is_empty() => {
                    let record = Record::Accept(Accept { from: Some((from.id, *last)), messages, reply: None });
                    match self.order(to, &mut tail, &record) {
                        Ok(Ordered { pending, woken }) => {
                            let seq = pending.seq();
                            // The turns that handle them bring it along; and until it is durable, the sender has them.
                            pending.unhurried();
                            (seq, woken)
                        }
                        Err(failure) => return Err((failure, batch)),
                    }
                }
                _ => (tail.last, Vec::new()),
            }
        };
        self.wake_all(to, woken);
        from.accepted.lock().push(AcceptedElsewhere { cell: to.id, seq, ids });
        Ok(())
    }

    /// Brings everything that is ordered in a cell to disk, and lets go what that releases, beside its callers.
    pub(crate) fn flush_soon(self: &Arc<Self>, cell: &Cell) {
        if !cell.flushed.swap(true, Ordering::AcqRel) {
            self.tasks.spawn(self.clone().flush(cell.id));
        }
    }

    async fn flush(self: Arc<Self>, id: CellId) {
        let cell = &self.cells[usize::from(id.0)];
        loop {
            let last = cell.tail.lock().last;
            match cell.settled(&*self.journal, last).await {
                Ok(receipt) => self.settle(cell, &receipt),
                // The node ends; whoever owns the cell next goes on.
                Err(error) => {
                    tracing::debug!(cell = %id, %error, "nothing leaves this cell any more");
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
        for cell in &self.cells {
            self.deliver(cell, &cell.receipt());
            let accepted = std::mem::take(&mut *cell.accepted.lock());
            let (mut ids, mut unsettled, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
            for there in accepted {
                match self.cells[usize::from(there.cell.0)].settled(&*self.journal, there.seq).await {
                    Ok(_) => ids.extend(there.ids),
                    Err(error) => {
                        outcome = Err(journal_failure(&error));
                        unsettled.push(there);
                    }
                }
            }
            cell.accepted.lock().extend(unsettled);
            if !ids.is_empty() {
                // Not waited for: if it is lost, they are delivered again and not taken again.
                self.append(cell, &Record::Delivered(ids))?.unhurried();
            }
            outcome?;
        }
        Ok(())
    }

    /// Starts to work through the messages of agents.
    pub(crate) fn wake_all(self: &Arc<Self>, cell: &Cell, agents: Vec<Address>) {
        for agent in agents {
            self.tasks.spawn(self.clone().drain(cell.id, agent));
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
