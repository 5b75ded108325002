//! What an engine needs that owns only some of the cells: a way to the others, and a place for snapshots of its own.
//!
//! Always true: what is handed to another node takes effect there once or is known not to have; who may not know says so.
//! Not here: how other nodes are reached, and who is to own what (see `cluster`).

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use stride_ids::{Address, AgentKey, CellId, Epoch, Failure, MessageId, Name, Seq};

use crate::{
    inspect::Listed,
    message::{Answer, Ask, Envelope, Tell, Told},
};

/// What surrounds an engine that shares the cells with others.
#[derive(Clone)]
pub struct Cluster {
    /// The other cells.
    pub elsewhere: std::sync::Arc<dyn Elsewhere>,
    /// Where the state of a cell is when nobody owns it.
    pub snapshots: std::sync::Arc<dyn Snapshots>,
}

/// The cells that other nodes own, and whether this node still owns its own.
pub trait Elsewhere: Send + Sync + 'static {
    /// Has the owner of the agent's cell answer an ask.
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Answer, NotDone>>;

    /// Has the owner of the agent's cell accept a message; it is durable then.
    fn tell(&self, tell: Tell) -> BoxFuture<'_, Result<Told, NotDone>>;

    /// Which node owns a cell, as far as is known.
    fn owner(&self, cell: CellId) -> Option<Name>;

    /// Has the owner of these cells, which is the same for all, take messages of other cells; they are durable there then. An
    /// outcome for each parcel.
    fn deliver<'a>(&'a self, parcels: &'a [Parcel]) -> BoxFuture<'a, Vec<Result<(), NotDone>>>;

    /// The agents of a type that other nodes own, after `after`, `limit` at most of each node.
    fn list<'a>(
        &'a self,
        tenant: &'a Name,
        kind: &'a Name,
        after: Option<&'a AgentKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Listed, Failure>>;

    /// Whether this node is the owner of a cell at some moment after this is called: what is read may be shown then.
    fn confirm(&self, cell: CellId, epoch: Epoch) -> BoxFuture<'_, Result<(), Failure>>;

    /// Finds out which agent types were deployed, on whichever node, before this was called. The store's
    /// [`Layout`](stride_ids::Layout) knows them then.
    fn learn(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// Waits until the cell may have another owner, or for a moment if nothing says so.
    fn moved(&self, cell: CellId) -> BoxFuture<'_, ()>;
}

/// Where the state of cells is kept that no record of the journal has any more.
pub trait Snapshots: Send + Sync + 'static {
    /// Brings the store to the newest snapshot of a cell, unless what it holds is as new.
    fn restore(&self, cell: CellId) -> BoxFuture<'_, Result<(), Failure>>;

    /// Keeps what the store holds of a cell. The position up to which the journal may let go.
    fn keep(&self, cell: CellId, epoch: Epoch) -> BoxFuture<'_, Result<Seq, Failure>>;
}

/// Why another node did not do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotDone {
    /// The cell is not there, or on its way: nothing has happened.
    NotHere,
    /// It did and failed: that is the answer.
    Failed(Failure),
    /// Nobody knows whether it did.
    Unknown(Failure),
}

impl From<Failure> for NotDone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// An ask on its way, and the agents that wait for its answer, each for the next: none if a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The ask.
    pub ask: Ask,
    /// The agents that wait, the outermost first.
    pub waiting: Vec<Address>,
}

/// Messages on their way from one cell to another, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Whose outbox they are from.
    pub from: CellId,
    /// Whose agents they are for.
    pub to: CellId,
    pub(crate) messages: Vec<(MessageId, Envelope)>,
}
