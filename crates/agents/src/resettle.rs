//! Agents in other cells: the same rows, as they are in a store with another number of cells.
//!
//! A cell's rows are known to its agents but for three things, which are translated. *Messages for other cells* become messages
//! that wait for their agent, unless that agent's cell has taken them: nothing runs, so what is between two cells is known
//! exactly, and afterwards nothing is. *Messages that wait* are written anew, in their order, by the one record with which the
//! new cells begin. *Replies to asks of a turn that may be tried again* have the name of the message that the turn handles in
//! their key; the name is changed with the message, so that the next attempt still gets the first answers. Where the
//! message is gone nobody can ask again, and the reply is left out: its name may be given to another message.
//!
//! Always true: which row comes out depends on the agents alone, not on the cells in which they were. So what lies there in the
//! end can be compared with what should, row by row ([`Tally`]).

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;
use stride_ids::{Address, CellId, Layout, MessageId, Seq};
use stride_store::{RowKey, Rows, Store, Write};

use crate::{
    message::Envelope,
    offline::Offline,
    record::{Record, Waiting, decode_received},
    recover::{OpenError, for_each},
};

/// How many rows are materialised together.
const BATCH: usize = 10_000;
/// Or how many bytes.
const BATCH_BYTES: usize = 16 << 20;
/// How many rows are read in one go.
const PAGE: usize = 1_000;
/// Before the name of what a derived key was made for. Keys of clients have no control characters.
const DERIVED: char = '\u{0}';

/// What lies in a cell: counts, and a digest of all rows that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Agents that exist.
    pub agents: u64,
    /// Messages that wait for an agent.
    pub messages: u64,
    /// Messages that failed too often.
    pub parked: u64,
    /// Timers.
    pub timers: u64,
    /// All rows, those included.
    pub rows: u64,
    /// Their values, in bytes.
    pub bytes: u64,
    #[serde(skip)]
    digest: u128,
}

impl Tally {
    fn add(&mut self, row: &RowKey, value: &[u8], layout: &Layout) {
        match row {
            RowKey::Header(_) => self.agents += 1,
            RowKey::Inbox(..) => self.messages += 1,
            RowKey::Parked(..) => self.parked += 1,
            RowKey::Due(..) => self.timers += 1,
            _ => {}
        }
        self.rows += 1;
        self.bytes += value.len() as u64;
        let key = row.encode(layout);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes()).update(&key).update(value);
        let mut head = [0; 16];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        self.digest = self.digest.wrapping_add(u128::from_le_bytes(head));
    }

    /// What both come to together.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            agents: self.agents + other.agents,
            messages: self.messages + other.messages,
            parked: self.parked + other.parked,
            timers: self.timers + other.timers,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            digest: self.digest.wrapping_add(other.digest),
        }
    }
}

/// All rows of a cell but those of messages, by kind.
fn plain(cell: CellId) -> [Rows<'static>; 6] {
    [
        Rows::Headers(cell),
        Rows::Maps(cell),
        Rows::Replies(cell),
        Rows::Timers(cell),
        Rows::Due(cell),
        Rows::Refused(cell),
    ]
}

/// All rows of messages of a cell, by kind.
fn of_messages(cell: CellId) -> [Rows<'static>; 4] {
    [Rows::Inboxes(cell), Rows::Parked(cell), Rows::Outbox(cell), Rows::Received(cell)]
}

/// How a message of an agent is kept. In the order in which an agent's messages are numbered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Waiting,
    OnItsWay,
    Parked,
}

/// A message before it has its new name. In this order messages are numbered: those of one sender to one agent stay in theirs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    to: CellId,
    agent: Address,
    kept: Kept,
    /// What it is known by until now.
    from: CellId,
    id: MessageId,
}

/// The agents of a store in so many cells.
pub struct Resettled<'a> {
    source: &'a Offline,
    layout: Layout,
    messages: Vec<(Found, MessageId)>,
    /// The new names of messages that wait.
    renamed: HashMap<(CellId, MessageId), (CellId, MessageId)>,
}

impl Offline {
    /// What lies in each cell.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn tallies(&self) -> Result<Vec<Tally>, OpenError> {
        let mut tallies = vec![Tally::default(); usize::from(self.layout().cells())];
        for (cell, tally) in self.cells().zip(&mut tallies) {
            for rows in plain(cell).into_iter().chain(of_messages(cell)) {
                for_each(&self.store, rows, |row, value| {
                    tally.add(&row, value, self.layout());
                    Ok(())
                })?;
            }
        }
        Ok(tallies)
    }

    /// The same agents in so many cells.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn resettle(&self, cells: u16) -> Result<Resettled<'_>, OpenError> {
        let layout = self.layout().in_cells(cells);
        let mut taken = HashMap::new();
        for cell in self.cells() {
            for_each(&self.store, Rows::Received(cell), |row, value| {
                if let RowKey::Received { by, from } = row {
                    taken.insert((by, from), decode_received(value)?);
                }
                Ok(())
            })?;
        }
        let mut found = Vec::new();
        let mut find = |agent: Address, kept, from, id| {
            found.push(Found { to: layout.cell(&agent), agent, kept, from, id });
        };
        for cell in self.cells() {
            for rows in of_messages(cell) {
                for_each(&self.store, rows, |row, value| {
                    match row {
                        RowKey::Inbox(agent, id) => find(agent, Kept::Waiting, cell, id),
                        RowKey::Parked(agent, id) => find(agent, Kept::Parked, cell, id),
                        RowKey::Outbox(_, id) => {
                            let Envelope { to, .. } = Envelope::decode(value)?;
                            let last = taken.get(&(self.layout().cell(&to), cell));
                            if last.is_none_or(|last| id > *last) {
                                find(to, Kept::OnItsWay, cell, id);
                            }
                        }
                        _ => {}
                    }
                    Ok(())
                })?;
            }
        }
        Ok(Resettled::number(self, layout, found))
    }
}

impl<'a> Resettled<'a> {
    /// The record with which a cell begins that has agents: their rows, and the messages that wait for them.
    pub const BEGINNING: Seq = Seq(1);

    /// What a journal has as that record, if it has it.
    pub fn record() -> Bytes {
        Record::beginning()
    }

    fn number(source: &'a Offline, layout: Layout, mut found: Vec<Found>) -> Self {
        found.sort_unstable();
        let mut renamed = HashMap::new();
        let (mut cell, mut index) = (CellId(0), 0);
        let mut numbered = |found: Found| {
            if found.to != cell {
                (cell, index) = (found.to, 0);
            }
            let id = MessageId { record: Self::BEGINNING, index };
            index += 1;
            if found.kept == Kept::Waiting {
                renamed.insert((found.from, found.id), (cell, id));
            }
            (found, id)
        };
        let messages = found.into_iter().map(&mut numbered).collect();
        Self { source, layout, messages, renamed }
    }

    /// Writes all rows into a store of so many cells that has nothing in these, and says what lies in each cell then. Tells
    /// now and then how many rows were written.
    ///
    /// # Errors
    /// If a row is damaged, or the target cannot be written to.
    pub fn write(&self, target: &Store, mut tell: impl FnMut(u64)) -> Result<Vec<Tally>, OpenError> {
        let mut writer = Writer {
            target,
            layout: &self.layout,
            tallies: vec![Tally::default(); usize::from(self.layout.cells())],
            waiting: 0,
            told: 0,
        };
        for cell in self.source.cells() {
            for rows in plain(cell) {
                let mut after = None;
                loop {
                    let page = self.source.store.rows(rows, after.as_ref(), PAGE)?;
                    let Some((last, _)) = page.last() else { break };
                    after = Some(last.clone());
                    for (row, value) in page {
                        if let Some(row) = self.translated(row) {
                            writer.put(row, value)?;
                        }
                    }
                    tell(writer.told);
                }
            }
        }
        for (found, id) in &self.messages {
            let (row, value) = self.message(found, *id)?;
            writer.put(row, value)?;
        }
        writer.flush()?;
        tell(writer.told);
        Ok(writer.tallies)
    }

    /// A row with the names that messages have now; none if it says something about one that is gone.
    fn translated(&self, row: RowKey) -> Option<RowKey> {
        match row {
            RowKey::Reply(agent, key) => Some(RowKey::Reply(agent, self.translated_key(key)?)),
            row => Some(row),
        }
    }

    /// A derived key is what it was derived from with `/N` behind and NUL before it, several times if asks follow from asks; a
    /// message's is `CELL/ID`. Keys of clients are made longer with the agent that was asked, whose type begins with a letter.
    fn translated_key(&self, key: String) -> Option<String> {
        let Some((asking, derived)) = key.rsplit_once(DERIVED) else { return Some(key) };
        if !derived.starts_with(|first: char| first.is_ascii_digit()) {
            return Some(key);
        }
        let (name, rest) = message_of(derived)?;
        let (cell, id) = self.renamed.get(&name)?;
        Some(format!("{asking}{DERIVED}{}/{id}/{rest}", cell.0))
    }

    fn message(&self, found: &Found, id: MessageId) -> Result<(RowKey, Bytes), OpenError> {
        let Found { agent, kept, from, id: before, .. } = found;
        let (row, becomes) = match kept {
            Kept::Waiting => (RowKey::Inbox(agent.clone(), *before), RowKey::Inbox(agent.clone(), id)),
            Kept::Parked => (RowKey::Parked(agent.clone(), *before), RowKey::Parked(agent.clone(), id)),
            Kept::OnItsWay => (RowKey::Outbox(*from, *before), RowKey::Inbox(agent.clone(), id)),
        };
        let unreadable = |why: String| OpenError::Row { row: format!("{row:?}"), why };
        let value = self.source.store.get(&row)?.ok_or_else(|| unreadable("it was there a moment ago".into()))?;
        if *kept != Kept::OnItsWay {
            return Ok((becomes, value));
        }
        let Envelope { message, .. } = Envelope::decode(&value).map_err(|e| unreadable(e.to_string()))?;
        Ok((becomes, Waiting { message, attempts: 0, not_before: 0, cause: None }.encode()))
    }
}

/// The message that a derived key begins with, and what follows.
fn message_of(key: &str) -> Option<((CellId, MessageId), &str)> {
    let mut parts = key.splitn(3, '/');
    let cell = CellId(parts.next()?.parse().ok()?);
    let (record, index) = parts.next()?.split_once('-')?;
    let id = MessageId { record: Seq(record.parse().ok()?), index: index.parse().ok()? };
    Some(((cell, id), parts.next()?))
}

/// Brings rows into a store, batch by batch, and counts them.
struct Writer<'a> {
    target: &'a Store,
    layout: &'a Layout,
    tallies: Vec<Tally>,
    waiting: usize,
    told: u64,
}

impl Writer<'_> {
    fn put(&mut self, row: RowKey, value: Bytes) -> Result<(), OpenError> {
        let cell = row.cell(self.layout);
        self.tallies[usize::from(cell.0)].add(&row, &value, self.layout);
        self.target.stage(cell, Resettled::BEGINNING, vec![Write { row, value: Some(value) }]);
        (self.waiting, self.told) = (self.waiting + 1, self.told + 1);
        if self.waiting >= BATCH || self.target.staged_bytes() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        self.waiting = 0;
        self.target.freeze();
        Ok(self.target.materialise()?)
    }
}
