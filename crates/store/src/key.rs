//! The keys of rows as bytes, ordered so that what is read together lies together.
//!
//! `cell (u16) | tag (u8) | tenant | kind | key [| rest]`, big-endian, names with a length before them. Headers have a
//! tag of their own, so that listing agents never passes over their state, and their agent key comes last without
//! a length, so that agents of a type are in the order of their keys.

use stride_ids::{Address, AgentKey, CellId, Name};

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// The agent exists; its typed state and what else is known of it.
    Header(Address),
    /// One entry of the agent's keyed map.
    Map(Address, String),
    /// The remembered reply to an idempotency key.
    Reply(Address, String),
}

const POSITION: u8 = 0;
const HEADER: u8 = 1;
const MAP: u8 = 2;
const REPLY: u8 = 3;

impl RowKey {
    /// Whose row it is.
    pub fn agent(&self) -> &Address {
        match self {
            Self::Header(agent) | Self::Map(agent, _) | Self::Reply(agent, _) => agent,
        }
    }

    pub(crate) fn encode(&self, cells: u16) -> Vec<u8> {
        let cell = self.agent().cell(cells);
        match self {
            Self::Header(agent) => {
                let mut key = headers_of(cell, &agent.tenant, &agent.kind);
                key.extend_from_slice(agent.key.as_str().as_bytes());
                key
            }
            Self::Map(agent, rest) => [&rows_of(MAP, cell, agent), rest.as_bytes()].concat(),
            Self::Reply(agent, rest) => [&rows_of(REPLY, cell, agent), rest.as_bytes()].concat(),
        }
    }

    /// The row of a stored key; none if no row has such a key.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (_, tag) = (take(&mut bytes, 2)?, take(&mut bytes, 1)?[0]);
        let tenant = name(&mut bytes)?;
        let kind = name(&mut bytes)?;
        let agent = |key: &[u8]| {
            let key = AgentKey::new(std::str::from_utf8(key).ok()?).ok()?;
            Some(Address { tenant, kind, key })
        };
        if tag == HEADER {
            return Some(Self::Header(agent(bytes)?));
        }
        let len = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        let agent = agent(take(&mut bytes, usize::from(len))?)?;
        let rest = String::from_utf8(bytes.to_vec()).ok()?;
        match tag {
            MAP => Some(Self::Map(agent, rest)),
            REPLY => Some(Self::Reply(agent, rest)),
            _ => None,
        }
    }
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
pub(crate) fn map_of(agent: &Address, cells: u16) -> Vec<u8> {
    rows_of(MAP, agent.cell(cells), agent)
}

/// What the remembered replies of an agent begin with.
pub(crate) fn replies_of(agent: &Address, cells: u16) -> Vec<u8> {
    rows_of(REPLY, agent.cell(cells), agent)
}

fn rows_of(tag: u8, cell: CellId, agent: &Address) -> Vec<u8> {
    let mut key = prefix(cell, tag);
    push_name(&mut key, &agent.tenant);
    push_name(&mut key, &agent.kind);
    let text = agent.key.as_str();
    key.extend_from_slice(&(text.len() as u16).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
    key
}

fn prefix(cell: CellId, tag: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&cell.0.to_be_bytes());
    key.push(tag);
    key
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
        ] {
            assert_eq!(RowKey::decode(&row.encode(64)), Some(row));
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_not_decoded() {
        let key = RowKey::Map(agent("counter", "alice"), "k".into()).encode(64);
        for len in 0..key.len() - 1 {
            assert_eq!(RowKey::decode(&key[..len]), None, "{len}");
        }
        assert_eq!(RowKey::decode(&position_of(CellId(3))), None);
        assert_eq!(RowKey::decode(&CREATED), None);
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
