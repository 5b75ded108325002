//! The PostgreSQL backend: the tails of cells in databases that the user already trusts.
//!
//! Always true: epoch and holder are checked in the statement that stores, so a stale owner stores nothing; a record is
//! acknowledged only when the server has said so in a session that commits synchronously; whatever was sent and not
//! answered is asked for and never guessed. While a server is away, what is ordered stays ordered and goes on when it is
//! back; new appends are refused with [`Error::Unavailable`] once that takes long, and with [`Error::Busy`] when too much waits.
//! `docs/design/0009-postgres-journal.md` says why each part is as it is, and `0018-several-databases.md` how there can be several.
//!
//! ```text
//! databases (where each cell's tail is; who comes and goes)   moves (a tail goes to another database)   directory (which there are)
//!   -> database, one for each: a thread with tail, lane, keeper, and sessions -> server
//! ```
//! Not here: who is to own a cell (see `cluster`), and where its state is (the store, and snapshots of it).

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use stride_ids::{CellId, DatabaseId, Epoch, Incarnation, Seq};
use stride_sim::{Chance, Clock};

use self::{
    database::{Database, Opening},
    databases::Databases,
    schema::Identity,
};
use crate::{Error, Fenced, Journal, Opened, Pending, Record};

mod connect;
mod database;
mod databases;
mod directory;
mod keeper;
mod lane;
mod moves;
mod schema;
mod session;
mod tail;
mod tls;

pub use connect::{Connection, Connector, Trouble};
pub use directory::{DatabaseStatus, Directory};

/// How long opening, taking over and reading wait for a first database that is away.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Where the journal is and what it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The connection string of the first database, with the password if there is one. Several hosts may be named; the one that takes
    /// writes is used. Further databases are named in it.
    pub url: String,
    /// How many cells there are; fixed when the journal is begun.
    pub cells: u16,
    /// This start of the node: who owns a cell is said with it, and a node that starts again is somebody else.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Settings {
    /// Without the connection string: there may be a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("cells", &self.cells).field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// A journal in one or several databases. Dropping it waits for what is queued, for as long as the servers are there.
pub struct PostgresJournal {
    // Dropped before the first database, whose thread does its work.
    databases: Arc<Databases>,
    first: Database,
}

impl PostgresJournal {
    /// Connects to the first database, makes its tables if there are none, and checks that the server's settings keep the promise.
    /// Further ones are connected to when a cell is in them. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the connection string cannot be used, [`Error::Unavailable`] if the server does not answer,
    /// [`Error::Unfit`] and [`Error::CellsFixed`] if this is not a database for this journal.
    pub fn open(settings: Settings, clock: Clock, chance: Chance) -> Result<Self, Error> {
        if settings.cells == 0 {
            return Err(Error::Invalid("a journal needs at least one cell".into()));
        }
        let cluster = format!("clu-{:016x}", chance.next_u64());
        let first = Database::open(Opening {
            connector: Connector::new(&settings.url)?,
            identity: Identity { cluster, cells: settings.cells, further: None },
            holder: settings.incarnation.bits() as i64,
            call_max: CALL_MAX,
            clock,
            chance,
        })?;
        let databases = Databases::new(first.handle().clone(), settings.cells);
        Ok(Self { databases: Arc::new(databases), first })
    }

    /// The name that the cluster was given when its first database was begun.
    pub fn cluster(&self) -> &str {
        self.first.handle().cluster()
    }

    /// The last record of each cell, by the database that its tail is in. Blocks.
    ///
    /// # Errors
    /// [`Error::Lost`] if a database has a cell at a newer epoch than the one where the first database says it is: they are not of
    /// the same moment. [`Error::Unavailable`] and [`Error::Unfit`] of any of them.
    pub fn lasts(&self) -> Result<Vec<Seq>, Error> {
        let databases = self.databases.clone();
        self.first.handle().run(async move { databases.lasts().await })
    }

    /// Whether a database answers, and can hold tails of this cluster. Blocks.
    ///
    /// # Errors
    /// Why not.
    pub fn reach(&self, database: DatabaseId) -> Result<(), Error> {
        let databases = self.databases.clone();
        self.first.handle().run(async move { databases.reach(database).await })
    }

    /// Brings the tail of a cell that nobody owns, or that this journal has released, to another database. This journal has it in the
    /// first database then, and takes it over as any other. Blocks, for as long as copying takes.
    ///
    /// # Errors
    /// The tail is in one of the two then, whole, whichever is said; [`Error::Fenced`] if somebody else has the cell.
    pub fn move_tail(&self, cell: CellId, to: DatabaseId) -> Result<(), Error> {
        let databases = self.databases.clone();
        self.first.handle().run(async move { databases.move_tail(cell, to).await })
    }
}

impl Journal for PostgresJournal {
    fn open(&self, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        let (databases, cells) = (self.databases.clone(), cells.to_vec());
        self.first.handle().run(async move { databases.open(&cells).await })
    }

    fn open_at(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        let (databases, cells) = (self.databases.clone(), cells.to_vec());
        self.first.handle().run(async move { databases.open_at(&cells).await })
    }

    fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        let databases = self.databases.clone();
        self.first.handle().run(async move { databases.release(cell, epoch).await })
    }

    fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        self.databases.append(cell, epoch, record)
    }

    fn settled(&self, cell: CellId, epoch: Epoch, seq: Seq) -> Pending {
        self.databases.with(cell, |database| database.settled(cell, epoch, seq))
    }

    fn replay(&self, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let databases = self.databases.clone();
        self.first.handle().run(async move { databases.replay(cell, after).await })
    }

    fn truncate(&self, cell: CellId, through: Seq) -> Result<(), Error> {
        self.databases.with(cell, |database| database.truncate(cell, through))
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = Error> + Send + '_>> {
        Box::pin(self.first.handle().shared.stopped())
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = Fenced> + Send + '_>> {
        Box::pin(self.first.handle().shared.lost())
    }
}
