//! Maps: a function is called for every object of a prefix, or for every part of one, by the node and not by this guest.
//!
//! ```no_run
//! use stride::{maps, prelude::*};
//!
//! # fn example() -> Result<(), Failure> {
//! let map = maps::of("words/count", "texts/2024/").split(maps::Split::Lines).reduce("words/sum").begin()?;
//! if map.status()?.is_over() {
//!     let total: Option<u64> = map.reduced()?;
//!     for item in map.results() {
//!         let item = item?;
//!         println!("{}: {:?}", item.input, item.outcome);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Needs two capabilities in stride.toml: `maps = ["words/*"]` for the functions, and `objects = ["texts/*:read"]` for all that is mapped over;
//! with [`Spec::out`] also `write` for where results go.
//!
//! **Agents** do not wait for a map: they are told when it has ended, exactly once. The map begins with the commit of the turn that asks
//! for it. If the turn fails, nothing has begun; and until it is committed, nobody finds the map.
//!
//! ```
//! use stride::{maps, prelude::*};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter {
//!     total: Option<u64>,
//! }
//!
//! #[stride::agent]
//! impl Counter {
//!     fn count(&mut self) -> Result<String, Failure> {
//!         let map = maps::of("words/count", "texts/").reduce("words/sum").then("counted").begin()?;
//!         Ok(map.id().to_owned())
//!     }
//!
//!     fn counted(&mut self, ended: maps::Ended) -> Result<(), Failure> {
//!         self.total = ended.map().reduced()?;
//!         Ok(())
//!     }
//! }
//! ```

use std::collections::VecDeque;

use serde::{Deserialize, de::DeserializeOwned};

pub use crate::bindings::stride::guest::maps::Split;
use crate::{
    bindings::stride::guest::maps as host,
    failure::{Code, Failure},
    payload::Payload,
};

/// How many results are fetched at a time.
const PAGE: u32 = 64;

/// What a map is to do.
#[derive(Clone, Debug)]
#[must_use = "a map begins with `begin`"]
pub struct Spec {
    spec: host::Spec,
    then: Option<String>,
}

/// A map of a function, `component/function`, over the objects of a prefix, `bucket/prefix`.
pub fn of(function: &str, over: &str) -> Spec {
    let (function, over) = (function.to_owned(), over.to_owned());
    Spec { spec: host::Spec { function, over, split: None, reduce: None, out: None }, then: None }
}

impl Spec {
    /// Cuts objects into items of about 1 MiB. Otherwise an item is a whole object.
    pub fn split(mut self, split: Split) -> Self {
        self.spec.split = Some(split);
        self
    }

    /// Folds the results with this function: it gets an array of up to 64 of them, in order, until one is left.
    pub fn reduce(mut self, function: &str) -> Self {
        self.spec.reduce = Some(function.to_owned());
        self
    }

    /// Puts the results under this prefix, `bucket/prefix`; with a reduction, its result into the object of this name.
    pub fn out(mut self, prefix: &str) -> Self {
        self.spec.out = Some(prefix.to_owned());
        self
    }

    /// Has this agent told when the map has ended: `method` gets an [`Ended`]. Only an agent can be told.
    pub fn then(mut self, method: &str) -> Self {
        self.then = Some(method.to_owned());
        self
    }

    /// Begins the map: at once in a function, with the turn's commit in an agent.
    ///
    /// # Errors
    /// `capability_denied`, `not_found` for a function or a bucket that is not there, `invalid_request` for results that would become
    /// inputs, `overloaded` if too many maps run.
    pub fn begin(&self) -> Result<Map, Failure> {
        Ok(Map(host::begin(&self.spec, self.then.as_deref())?))
    }
}

/// A map that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map(String);

/// The map of that id.
pub fn map(id: impl Into<String>) -> Map {
    Map(id.into())
}

/// How far a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// Every item has a result.
    Done,
    /// It was cancelled.
    Cancelled,
    /// It could not go on.
    Failed(Failure),
}

/// What is known of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub state: State,
    /// How many items there are; more may come until `planned`.
    pub items: u64,
    /// There are no more items to come.
    pub planned: bool,
    /// How many of them have a result, those that failed included.
    pub done: u64,
    /// How many of them failed.
    pub failed: u64,
}

impl Status {
    /// It has ended, in whatever way.
    pub fn is_over(&self) -> bool {
        self.state != State::Running
    }
}

/// What an item came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number; the first is 0.
    pub number: u64,
    /// The key of its object, and which part of it.
    pub input: String,
    /// Its result, or why there is none.
    pub outcome: Result<Output, Failure>,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// What the function answered.
    Kept(Payload),
    /// The object that holds it, as `bucket/key`.
    Stored(String),
}

impl Output {
    /// The result as a value.
    ///
    /// # Errors
    /// If it is no JSON of this shape, or is in an object.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let other = |why: String| Failure::new(Code::GuestError, why);
        match self {
            Self::Kept(payload) => {
                serde_json::from_slice(&payload.body).map_err(|e| other(format!("the result is something else: {e}")))
            }
            Self::Stored(object) => Err(other(format!("the result is in the object {object}"))),
        }
    }
}

impl Map {
    /// Its id, with which it is found again.
    pub fn id(&self) -> &str {
        &self.0
    }

    /// How far it is now.
    ///
    /// # Errors
    /// `not_found` if it has not begun yet or is not kept any more, `capability_denied`.
    pub fn status(&self) -> Result<Status, Failure> {
        let host::Status { state, items, planned, done, failed } = host::look(&self.0)?;
        let state = match state {
            host::State::Running => State::Running,
            host::State::Done => State::Done,
            host::State::Cancelled => State::Cancelled,
            host::State::Failed(cause) => State::Failed(cause.into()),
        };
        Ok(Status { state, items, planned, done, failed })
    }

    /// The results that are there, in the order of the items, fetched page by page while you iterate.
    pub fn results(&self) -> impl Iterator<Item = Result<Item, Failure>> + use<> {
        let id = self.0.clone();
        let (mut page, mut next) = (VecDeque::new(), Some(0));
        std::iter::from_fn(move || {
            if page.is_empty()
                && let Some(begin) = next.take()
            {
                match host::results(&id, begin, PAGE) {
                    Ok(found) => {
                        // An empty page: what follows is not there yet.
                        next = found.next.filter(|_| !found.items.is_empty());
                        page = found.items.into();
                    }
                    Err(failure) => return Some(Err(failure.into())),
                }
            }
            let host::Item { number, input, outcome } = page.pop_front()?;
            Some(Ok(Item { number, input, outcome: outcome.map(Output::from).map_err(Failure::from) }))
        })
    }

    /// What the reduction came to, as a value; none if there is none, or not yet.
    ///
    /// # Errors
    /// As [`Map::status`] and [`Output::value`].
    pub fn reduced<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        host::reduced(&self.0)?.map(|output| Output::from(output).value()).transpose()
    }

    /// Cancels it: what has begun is finished. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Map::status`].
    pub fn cancel(&self) -> Result<(), Failure> {
        Ok(host::cancel(&self.0)?)
    }
}

impl From<host::Output> for Output {
    fn from(output: host::Output) -> Self {
        match output {
            host::Output::Kept(payload) => Self::Kept(payload.into()),
            host::Output::Stored(object) => Self::Stored(object),
        }
    }
}

/// What an agent is told when its map has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ended {
    /// The id of the map.
    #[serde(rename = "map")]
    pub id: String,
    /// `done`, `cancelled` or `failed`.
    pub state: String,
    /// Why it could not go on.
    pub cause: Option<Cause>,
    /// How many items there are.
    pub items: u64,
    /// How many of them have a result, those that failed included.
    pub done: u64,
    /// How many of them failed.
    pub failed: u64,
}

/// Why a map could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Cause {
    /// The code, as problems over HTTP have it.
    pub code: String,
    /// What happened.
    pub message: String,
}

impl Ended {
    /// The map that has ended.
    pub fn map(&self) -> Map {
        Map(self.id.clone())
    }
}
