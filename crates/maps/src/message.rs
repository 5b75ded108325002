//! What is asked of a map's agent, and what it answers. These travel within the node, and but for the first nothing of them is stored.

use serde::{Deserialize, Serialize};
use stride_ids::Payload;
use stride_sim::Timestamp;

use crate::{
    row::{Cursor, Item, Notice, Outcome, Output, State, Versions},
    spec::Spec,
};

/// The methods of a map's agent: their names, and which only read.
pub(crate) const BEGIN: &str = "begin";
pub(crate) const PLAN: &str = "plan";
pub(crate) const RECORD: &str = "record";
pub(crate) const FOLD: &str = "fold";
pub(crate) const END: &str = "end";
pub(crate) const STATUS: &str = "status";
pub(crate) const UNDONE: &str = "undone";
pub(crate) const RESULTS: &str = "results";
pub(crate) const FOLDED: &str = "folded";
pub(crate) const REDUCED: &str = "reduced";
pub(crate) const METHODS: [(&str, bool); 10] = [
    (BEGIN, false),
    (PLAN, false),
    (RECORD, false),
    (FOLD, false),
    (END, false),
    (STATUS, true),
    (UNDONE, true),
    (RESULTS, true),
    (FOLDED, true),
    (REDUCED, true),
];

/// How a map begins. An agent's turn may have told it, and then it lies in an inbox for a while: it changes by one more variant.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum BeginAsked {
    First { spec: Spec, versions: Versions, at: Timestamp, notice: Option<Notice>, key: Option<String> },
}

/// The next page of items.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanAsked {
    /// Behind what the items come. Somebody who does not know whether a page was taken may ask again.
    pub(crate) before: Cursor,
    pub(crate) items: Vec<Item>,
    pub(crate) cursor: Cursor,
    /// It is the last one.
    pub(crate) is_last: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Planned {
    Page {
        page: u64,
        first: u64,
    },
    /// The map has ended, so nothing more is planned.
    Ended,
}

/// The result of one item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) place: Place,
    pub(crate) outcome: Outcome,
    pub(crate) course: Course,
}

/// How an item came to its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Course {
    /// A second call was begun for it.
    pub(crate) is_hedged: bool,
    /// The result was known from an earlier call.
    pub(crate) is_memoised: bool,
}

/// Where an item is: its page, its index in that, and its number in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) page: u64,
    pub(crate) index: usize,
    pub(crate) number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FoldAsked {
    pub(crate) level: u8,
    pub(crate) values: Vec<(u64, Payload)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndAsked {
    pub(crate) state: State,
    pub(crate) at: Timestamp,
    pub(crate) reduced: Option<Output>,
}

/// The first page after `after` that has items without a result.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UndoneAsked {
    pub(crate) after: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Undone {
    pub(crate) page: u64,
    pub(crate) items: Vec<(Place, Item)>,
}

/// Values in the order of their numbers, from `from` on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResultsAsked {
    pub(crate) from: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) state: State,
    pub(crate) outcomes: Vec<(u64, Outcome)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FoldedAsked {
    pub(crate) level: u8,
    pub(crate) from: u64,
}
