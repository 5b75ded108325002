//! Which databases a cluster has: for whoever adds one or asks.
//!
//! Always true: a database has a name of its own, written into it before the first one knows it, so one that was added halfway is
//! added by doing it again, and one that is of another cluster, or there already, is refused, whatever its address.
//! What an address has of users and passwords is not told.

use std::fmt;

use stride_ids::DatabaseId;
use stride_sim::Chance;

use super::{
    connect::{Connection, Connector, Trouble},
    schema::{self, Identity, Meta},
    session::{check, database_of},
};
use crate::Error;

const ADD: &str = "
INSERT INTO stride.databases (number, name, url) SELECT coalesce(max(number), 0) + 1, $1, $2 FROM stride.databases
RETURNING number";

const READDRESS: &str = "UPDATE stride.databases SET url = $2 WHERE number = $1 AND name = $3";

const LIST: &str = "
SELECT d.number, d.name, d.url,
    (SELECT count(*) FROM stride.cells c WHERE c.database = d.number),
    (SELECT count(*) FROM stride.cells c WHERE c.database = d.number AND c.moves_to <> d.number),
    (SELECT count(*) FROM stride.cells c WHERE c.database <> d.number AND c.moves_to = d.number)
FROM (SELECT 0 AS number, NULL AS name, NULL AS url UNION ALL SELECT number, name, url FROM stride.databases) d
ORDER BY d.number";

/// The databases of a cluster, as its first one names them.
pub struct Directory {
    first: Connector,
}

impl fmt::Debug for Directory {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("first", &self.first.address()).finish()
    }
}

/// A database, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseStatus {
    /// Its number.
    pub number: DatabaseId,
    /// Its own name; none of the first one.
    pub name: Option<String>,
    /// Hosts, ports and the database there, without user and password.
    pub address: String,
    /// How many cells are in it.
    pub cells: u64,
    /// How many of them are to go elsewhere.
    pub leaving: u64,
    /// How many are to come.
    pub coming: u64,
    /// Why it cannot be used now; none if it can.
    pub trouble: Option<String>,
}

impl Directory {
    /// That of the cluster whose first database this is.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the connection string cannot be used.
    pub fn new(first: &str) -> Result<Self, Error> {
        Ok(Self { first: Connector::new(first)? })
    }

    /// Adds a database, and says which number it has. Nothing is in it yet.
    ///
    /// # Errors
    /// [`Error::Unfit`] if it is of another cluster, of a newer release, or there already, with its number;
    /// [`Error::CellsFixed`]; [`Error::Unavailable`] if one of the two does not answer.
    pub async fn add(&self, url: &str, chance: &Chance) -> Result<DatabaseId, Error> {
        let (first, Meta { cluster, cells, .. }) = self.first().await?;
        let name = format!("dat-{:016x}", chance.next_u64());
        let name = join(url, Identity { cluster, cells, further: Some(name) }).await?;
        let added = async {
            let known =
                first.client().query_opt("SELECT number FROM stride.databases WHERE name = $1", &[&name]).await?;
            if let Some(known) = known {
                let number = database_of(known.get(0));
                let why = format!(
                    "it is {number} of this cluster already; `stride cluster readdress` says that it has another address now"
                );
                return Err(Error::Unfit(why).into());
            }
            // Of two who add at the same time, one hears that the number is taken, and does it again.
            let number = database_of(first.client().query_one(ADD, &[&name, &url]).await?.get(0));
            first.certain(number)
        };
        added.await.map_err(|trouble| of("the new database", trouble))
    }

    /// Says that a database has another address.
    ///
    /// # Errors
    /// [`Error::Unfit`] if what is there is not that database; as [`Directory::add`] otherwise.
    pub async fn readdress(&self, number: DatabaseId, url: &str) -> Result<(), Error> {
        let (first, Meta { cluster, cells, .. }) = self.first().await?;
        let changed = async {
            let sql = "SELECT name FROM stride.databases WHERE number = $1";
            let known = first.client().query_opt(sql, &[&i32::from(number.0)]).await?;
            let name: String = known
                .ok_or_else(|| {
                    Error::Unfit(format!("this cluster has no further {number}; see `stride cluster databases`"))
                })?
                .get(0);
            let identity = Identity { cluster, cells, further: Some(name.clone()) };
            let mut there = connect(url).await?;
            schema::prepare(there.client_mut(), &identity).await?;
            let changed = first.client().execute(READDRESS, &[&i32::from(number.0), &url, &name]).await?;
            first.certain(changed)
        };
        changed.await.map(drop).map_err(|trouble| of("the database at the new address", trouble))
    }

    /// All databases, by number, the first one included.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Unfit`] of the first one; what is wrong with others is said beside them.
    pub async fn list(&self) -> Result<Vec<DatabaseStatus>, Error> {
        let (first, Meta { cluster, cells, .. }) = self.first().await?;
        let rows = first.client().query(LIST, &[]).await.map_err(|e| of("the first database", e.into()))?;
        let mut databases = Vec::with_capacity(rows.len());
        for row in rows {
            let (number, name, url) = (database_of(row.get(0)), row.get::<_, Option<String>>(1), row.get(2));
            let count = |at| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
            let (address, trouble) = match Option::<&str>::map(url, Connector::new) {
                None => (self.first.address(), None),
                Some(Err(invalid)) => (String::new(), Some(invalid.to_string())),
                Some(Ok(connector)) => {
                    let identity = Identity { cluster: cluster.clone(), cells, further: name.clone() };
                    (
                        connector.address(),
                        is_there(&connector, &identity).await.err().map(|trouble| trouble.to_string()),
                    )
                }
            };
            let (here, leaving, coming) = (count(3), count(4), count(5));
            databases.push(DatabaseStatus { number, name, address, cells: here, leaving, coming, trouble });
        }
        Ok(databases)
    }

    async fn first(&self) -> Result<(Connection, Meta), Error> {
        let looked = async {
            let mut first = self.first.connect().await?;
            let meta = schema::look(first.client_mut()).await?;
            Ok((first, meta))
        };
        looked.await.map_err(|trouble| of("the first database", trouble))
    }
}

async fn connect(url: &str) -> Result<Connection, Trouble> {
    let connection = Connector::new(url)?.connect().await?;
    check(connection.client()).await?;
    Ok(connection)
}

async fn is_there(connector: &Connector, identity: &Identity) -> Result<(), Trouble> {
    let mut connection = connector.connect().await?;
    schema::prepare(connection.client_mut(), identity).await.map(drop)
}

async fn join(url: &str, identity: Identity) -> Result<String, Error> {
    let joined = async {
        let mut there = connect(url).await?;
        let name = schema::join(there.client_mut(), &identity).await?;
        there.certain(name)
    };
    joined.await.map_err(|trouble| of("the new database", trouble))
}

/// The same with the database that it is about.
fn of(which: &str, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Passing(why) => Error::Unavailable(format!("{which}: {why}")),
        Trouble::Refused(why) | Trouble::Lasting(Error::Unfit(why)) => Error::Unfit(format!("{which}: {why}")),
        Trouble::Lasting(error) => error,
    }
}
