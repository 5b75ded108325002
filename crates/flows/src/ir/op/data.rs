//! Operators of data: where it comes from, what is done with each item of a list or with all of them, and where it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
#[cfg(doc)]
use super::Op;
use crate::{expr::Expr, ir::Failures, limits::WINDOW};

/// Where data comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A list that an expression gives.
    Value(Expr),
    /// References to the objects of a prefix, in the order of their keys.
    Objects(Objects),
    /// The lines of these objects, in order, as strings without their line breaks.
    Lines(Objects),
    /// A window of a topic's messages.
    Topic(Topic),
}

/// The objects of a bucket whose keys begin alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// The bucket.
    pub bucket: Expr,
    /// How their keys begin.
    #[serde(default = "Expr::empty_text")]
    pub prefix: Expr,
}

/// Messages of a topic, up to whichever of the two comes first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub topic: Expr,
    /// So many messages.
    pub count_max: u32,
    /// So long after the first.
    pub time_max_ms: u64,
}

fn window() -> u32 {
    WINDOW
}

fn is_window(window: &u32) -> bool {
    *window == WINDOW
}

fn is_strict(failures: &Failures) -> bool {
    *failures == Failures::default()
}

/// What all operators over items have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// The items: a list.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub items: Expr,
    /// What the body gets for an item: `$$.item.value` and `$$.item.index` are the item's, `$` is the node's input. Without it: the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Expr>,
    /// What is done with it.
    pub body: Body,
    /// How many are in flight at most.
    #[serde(default = "window", skip_serializing_if = "is_window")]
    pub window: u32,
    /// How many may fail. Without it: none.
    #[serde(default, skip_serializing_if = "is_strict")]
    pub failures: Failures,
}

/// See [`Op::Map`].
pub type Map = Each;
/// See [`Op::FlatMap`].
pub type FlatMap = Each;
/// See [`Op::Filter`].
pub type Filter = Each;
/// See [`Op::KeyBy`].
pub type KeyBy = Each;

/// A fold. Its body gets a list of values, in order, and gives one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reduce {
    /// The items: a list.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub items: Expr,
    /// Items are `{"key", "value"}`, values are folded for each key, and the result is a list of the same form in the order of keys.
    #[serde(default)]
    pub by_key: bool,
    /// Whether a fold of folds of neighbours is the fold of all. Then it is called with small groups, early and side by side; else once with all.
    #[serde(default)]
    pub associative: bool,
    /// The fold.
    pub body: Body,
    /// How many groups are in flight at most.
    #[serde(default = "window", skip_serializing_if = "is_window")]
    pub window: u32,
}

/// One side of a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// The items: a list.
    pub items: Expr,
    /// The key of an item, which is `$` here.
    pub key: Expr,
}

/// Which items of a join without a partner remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// None.
    #[default]
    Inner,
    /// Those of the left, with null for the right.
    Left,
    /// All, with null for what is missing.
    Full,
}

/// The value is a list of `{"key", "left", "right"}` in the order of the left items, then of the right ones that are left over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// One side.
    pub left: Side,
    /// The other.
    pub right: Side,
    /// Which items without a partner remain.
    #[serde(default)]
    pub kind: JoinKind,
}

/// Where a value goes. The node's value is what says where it lies: a reference to the object, or null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// An object.
    Object(ObjectSink),
    /// A topic.
    Topic(TopicSink),
}

/// An object that is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectSink {
    /// The bucket.
    pub bucket: Expr,
    /// The key.
    pub key: Expr,
    /// What is written.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub value: Expr,
}

/// A message that is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicSink {
    /// The topic's name.
    pub topic: Expr,
    /// The message.
    #[serde(default, skip_serializing_if = "Expr::is_input")]
    pub value: Expr,
}
