//! How a call can fail, split by what its caller should do.

use std::{io, sync::Arc, time::Duration};

use stride_ids::Name;

use crate::{Malformed, PeerAddr};

/// A call that has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It was not executed and never will be: it may be sent again, or to another node.
    #[error("the call was not executed: {0}")]
    NotSent(Why),
    /// It was sent and may have been executed, or not: send it again only if its effect counts once.
    #[error("the call was sent and has no answer: {0}")]
    NoAnswer(Why),
    /// The deadline passed after it was sent. It may have been executed, or not.
    #[error("the call was sent and has no answer by its deadline")]
    Late,
    /// It was not executed, because too many calls are in flight, here or there: wait before anything is sent again.
    #[error("the call was not executed: too many calls are in flight")]
    Overloaded,
    /// It would be the same again: send less, or ask for less.
    #[error("the {0} is larger than the {max} bytes that are allowed", max = crate::BODY_LEN_MAX)]
    TooLarge(Part),
}

/// Which part of a call is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What was to be sent; nothing was executed.
    Body,
    /// What came out; the call was executed.
    Answer,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Body => "body of the call",
            Self::Answer => "answer",
        })
    }
}

/// Why a call was not sent, or was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// There is no connection to the peer.
    #[error("{0}")]
    Unreachable(Arc<Unreachable>),
    /// The deadline passed while a connection was being made, or while others had to be sent first.
    #[error("its deadline passed before it could be sent")]
    NoTime,
    /// The connection ended.
    #[error("{0}")]
    Lost(Broken),
    /// The peer ends, and begins nothing new.
    #[error("the peer is about to end")]
    Leaving,
    /// The peer does not serve this; an older or a newer release may.
    #[error("the peer does not offer this service")]
    NotServed,
    /// What answers there panicked, which is a bug.
    #[error("the peer failed while it answered; its log says why")]
    Failed,
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The peer closed it, or its process ended.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing was heard from the peer for about two seconds.
    #[error("nothing was heard from the peer any more")]
    Silent,
    /// The operating system or TLS says why.
    #[error("the connection broke: {0}")]
    Io(Arc<io::Error>),
    /// The peer asks and asks, and does not read the answers.
    #[error("the peer does not read what it is sent")]
    Unread,
    /// What came is no frame.
    #[error("the peer sent what is no frame: {0}")]
    Malformed(#[from] Malformed),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {cause}")]
pub struct Unreachable {
    pub(crate) peer: PeerAddr,
    #[source]
    pub(crate) cause: NotConnected,
}

/// What was in the way of a connection. Both ends find out: the one that connects, and the one that was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotConnected {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error(
        "the other side closed the connection before it said who it is; with TLS, it may have refused our certificate"
    )]
    Closed,
    #[error("TLS failed: {0}; both sides need certificates of the same CA, made for the host that they are reached by")]
    Tls(#[source] io::Error),
    #[error("no connection within {0:?}")]
    Slow(Duration),
    #[error("what answers there is no node, or one that has TLS where this one has not")]
    NotANode,
    #[error(
        "the other side speaks version {theirs} of the protocol and this node version {ours}: upgrade the older one"
    )]
    Version { ours: u16, theirs: u16 },
    #[error("the other side belongs to the cluster `{theirs}` and this node to `{ours}`")]
    Cluster { ours: Name, theirs: Name },
}
