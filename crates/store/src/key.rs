//! The keys of rows as bytes, ordered so that what is read together lies together.
//!
//! Rows of agents: `cell (u16) | tag (u8) | tenant | kind | key [| rest]`, big-endian, names with a length before them.
//! Headers have a tag of their own, so that listing agents never passes over their state, and their agent key comes last
//! without a length, so that agents of a type are in the order of their keys. Rows of cells: `cell | tag | rest`.

use stride_ids::{Address, AgentKey, CellId, Layout, MessageId, Name, Seq};

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// The agent exists; its typed state and what else is known of it.
    Header(Address),
    /// One entry of the agent's keyed map.
    Map(Address, String),
    /// The remembered reply to an idempotency key.
    Reply(Address, String),
    /// One of the agent's timers, by name.
    Timer(Address, String),
    /// A message that waits for the agent; in the order in which they came.
    Inbox(Address, MessageId),
    /// A message that failed too often.
    Parked(Address, MessageId),
    /// A version of its code that the agent refuses, and why.
    Refused(Address),
    /// A timer is due at this time, in milliseconds since 1970; what is due first comes first.
    Due(u64, Address, String),
    /// A message for an agent of another cell, which has not confirmed it.
    Outbox(CellId, MessageId),
    /// The last message that a cell took from another one.
    Received {
        /// The cell that took it, whose row this is.
        by: CellId,
        /// The cell it came from.
        from: CellId,
    },
}

/// Rows that lie together.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// That the agents of a cell exist.
    Headers(CellId),
    /// The timers of an agent, by name.
    TimersOf(&'a Address),
    /// The messages that wait for an agent.
    InboxOf(&'a Address),
    /// The messages of an agent that failed too often.
    ParkedOf(&'a Address),
    /// The remembered replies of a cell's agents.
    Replies(CellId),
    /// The messages that wait for a cell's agents.
    Inboxes(CellId),
    /// The messages of a cell's agents that failed too often.
    Parked(CellId),
    /// The agents of a cell that refuse a version of their code.
    Refused(CellId),
    /// The entries of the keyed maps of a cell's agents.
    Maps(CellId),
    /// The timers of a cell's agents, by agent.
    Timers(CellId),
    /// The timers of a cell's agents, by when they are due.
    Due(CellId),
    /// The messages of a cell that other cells have not confirmed.
    Outbox(CellId),
    /// What a cell took from other cells.
    Received(CellId),
}

const POSITION: u8 = 0;
const HEADER: u8 = 1;
const MAP: u8 = 2;
const REPLY: u8 = 3;
const TIMER: u8 = 4;
const INBOX: u8 = 5;
const PARKED: u8 = 6;
const DUE: u8 = 7;
const OUTBOX: u8 = 8;
const RECEIVED: u8 = 9;
const REFUSED: u8 = 10;

impl RowKey {
    /// The agent whose row it is; none for a row of a cell.
    pub fn agent(&self) -> Option<&Address> {
        match self {
            Self::Header(agent)
            | Self::Map(agent, _)
            | Self::Reply(agent, _)
            | Self::Timer(agent, _)
            | Self::Inbox(agent, _)
            | Self::Parked(agent, _)
            | Self::Refused(agent)
            | Self::Due(_, agent, _) => Some(agent),
            Self::Outbox(..) | Self::Received { .. } => None,
        }
    }

    /// The cell whose row it is.
    pub fn cell(&self, layout: &Layout) -> CellId {
        match self {
            Self::Outbox(cell, _) | Self::Received { by: cell, .. } => *cell,
            row => row.agent().map_or(CellId(0), |agent| layout.cell(agent)),
        }
    }

    /// Its key as bytes, in a store of these cells.
    pub fn encode(&self, layout: &Layout) -> Vec<u8> {
        let with = |mut key: Vec<u8>, rest: &[u8]| {
            key.extend_from_slice(rest);
            key
        };
        match self {
            Self::Header(agent) => {
                with(headers_of(layout.cell(agent), &agent.tenant, &agent.kind), agent.key.as_str().as_bytes())
            }
            Self::Map(agent, rest) => with(rows_of(MAP, layout, agent), rest.as_bytes()),
            Self::Reply(agent, rest) => with(rows_of(REPLY, layout, agent), rest.as_bytes()),
            Self::Timer(agent, name) => with(rows_of(TIMER, layout, agent), name.as_bytes()),
            Self::Inbox(agent, id) => with(rows_of(INBOX, layout, agent), &message_id(*id)),
            Self::Parked(agent, id) => with(rows_of(PARKED, layout, agent), &message_id(*id)),
            Self::Refused(agent) => rows_of(REFUSED, layout, agent),
            Self::Due(at, agent, name) => {
                let mut key = with(prefix(layout.cell(agent), DUE), &at.to_be_bytes());
                push_agent(&mut key, agent);
                with(key, name.as_bytes())
            }
            Self::Outbox(cell, id) => with(prefix(*cell, OUTBOX), &message_id(*id)),
            Self::Received { by, from } => with(prefix(*by, RECEIVED), &from.0.to_be_bytes()),
        }
    }

    /// The row of a stored key; none if no row has such a key.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let cell = CellId(u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?));
        let tag = take(&mut bytes, 1)?[0];
        match tag {
            HEADER => {
                let (tenant, kind) = (name(&mut bytes)?, name(&mut bytes)?);
                let key = AgentKey::new(std::str::from_utf8(bytes).ok()?).ok()?;
                Some(Self::Header(Address { tenant, kind, key }))
            }
            MAP => Some(Self::Map(agent(&mut bytes)?, text(bytes)?)),
            REPLY => Some(Self::Reply(agent(&mut bytes)?, text(bytes)?)),
            TIMER => Some(Self::Timer(agent(&mut bytes)?, text(bytes)?)),
            INBOX => Some(Self::Inbox(agent(&mut bytes)?, read_message_id(bytes)?)),
            PARKED => Some(Self::Parked(agent(&mut bytes)?, read_message_id(bytes)?)),
            REFUSED => {
                let agent = agent(&mut bytes)?;
                bytes.is_empty().then_some(Self::Refused(agent))
            }
            DUE => {
                let at = u64::from_be_bytes(take(&mut bytes, 8)?.try_into().ok()?);
                Some(Self::Due(at, agent(&mut bytes)?, text(bytes)?))
            }
            OUTBOX => Some(Self::Outbox(cell, read_message_id(bytes)?)),
            RECEIVED => Some(Self::Received { by: cell, from: CellId(u16::from_be_bytes(bytes.try_into().ok()?)) }),
            _ => None,
        }
    }
}

impl Rows<'_> {
    /// What the keys of these rows begin with.
    pub(crate) fn prefix(self, layout: &Layout) -> Vec<u8> {
        match self {
            Self::Headers(cell) => prefix(cell, HEADER),
            Self::TimersOf(agent) => rows_of(TIMER, layout, agent),
            Self::InboxOf(agent) => rows_of(INBOX, layout, agent),
            Self::ParkedOf(agent) => rows_of(PARKED, layout, agent),
            Self::Replies(cell) => prefix(cell, REPLY),
            Self::Inboxes(cell) => prefix(cell, INBOX),
            Self::Parked(cell) => prefix(cell, PARKED),
            Self::Refused(cell) => prefix(cell, REFUSED),
            Self::Maps(cell) => prefix(cell, MAP),
            Self::Timers(cell) => prefix(cell, TIMER),
            Self::Due(cell) => prefix(cell, DUE),
            Self::Outbox(cell) => prefix(cell, OUTBOX),
            Self::Received(cell) => prefix(cell, RECEIVED),
        }
    }
}

/// What the rows of one agent begin with, but for its header and for when its timers are due.
pub(crate) fn prefixes_of(agent: &Address, layout: &Layout) -> [Vec<u8>; 6] {
    [MAP, REPLY, TIMER, INBOX, PARKED, REFUSED].map(|tag| rows_of(tag, layout, agent))
}

/// Where the store keeps what it was created with. It lies behind all cells, of which there are fewer than 65,535.
pub(crate) const CREATED: [u8; 3] = [0xff, 0xff, POSITION];

/// Where a cell's position is kept.
pub(crate) fn position_of(cell: CellId) -> [u8; 3] {
    let [high, low] = cell.0.to_be_bytes();
    [high, low, POSITION]
}

/// The cell of a stored key.
pub(crate) fn cell_of(key: &[u8]) -> Option<CellId> {
    key.first_chunk().map(|cell| CellId(u16::from_be_bytes(*cell)))
}

/// The first key that comes after all keys that start with `prefix`. None of ours is all ones, because no cell is.
pub(crate) fn after_all(prefix: &[u8]) -> Vec<u8> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff).map_or(0, |at| at + 1);
    let mut end = prefix[..last].to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    end
}

/// What the headers of a tenant's agents of a type in a cell begin with; the agent's key follows.
pub(crate) fn headers_of(cell: CellId, tenant: &Name, kind: &Name) -> Vec<u8> {
    let mut key = prefix(cell, HEADER);
    push_name(&mut key, tenant);
    push_name(&mut key, kind);
    key
}

/// What the map entries of an agent begin with; the entry's key follows.
pub(crate) fn map_of(agent: &Address, layout: &Layout) -> Vec<u8> {
    rows_of(MAP, layout, agent)
}

fn rows_of(tag: u8, layout: &Layout, agent: &Address) -> Vec<u8> {
    let mut key = prefix(layout.cell(agent), tag);
    push_agent(&mut key, agent);
    key
}

fn prefix(cell: CellId, tag: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&cell.0.to_be_bytes());
    key.push(tag);
    key
}

fn push_agent(key: &mut Vec<u8>, agent: &Address) {
    push_name(key, &agent.tenant);
    push_name(key, &agent.kind);
    let text = agent.key.as_str();
    key.extend_from_slice(&(text.len() as u16).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn push_name(key: &mut Vec<u8>, name: &Name) {
    key.push(name.as_str().len() as u8);
    key.extend_from_slice(name.as_str().as_bytes());
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn name(bytes: &mut &[u8]) -> Option<Name> {
    let len = take(bytes, 1)?[0];
    Name::new(std::str::from_utf8(take(bytes, usize::from(len))?).ok()?).ok()
}

fn agent(bytes: &mut &[u8]) -> Option<Address> {
    let (tenant, kind) = (name(bytes)?, name(bytes)?);
    let len = u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?);
    let key = AgentKey::new(std::str::from_utf8(take(bytes, usize::from(len))?).ok()?).ok()?;
    Some(Address { tenant, kind, key })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn message_id(id: MessageId) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&id.record.0.to_be_bytes());
    bytes[8..].copy_from_slice(&id.index.to_be_bytes());
    bytes
}

fn read_message_id(mut bytes: &[u8]) -> Option<MessageId> {
    let record = Seq(u64::from_be_bytes(take(&mut bytes, 8)?.try_into().ok()?));
    Some(MessageId { record, index: u32::from_be_bytes(bytes.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(kind: &str, key: &str) -> Address {
        let kind = Name::new(kind).unwrap();
        Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() }
    }

    #[test]
    fn a_key_is_decoded_to_the_row_it_came_from() {
        for row in [
            RowKey::Header(agent("counter", "alice")),
            RowKey::Map(agent("counter", "a/b"), "some key".into()),
            RowKey::Map(agent("c", &"k".repeat(256)), String::new()),
            RowKey::Reply(agent("counter", "ü"), "order-17".into()),
            RowKey::Timer(agent("counter", "a"), "daily".into()),
            RowKey::Inbox(agent("counter", "a"), MessageId { record: Seq(u64::MAX), index: 7 }),
            RowKey::Parked(agent("counter", "a"), MessageId { record: Seq(1), index: u32::MAX }),
            RowKey::Refused(agent("counter", "a")),
            RowKey::Due(1_700_000_000_000, agent("counter", "a"), "daily".into()),
            RowKey::Outbox(CellId(63), MessageId { record: Seq(5), index: 0 }),
            RowKey::Received { by: CellId(1), from: CellId(63) },
        ] {
            assert_eq!(RowKey::decode(&row.encode(&64.into())), Some(row));
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_not_decoded() {
        let key = RowKey::Map(agent("counter", "alice"), "k".into()).encode(&64.into());
        for len in 0..key.len() - 1 {
            assert_eq!(RowKey::decode(&key[..len]), None, "{len}");
        }
        assert_eq!(RowKey::decode(&position_of(CellId(3))), None);
        assert_eq!(RowKey::decode(&CREATED), None);
    }

    #[test]
    fn what_is_due_first_comes_first_whoever_it_is_for() {
        let due = |at, key| RowKey::Due(at, agent("c", key), "t".into()).encode(&1.into());
        assert!(due(1, "z") < due(2, "a") && due(255, "z") < due(256, "a"));
    }

    #[test]
    fn nothing_that_starts_with_a_prefix_comes_after_its_end() {
        for prefix in [&[0, 1][..], &[0, 0xff], &[7, 0xff, 0xff], &[1, 2, 3]] {
            let end = after_all(prefix);
            assert!(end.as_slice() > prefix && end.as_slice() > [prefix, &[0xff; 9]].concat().as_slice());
            assert!(!end.starts_with(prefix));
        }
    }

    #[test]
    fn headers_are_in_the_order_of_their_keys() {
        let encoded = |key: &str| {
            let mut bytes = headers_of(CellId(0), &Name::default_tenant(), &Name::new("c").unwrap());
            bytes.extend_from_slice(key.as_bytes());
            bytes
        };
        let mut keys = ["b", "a", "ab", "a/x", "é", "aa"].map(encoded);
        keys.sort();
        assert_eq!(keys, ["a", "a/x", "aa", "ab", "b", "é"].map(encoded));
    }
}
