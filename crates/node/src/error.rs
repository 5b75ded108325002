//! Why a node did not start, and why it ended by itself: each with what to do.

use std::{io, net::SocketAddr, path::PathBuf};

use stride_data::OpenError;
use stride_ids::Failure;

use crate::identity::WrongJournal;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory {dir}")]
    Data {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}; choose another address with --listen")]
    Listen {
        /// Which.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address for S3 clients cannot be listened on.
    #[error("cannot listen on {listen} for S3 clients; choose another address in [s3]")]
    ListenS3 {
        /// Which.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The journal refused to open.
    #[error("the journal in {dir}; `stride check {data}` shows more, `stride repair {data}` offers a way out", data = .dir.parent().unwrap_or(dir).display())]
    Journal {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        source: stride_journal::Error,
    },
    /// The journal in the database refused to open.
    #[error("the journal in PostgreSQL")]
    Database(#[source] stride_journal::Error),
    /// The address for other nodes cannot be listened on.
    #[error("cannot listen on {listen} for other nodes; choose another address with --peers")]
    ListenPeers {
        /// Which.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A cluster needs a store for objects that all its nodes share.
    #[error(
        "a cluster keeps snapshots and objects in a store that all its nodes reach: say which with --objects s3://BUCKET/PREFIX, \
         gs://, az://, or file:///DIR on a shared file system"
    )]
    NoSharedStore,
    /// The certificates cannot be used.
    #[error("the certificates for other nodes")]
    Certificates(#[from] stride_net::TlsError),
    /// The cluster does not take this node.
    #[error("the cluster cannot be joined")]
    Join(#[source] stride_cluster::Error),
    /// The data directory belongs to another journal.
    #[error("data directory {dir}")]
    WrongJournal {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: WrongJournal,
    },
    /// The store refused to open.
    #[error("the store in {dir}; `stride check {data}` shows more", data = .dir.parent().unwrap_or(dir).display())]
    Store {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        source: stride_store::Error,
    },
    /// The objects are somewhere else than where they are asked for.
    #[error("data directory {dir}")]
    OtherPlace {
        /// Which.
        dir: PathBuf,
        /// Where they are, and what to do.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store for objects cannot be used.
    #[error("objects have no place")]
    Objects(#[from] OpenError),
    /// Journal and store do not fit together.
    #[error("the state cannot be recovered")]
    Recover(#[from] stride_agents::OpenError),
    /// The runtime or a deployment could not be brought up.
    #[error("the runtime cannot be brought up")]
    Runtime(#[source] Failure),
}

/// Why a node ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// Nothing more can be made durable.
    #[error("{0}")]
    Journal(stride_journal::Error),
    /// Another node has joined the cluster with this one's name.
    #[error("another node has this one's name now")]
    Replaced,
}
