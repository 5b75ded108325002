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

use futures::future::join_all;
use stride_ids::{Address, CellId, Epoch, Failure, MessageId, Seq};
use stride_journal::Receipt;
use stride_store::RowKey;

use crate::{
    cell::{AcceptedElsewhere, Cell},
    cells::Inside,
    elsewhere::{NotDone, Parcel},
    engine::{Engine, journal_failure, store_failure, unreadable},
    held::Held,
    message::Envelope,
    order::{Ordered, on_its_way},
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
                by_cell.entry(self.cell_id(&envelope.to)).or_default().push((id, envelope));
            }
        }
        for (to, messages) in by_cell {
            cell.lanes.lock().entry(to).or_default().add(messages);
            self.send_soon(cell, to);
        }
    }

    /// Takes messages of other cells into `to`, leaving out those that it has already. The record that has to be durable
    /// before they can be forgotten there.
    pub(crate) fn take_in<'a>(
        self: &Arc<Self>,
        to: &Arc<Cell>,
        batches: impl Iterator<Item = (CellId, &'a [(MessageId, Envelope)])>,
    ) -> Result<Seq, Failure> {
        let (seq, woken) = {
            let mut tail = to.tail.lock();
            let mut accept = Accept::default();
            for (from, batch) in batches {
                let newest = tail.received.get(&from).copied();
                let before = accept.messages.len();
                let new = batch.iter().filter(|(id, _)| newest.is_none_or(|newest| *id > newest));
                accept.messages.extend(new.map(|(_, envelope)| envelope.clone()));
                if let Some((last, _)) = batch.last().filter(|_| accept.messages.len() > before) {
                    accept.from.push((from, *last));
                }
            }
            // Whoever sent them knows the rule of a type that this node has not heard of yet.
            if accept.messages.iter().any(|envelope| self.cell_id(&envelope.to) != to.id) {
                return Err(on_its_way(to.id));
            }
            if accept.messages.is_empty() {
                (tail.last, Vec::new())
            } else {
                let Ordered { pending, woken } = self.order(to, &mut tail, &Record::Accept(accept))?;
                let seq = pending.seq();
                // The turns that handle them bring it along; and until it is durable, the sender has them.
                pending.unhurried();
                (seq, woken)
            }
        };
        self.wake_all(to, woken);
        Ok(seq)
    }

    /// Takes messages that another node has sent, those for one cell with one record; what is answered with `Ok` is durable.
    /// The others may be sent again, whatever the reason.
    pub async fn deliver_here(self: &Arc<Self>, parcels: Vec<Parcel>) -> Vec<Result<(), NotDone>> {
        let mut by_cell: BTreeMap<CellId, Vec<usize>> = BTreeMap::new();
        for (at, parcel) in parcels.iter().enumerate() {
            by_cell.entry(parcel.to).or_default().push(at);
        }
        // All are ordered before any is waited for.
        let taken: Vec<_> = by_cell.into_iter().map(|(to, of)| (self.take_here(to, &parcels, &of), of)).collect();
        let settled = taken.into_iter().map(async |(taken, of)| match taken {
            Ok((inside, seq)) => (self.settle_at(&inside, seq).await.map_err(NotDone::Failed), of),
            Err(failure) => (Err(failure), of),
        });
        let mut outcomes = vec![Err(NotDone::NotHere); parcels.len()];
        for (outcome, of) in join_all(settled).await {
            for at in of {
                outcomes[at].clone_from(&outcome);
            }
        }
        outcomes
    }

    fn take_here(self: &Arc<Self>, to: CellId, parcels: &[Parcel], of: &[usize]) -> Result<(Inside, Seq), NotDone> {
        let inside = self.cells.get(to).and_then(|cell| Inside::enter(cell, false)).ok_or(NotDone::NotHere)?;
        let batches = of.iter().map(|at| (parcels[*at].from, parcels[*at].messages.as_slice()));
        let seq = self.take_in(&inside, batches)?;
        Ok((inside, seq))
    }

    async fn settle_at(self: &Arc<Self>, cell: &Arc<Cell>, seq: Seq) -> Result<(), Failure> {
        let receipt = cell.settled(&*self.journal, seq).await.map_err(|e| journal_failure(&e))?;
        self.settle(cell, &receipt);
        Ok(())
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
                cell.delivered.lock().extend(ids);
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
                cell.delivered.lock().extend(there.into_iter().flat_map(|there| there.ids));
            }
            self.forget_delivered(&cell);
        }
        Ok(())
    }

    /// Forgets the messages of a cell that are durable elsewhere. Not waited for: if that is lost, they are delivered again and
    /// not taken again.
    pub(crate) fn forget_delivered(self: &Arc<Self>, cell: &Arc<Cell>) {
        let ids = std::mem::take(&mut *cell.delivered.lock());
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

    /// Starts to work through the messages of agents.
    pub(crate) fn wake_all(self: &Arc<Self>, cell: &Arc<Cell>, agents: Vec<Address>) {
        for agent in agents {
            self.tasks.spawn(self.clone().drain(cell.clone(), agent));
        }
    }
}
