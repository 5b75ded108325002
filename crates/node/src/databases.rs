//! The databases of a cluster, for whoever adds one or asks: by the address of the first one, whether or not nodes run.

use stride_cluster::PostgresTables;
pub use stride_ids::DatabaseId;
pub use stride_journal::postgres::DatabaseStatus;
use stride_journal::postgres::Directory;
use stride_sim::Chance;

use crate::DatabaseUrl;

/// Why a database was not added, or cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The databases themselves.
    #[error(transparent)]
    Journal(#[from] stride_journal::Error),
    /// The database was added, but no cells were sent there.
    #[error("{number} was added, but no cells are on their way to it")]
    NotSpread {
        /// Which.
        number: DatabaseId,
        /// Why.
        source: stride_cluster::Error,
    },
}

impl DatabaseError {
    /// Whether a database could not be reached.
    pub fn is_unreachable(&self) -> bool {
        use stride_cluster::Error as Tables;
        use stride_journal::Error as Journal;

        matches!(self, Self::Journal(Journal::Unavailable(_)) | Self::NotSpread { source: Tables::Unavailable(_), .. })
    }
}

/// A database that was added.
#[derive(Clone, Copy, Debug)]
pub struct Added {
    /// Its number.
    pub number: DatabaseId,
    /// How many cells are on their way from one database to another, so that all have about as many.
    pub moving: usize,
}

/// All databases, by number.
///
/// # Errors
/// [`DatabaseError::Journal`] if the first one cannot be asked; what is wrong with others is said beside them.
pub async fn list(cluster: &DatabaseUrl) -> Result<Vec<DatabaseStatus>, DatabaseError> {
    Ok(Directory::new(&cluster.0)?.list().await?)
}

/// Adds a database, and has cells spread over all of them.
///
/// # Errors
/// [`DatabaseError::Journal`] if it is refused, and nothing has changed; [`DatabaseError::NotSpread`].
pub async fn add(cluster: &DatabaseUrl, url: &DatabaseUrl) -> Result<Added, DatabaseError> {
    let number = Directory::new(&cluster.0)?.add(&url.0, &Chance::from_os()).await?;
    let spread = async { PostgresTables::new(&cluster.0)?.spread().await };
    let moving = spread.await.map_err(|source| DatabaseError::NotSpread { number, source })?;
    Ok(Added { number, moving })
}

/// Says that a database has another address.
///
/// # Errors
/// [`DatabaseError::Journal`] if another database is there, and nothing has changed.
pub async fn readdress(cluster: &DatabaseUrl, number: DatabaseId, url: &DatabaseUrl) -> Result<(), DatabaseError> {
    Ok(Directory::new(&cluster.0)?.readdress(number, &url.0).await?)
}
