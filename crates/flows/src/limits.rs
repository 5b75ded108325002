//! How large things may be. Every list and depth has a limit, so that no artefact and no run can wedge a node.

/// The bytes of a flow as JSON.
pub const FLOW_BYTES_MAX: usize = 2 << 20;
/// How deep the JSON of a flow may be nested.
pub const JSON_DEPTH_MAX: usize = 96;
/// How deep an expression may be nested. Together with [`VALUE_DEPTH_MAX`] and what rows add, it stays below the 128 levels that JSON is read to.
pub const EXPR_DEPTH_MAX: usize = 32;
/// How deep a value between nodes may be nested.
pub const VALUE_DEPTH_MAX: usize = 64;
/// The nodes of a flow, those in bodies included.
pub const NODES_MAX: usize = 10_000;
/// How deep bodies may be nested.
pub const GRAPH_DEPTH_MAX: usize = 12;
/// The bytes of one name of a node or an input.
pub const NAME_LEN_MAX: usize = 64;
/// The bytes of one path.
pub const PATH_LEN_MAX: usize = 1_024;
/// The problems that one check tells of; a flow with more has the first of them.
pub const PROBLEMS_MAX: usize = 100;
/// How many items of one node are in flight at most, and unless it says otherwise.
pub const WINDOW_MAX: u32 = 1_024;
/// How many items of one node are in flight unless it says otherwise.
pub const WINDOW: u32 = 64;
/// How many rounds an `iterate` may have.
pub const ROUNDS_MAX: u32 = 100_000;
/// How often a node is tried again at most.
pub const RETRIES_MAX: u32 = 100;
/// The longest time a node may name: a year.
pub const TIME_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// The bytes of a value between nodes. What is larger becomes an object, and a reference to it is the value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// The bytes of a list that is built in memory: both sides of a `join`, one level of a `reduce`, a list that an expression asks for.
pub const LIST_BYTES_MAX: usize = 1 << 20;
/// The bytes of one page of items. A page is read whenever an item of it begins.
pub const PAGE_BYTES_MAX: usize = 16 << 10;
/// The items of one page.
pub const PAGE_ITEMS_MAX: usize = 256;
/// How many values a `reduce` folds at once.
pub const FOLD_MAX: usize = 64;
/// How many events may wait for somebody to wait for them.
pub const EVENTS_MAX: usize = 1_024;
