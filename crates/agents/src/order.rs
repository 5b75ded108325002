//! Ordering a record: into the journal, into the store, and into what the cell keeps in memory, as one step.

use std::sync::{Arc, atomic::Ordering};

use stride_ids::{Address, CellId, Code, Failure, MessageId};
use stride_journal::Pending;

use crate::{
    alarm::What,
    cell::{Cell, Tail},
    engine::{Engine, journal_failure, store_failure},
    held::Held,
    inbox::Inbox,
    message::Message,
    record::{Accept, Commit, Defer, Park, Record},
    rows::{Before, numbered, writes_of},
};

/// A record that is ordered.
pub(crate) struct Ordered {
    /// Resolves when it is durable.
    pub(crate) pending: Pending,
    /// The agents for which there is something to do now, and nobody doing it yet.
    pub(crate) woken: Vec<Address>,
}

impl Engine {
    /// Orders a record, and starts what follows from it.
    pub(crate) fn append(self: &Arc<Self>, cell: &Arc<Cell>, record: &Record) -> Result<Pending, Failure> {
        let ordered = {
            let mut tail = cell.tail.lock();
            self.order(cell, &mut tail, record)?
        };
        self.wake_all(cell, ordered.woken);
        Ok(ordered.pending)
    }

    /// Orders a record; the turns that follow see its writes. The caller wakes who is to be woken, without the lock.
    pub(crate) fn order(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        tail: &mut Tail,
        record: &Record,
    ) -> Result<Ordered, Failure> {
        if tail.closed {
            return Err(on_its_way(cell.id));
        }
        let before = Before::read(record, &self.store).map_err(|e| store_failure(&e))?;
        let (parked, timers) = before.removed();
        let pending = match self.journal.append(cell.id, cell.epoch, record.encode()) {
            Ok(pending) => pending,
            Err(error) => {
                if matches!(error, stride_journal::Error::Fenced { .. }) {
                    tail.closed = true;
                    let (engine, cell) = (self.clone(), cell.clone());
                    // Not here: the tail is locked.
                    self.tasks.spawn(async move { engine.lose_cell(&cell) });
                }
                return Err(journal_failure(&error));
            }
        };
        let seq = pending.seq();
        tail.last = seq;
        self.store.stage(cell.id, seq, writes_of(record, cell.id, self.store.layout(), seq, before));
        let mut woken = Vec::new();
        match record {
            Record::Commit(commit) => self.take_in_commit(cell, commit, seq, &mut woken),
            Record::Remove(agent) => {
                self.gauges.parked.sub(parked);
                self.gauges.timers.sub(timers);
                cell.inboxes.lock().remove(agent);
            }
            Record::Accept(Accept { from, messages, reply }) => {
                if reply.is_some() {
                    self.counters.remembered.add_one();
                }
                tail.received.extend(from.iter().copied());
                let mut inboxes = cell.inboxes.lock();
                for (id, envelope) in numbered(seq, messages) {
                    arrive(
                        inboxes.entry(envelope.to.clone()).or_default(),
                        id,
                        &envelope.to,
                        &envelope.message,
                        &mut woken,
                    );
                }
            }
            Record::Fire(fired) => {
                for (id, fired) in numbered(seq, fired) {
                    if let Some(message) = &fired.message {
                        let mut inboxes = cell.inboxes.lock();
                        arrive(inboxes.entry(fired.agent.clone()).or_default(), id, &fired.agent, message, &mut woken);
                    }
                    match &fired.timer {
                        Some(timer) => self.set_alarm(cell, timer.due),
                        None => self.gauges.timers.sub_one(),
                    }
                }
            }
            Record::Delivered(_) => {}
            Record::Defer(Defer { agent, id, waiting }) => {
                if let Some(inbox) = cell.inboxes.lock().get_mut(agent) {
                    inbox.defer(*id, waiting.not_before);
                }
            }
            Record::Park(Park { agent, id, .. }) => {
                self.gauges.parked.add_one();
                if let Some(inbox) = cell.inboxes.lock().get_mut(agent) {
                    inbox.remove(*id);
                }
            }
            Record::Resume(resume) => {
                self.gauges.parked.sub_one();
                let mut inboxes = cell.inboxes.lock();
                let id = MessageId { record: seq, index: 0 };
                arrive(
                    inboxes.entry(resume.agent.clone()).or_default(),
                    id,
                    &resume.agent,
                    &resume.message,
                    &mut woken,
                );
            }
            Record::Forget(_) => {}
            Record::Refuse(refuse) => self.refusals.change(refuse),
        }
        Ok(Ordered { pending, woken })
    }

    fn take_in_commit(&self, cell: &Cell, commit: &Commit, seq: stride_ids::Seq, woken: &mut Vec<Address>) {
        if commit.reply.is_some() {
            self.counters.remembered.add_one();
        }
        if let Some(id) = commit.handled
            && let Some(inbox) = cell.inboxes.lock().get_mut(&commit.agent)
        {
            inbox.remove(id);
        }
        for (id, envelope) in numbered(seq, &commit.sent) {
            if self.cell_id(&envelope.to) == cell.id {
                let mut inboxes = cell.inboxes.lock();
                arrive(inboxes.entry(envelope.to.clone()).or_default(), id, &envelope.to, &envelope.message, woken);
            } else {
                cell.outbox.lock().push_back(Held::until(cell.id, seq, (id, envelope.clone())));
            }
        }
        for change in commit.timers.values() {
            match (&change.was_due, &change.timer) {
                (None, Some(_)) => self.gauges.timers.add_one(),
                (Some(_), None) => self.gauges.timers.sub_one(),
                _ => {}
            }
            if let Some(timer) = &change.timer {
                self.set_alarm(cell, timer.due);
            }
        }
    }

    /// Sees to it that the timers of a cell are looked at, at `at` or sooner.
    pub(crate) fn set_alarm(&self, cell: &Cell, at: stride_sim::Timestamp) {
        if cell.timers_at.fetch_min(at, Ordering::Relaxed) > at {
            self.alarm.set(at, What::Timers(cell.id));
        }
    }
}

/// What somebody is told who wants something of a cell that its owner gives up.
pub(crate) fn on_its_way(cell: CellId) -> Failure {
    Failure::new(Code::Unavailable, format!("{cell} is on its way to another node; try again"))
}

/// A message arrives; its agent is to be woken if nobody works through its messages already.
fn arrive(inbox: &mut Inbox, id: MessageId, agent: &Address, message: &Message, woken: &mut Vec<Address>) {
    inbox.add(id, &message.sender, 0);
    if !inbox.drained {
        inbox.drained = true;
        woken.push(agent.clone());
    }
}
