//! What a map's agent keeps: the run as its typed state, and rows in its map. Numbers in names are 16 hex digits, so rows lie
//! in the order of their numbers.
//!
//! ```text
//! p/PAGE    items that are planned             d/PAGE    which of them have a result; both go with the last of these
//! r/ITEM    the result of an item              f/LL/GROUP   a value of the reduction's level LL      reduced   its result
//! ```
//! Everything stored begins with a schema.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stride_agents::native::Schema;
use stride_ids::{Address, Code, Failure, ObjectKey, Payload, VersionId};
use stride_sim::Timestamp;

use crate::{first_format, spec::Spec};

pub(crate) const SCHEMA: Schema = Schema(1);
/// Of a [`Run`], since it says which versions are called.
const RUN_SCHEMA: Schema = Schema(2);

/// How many items a page has at most.
pub(crate) const PAGE: usize = 256;

pub(crate) const PAGES: &str = "p/";
pub(crate) const OPEN: &str = "d/";
pub(crate) const RESULTS: &str = "r/";
pub(crate) const REDUCED: &str = "reduced";

pub(crate) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:016x}")
}

pub(crate) fn number_of(prefix: &str, name: &str) -> Result<u64, Failure> {
    let digits = name.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or_else(|| Failure::new(Code::Internal, format!("a map has a row `{name}` that it never wrote")))
}

/// What the names of the values of a level of the reduction begin with.
pub(crate) fn level(level: u8) -> String {
    format!("f/{level:02x}/")
}

/// How far a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It goes on, also after a restart.
    Running,
    /// Every item has its result.
    Done,
    /// It was cancelled: nothing new begins.
    Cancelled,
    /// It could not go on. Items that fail are no reason.
    Failed(Failure),
}

impl State {
    /// As others read it, and why a map could not go on.
    pub fn told(&self) -> (&'static str, Option<&Failure>) {
        match self {
            Self::Running => ("running", None),
            Self::Done => ("done", None),
            Self::Cancelled => ("cancelled", None),
            Self::Failed(cause) => ("failed", Some(cause)),
        }
    }
}

/// A map, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) spec: Spec,
    pub(crate) versions: Versions,
    pub(crate) state: State,
    pub(crate) created_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) pages: u64,
    pub(crate) items: u64,
    pub(crate) cursor: Cursor,
    /// There are no more items to come.
    pub(crate) is_planned: bool,
    /// How many items have a result, the failed ones included.
    pub(crate) done: u64,
    pub(crate) failed: Vec<(Code, u64)>,
    /// How many bytes of results are kept.
    pub(crate) bytes: u64,
    /// For how many of the items a second call was begun.
    pub(crate) hedged: u64,
    /// How many of the results were known from earlier calls.
    pub(crate) memoised: u64,
    /// Who is told when it has ended.
    pub(crate) notice: Option<Notice>,
    /// The key under which somebody began it, who may ask again.
    pub(crate) key: Option<String>,
}

/// An agent that is told when a map has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which agent.
    pub agent: Address,
    /// Which method gets the message.
    pub method: String,
}

impl Run {
    /// One that has just begun.
    pub(crate) fn begun(spec: Spec, versions: Versions, at: Timestamp) -> Self {
        Self {
            spec,
            versions,
            state: State::Running,
            created_at: at,
            ended_at: None,
            pages: 0,
            items: 0,
            cursor: Cursor::default(),
            is_planned: false,
            done: 0,
            failed: Vec::new(),
            bytes: 0,
            hedged: 0,
            memoised: 0,
            notice: None,
            key: None,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        RUN_SCHEMA.encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        match bytes {
            [first, rest @ ..] if *first == SCHEMA.0 => first_format::read(rest)
                .map_err(|e| Failure::new(Code::Internal, format!("the stored map cannot be read: {e}"))),
            _ => RUN_SCHEMA.decode("map", bytes),
        }
    }
}

/// The versions of the components whose functions a map calls, from its beginning to its end. None is the one in force, for maps
/// that began before this was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) function: Option<String>,
    pub(crate) reduce: Option<String>,
}

/// Up to where items are planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The last key that was listed.
    pub(crate) after: Option<String>,
    /// The object that is cut, with what is left of it.
    pub(crate) within: Option<Within>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Within {
    pub(crate) key: ObjectKey,
    pub(crate) version: VersionId,
    pub(crate) content_type: String,
    pub(crate) len: u64,
    pub(crate) at: u64,
    pub(crate) part: u32,
}

/// One object or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) key: ObjectKey,
    pub(crate) version: VersionId,
    pub(crate) content_type: String,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// Which part of the object; none if it is all of it.
    pub(crate) part: Option<u32>,
    /// Why it cannot even be tried.
    pub(crate) refused: Option<Failure>,
}

impl Item {
    /// How its result names it.
    pub(crate) fn name(&self) -> String {
        match self.part {
            Some(_) => format!("{}[{}..{}]", self.key, self.begin, self.end),
            None => self.key.to_string(),
        }
    }
}

/// Planned items, with the number of the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) first: u64,
    pub(crate) items: Vec<Item>,
}

/// Which items of a page have no result yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    bits: [u64; PAGE / 64],
}

impl Open {
    /// The first `items` places are open.
    pub(crate) fn all(items: usize) -> Self {
        let mut open = Self { bits: [0; PAGE / 64] };
        (0..items.min(PAGE)).for_each(|index| open.bits[index / 64] |= 1 << (index % 64));
        open
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|bits| bits >> (index % 64) & 1 == 1)
    }

    /// Closes a place; false if it was not open.
    pub(crate) fn close(&mut self, index: usize) -> bool {
        let was_open = self.has(index);
        if was_open {
            self.bits[index / 64] &= !(1 << (index % 64));
        }
        was_open
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bits == [0; PAGE / 64]
    }
}

/// How an item ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the item is called: the key of its object, and which part of it.
    pub name: String,
    /// What the function came to.
    pub result: Result<Output, Failure>,
}

/// Where a result is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// With the map.
    Kept(Payload),
    /// In an object.
    Stored {
        /// Which: `bucket/key`.
        object: String,
        /// How many bytes it has.
        bytes: u64,
    },
}

impl Output {
    /// How much of it is kept with the map, in bytes.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Kept(payload) => payload.body.len(),
            Self::Stored { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_a_page_closes_once() {
        for items in [1, 63, 64, 65, PAGE] {
            let mut open = Open::all(items);
            assert!(!open.close(items) && !open.close(PAGE + 1));
            for index in 0..items {
                assert!(!open.is_empty() && open.has(index));
                assert!(open.close(index));
                assert!(!open.close(index));
            }
            assert!(open.is_empty(), "{items}");
        }
    }

    #[test]
    fn rows_lie_in_the_order_of_their_numbers() {
        assert!(numbered(RESULTS, 9) < numbered(RESULTS, 10) && numbered(RESULTS, 255) < numbered(RESULTS, 256));
        assert_eq!(number_of(RESULTS, &numbered(RESULTS, 4_711)), Ok(4_711));
        assert!(number_of(RESULTS, "p/0").is_err());
    }
}
