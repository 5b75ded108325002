//! What release 0.1 wrote, which stays readable for ever. Nothing writes it any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use stride_ids::Address;
use stride_sim::Timestamp;

use crate::record::{self, Reply};

/// Schema of its journal records.
pub(crate) const RECORD: u16 = 1;
/// Schema of its header rows.
pub(crate) const HEADER: u16 = 0x0101;

#[derive(Deserialize)]
pub(crate) enum Record {
    Commit(Commit),
    Remove(Address),
}

#[derive(Deserialize)]
pub(crate) struct Commit {
    agent: Address,
    header: Header,
    map: BTreeMap<String, Option<Bytes>>,
    reply: Option<(String, Reply)>,
}

#[derive(Deserialize)]
pub(crate) struct Header {
    turns: u64,
    created_at: Timestamp,
    state: Option<Bytes>,
}

impl From<Record> for record::Record {
    fn from(record: Record) -> Self {
        match record {
            Record::Remove(agent) => Self::Remove(agent),
            Record::Commit(Commit { agent, header, map, reply }) => Self::Commit(record::Commit {
                agent,
                header: header.into(),
                map,
                reply,
                handled: None,
                sent: Vec::new(),
                timers: BTreeMap::new(),
            }),
        }
    }
}

impl From<Header> for record::Header {
    fn from(Header { turns, created_at, state }: Header) -> Self {
        Self { turns, created_at, state, version: None, refused: None }
    }
}
