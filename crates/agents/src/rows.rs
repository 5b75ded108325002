//! Which rows follow from a record: the one function from the journal to the store, for turns and for replay alike.

use bytes::Bytes;
use stride_ids::{Address, CellId, Layout, MessageId, Seq};
use stride_sim::Timestamp;
use stride_store::{RowKey, Rows, Store, Write};

use crate::{
    message::Envelope,
    record::{Accept, Commit, Defer, Fired, Park, Record, Refuse, Refused, Waiting, encode_received},
    timer::{Timer, TimerChange},
};

/// How many rows are looked at in one go.
const PAGE: usize = 1_000;

/// What a record does to the rows of its cell that only the state before it can tell: everything of an agent that is
/// removed.
pub(crate) struct Before(Vec<Write>);

impl Before {
    /// How many parked messages and timers go with what is removed.
    pub(crate) fn removed(&self) -> (u64, u64) {
        let count = |wanted: fn(&RowKey) -> bool| self.0.iter().filter(|write| wanted(&write.row)).count() as u64;
        (count(|row| matches!(row, RowKey::Parked(..))), count(|row| matches!(row, RowKey::Due(..))))
    }

    /// To be called when the record is ordered and nothing can come in between.
    pub(crate) fn read(record: &Record, store: &Store) -> Result<Self, stride_store::Error> {
        match record {
            Record::Remove(agent) => Ok(Self(removal(agent, store)?)),
            _ => Ok(Self(Vec::new())),
        }
    }
}

fn removal(agent: &Address, store: &Store) -> Result<Vec<Write>, stride_store::Error> {
    let mut gone = store.agent_rows(agent)?;
    let mut after = None;
    loop {
        let page = store.rows(Rows::TimersOf(agent), after.as_ref(), PAGE)?;
        for (row, bytes) in &page {
            // A timer that cannot be read any more is not due any more either: its row of when it is due is skipped.
            if let (RowKey::Timer(_, name), Ok(timer)) = (row, Timer::decode(bytes)) {
                gone.push(RowKey::Due(timer.due, agent.clone(), name.clone()));
            }
        }
        match page.into_iter().last() {
            Some((last, _)) => after = Some(last),
            None => return Ok(gone.into_iter().map(delete).collect()),
        }
    }
}

fn put(row: RowKey, value: Bytes) -> Write {
    Write { row, value: Some(value) }
}

fn delete(row: RowKey) -> Write {
    Write { row, value: None }
}

/// The rows that a record changes. `before` is what was read for this record.
pub(crate) fn writes_of(record: &Record, cell: CellId, layout: &Layout, seq: Seq, before: Before) -> Vec<Write> {
    let mut writes = before.0;
    match record {
        Record::Commit(commit) => commit_writes(commit, cell, layout, seq, &mut writes),
        Record::Remove(_) => {}
        Record::Accept(Accept { from, messages, reply }) => {
            let received = |(from, last): &(CellId, MessageId)| {
                put(RowKey::Received { by: cell, from: *from }, encode_received(*last))
            };
            writes.extend(from.iter().map(received));
            writes.extend(numbered(seq, messages).map(|(id, envelope)| arrival(id, envelope)));
            if let (Some((key, reply)), Some(envelope)) = (reply, messages.first()) {
                writes.push(put(RowKey::Reply(envelope.to.clone(), key.clone()), reply.encode()));
            }
        }
        Record::Fire(fired) => {
            for (id, Fired { agent, name, was_due, message, timer }) in numbered(seq, fired) {
                timer_writes(agent, name, Some(*was_due), timer.as_ref(), &mut writes);
                if let Some(message) = message {
                    writes.push(arrival(id, &Envelope { to: agent.clone(), message: message.clone() }));
                }
            }
        }
        Record::Delivered(ids) => writes.extend(ids.iter().map(|id| delete(RowKey::Outbox(cell, *id)))),
        Record::Defer(Defer { agent, id, waiting }) => {
            writes.push(put(RowKey::Inbox(agent.clone(), *id), waiting.encode()));
        }
        Record::Park(Park { agent, id, parked }) => {
            writes.push(delete(RowKey::Inbox(agent.clone(), *id)));
            writes.push(put(RowKey::Parked(agent.clone(), *id), parked.encode()));
        }
        Record::Resume(resume) => {
            writes.push(delete(RowKey::Parked(resume.agent.clone(), resume.id)));
            let message = resume.message.clone();
            writes.push(arrival(MessageId { record: seq, index: 0 }, &Envelope { to: resume.agent.clone(), message }));
        }
        Record::Forget(replies) => {
            writes.extend(replies.iter().map(|(agent, key)| delete(RowKey::Reply(agent.clone(), key.clone()))));
        }
        Record::Refuse(Refuse { agent, now, .. }) => {
            writes.push(Write { row: RowKey::Refused(agent.clone()), value: now.as_ref().map(Refused::encode) });
        }
    }
    writes
}

fn commit_writes(commit: &Commit, cell: CellId, layout: &Layout, seq: Seq, writes: &mut Vec<Write>) {
    let Commit { agent, header, map, reply, handled, sent, timers } = commit;
    writes.reserve(2 + map.len() + sent.len() + 2 * timers.len());
    writes.push(put(RowKey::Header(agent.clone()), header.encode()));
    for (key, value) in map {
        writes.push(Write { row: RowKey::Map(agent.clone(), key.clone()), value: value.clone() });
    }
    if let Some((key, reply)) = reply {
        writes.push(put(RowKey::Reply(agent.clone(), key.clone()), reply.encode()));
    }
    writes.extend(handled.map(|id| delete(RowKey::Inbox(agent.clone(), id))));
    for (id, envelope) in numbered(seq, sent) {
        // A message to the own cell has arrived with the record that sends it.
        let own = layout.cell(&envelope.to) == cell;
        writes.push(if own { arrival(id, envelope) } else { put(RowKey::Outbox(cell, id), envelope.encode()) });
    }
    for (name, TimerChange { was_due, timer }) in timers {
        timer_writes(agent, name, *was_due, timer.as_ref(), writes);
    }
}

/// The messages of a record with their ids.
pub(crate) fn numbered<T>(seq: Seq, messages: &[T]) -> impl Iterator<Item = (MessageId, &T)> {
    (0..).zip(messages).map(move |(index, message)| (MessageId { record: seq, index }, message))
}

fn arrival(id: MessageId, Envelope { to, message }: &Envelope) -> Write {
    let waiting = Waiting { message: message.clone(), attempts: 0, not_before: 0, cause: None };
    put(RowKey::Inbox(to.clone(), id), waiting.encode())
}

fn timer_writes(
    agent: &Address,
    name: &str,
    was_due: Option<Timestamp>,
    timer: Option<&Timer>,
    writes: &mut Vec<Write>,
) {
    writes.extend(was_due.map(|due| delete(RowKey::Due(due, agent.clone(), name.to_owned()))));
    let row = RowKey::Timer(agent.clone(), name.to_owned());
    match timer {
        Some(timer) => {
            writes.push(put(row, timer.encode()));
            writes.push(put(RowKey::Due(timer.due, agent.clone(), name.to_owned()), Bytes::new()));
        }
        None => writes.push(delete(row)),
    }
}
