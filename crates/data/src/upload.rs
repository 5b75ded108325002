//! Bytes on their way in: cut into chunks, hashed and written while the next ones still arrive.
//!
//! Always true: an upload holds [`IN_FLIGHT`] chunks and the beginning of one more at most, however long it is and however
//! slow the disk; what it has written is pinned until its version is in the index.
//!
//! Chunks that are written wait for the disk without being held, many at a time: the file system makes many files durable
//! in hardly more time than one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use stride_ids::{Name, ObjectName};
use stride_sim::{Clock, Tasks};
use tokio::sync::oneshot;

use crate::{
    buffers::Buffers,
    chunk::{ChunkHash, ChunkId},
    chunks::Chunks,
    cut::cut,
    error::Error,
    pins::{Pin, Pins},
    row::Hashes,
};

/// How many chunks are hashed and written at the same time.
const IN_FLIGHT: usize = 4;
/// How many chunks that are written wait for the disk at the same time.
const SYNCING: usize = 16;
/// How long the next bytes may be waited for: whoever sends nothing takes the place of somebody who would.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long an object may be, in bytes: its hashes have to fit into one turn, twice while an older version is kept.
pub(crate) const OBJECT_LEN_MAX: u64 = 256 << 30;

pub(crate) struct Upload<'a> {
    pub(crate) chunks: &'a Arc<Chunks>,
    pub(crate) buffers: &'a Arc<Buffers>,
    pub(crate) pins: &'a Arc<Pins>,
    pub(crate) tasks: &'a Tasks,
    pub(crate) clock: &'a Clock,
    /// To be set if something is left that no version names.
    pub(crate) garbage: &'a Arc<AtomicBool>,
    pub(crate) name: &'a ObjectName,
    pub(crate) chunk_len: usize,
}

/// Bytes that are durable and belong to no object yet.
pub(crate) struct Uploaded {
    pub(crate) len: u64,
    pub(crate) hashes: Hashes,
    /// Keeps them until the index names them.
    pub(crate) _pins: Vec<Pin>,
}

impl Upload<'_> {
    /// Makes all bytes of `body` durable. `announced` is how many there will be, if that is known.
    pub(crate) async fn run<S, E>(&self, body: S, announced: Option<u64>) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let too_large = || Error::TooLarge { object: self.name.to_string(), max: OBJECT_LEN_MAX };
        if announced.is_some_and(|len| len > OBJECT_LEN_MAX) {
            return Err(too_large());
        }
        let broken_off = |why| Error::BrokenOff { object: self.name.to_string(), why };
        let body = stream::try_unfold(Box::pin(body), |mut body| async move {
            let more = self.clock.timeout(IDLE_MAX, body.try_next()).await;
            let more = more.map_err(|_| broken_off(format!("nothing came for {IDLE_MAX:?}")))?;
            Ok(more.map_err(|e| broken_off(e.to_string()))?.map(|more| (more, body)))
        });
        let first_len = announced.map_or(self.chunk_len, |len| usize::try_from(len).unwrap_or(usize::MAX));
        let pieces = cut(body, self.buffers, self.chunk_len, first_len.min(self.chunk_len));
        let written = pieces.map(|piece| self.begin(piece)).buffered(IN_FLIGHT);
        let durable = written.map(|stored| async {
            let ended = |_| Error::Storage { doing: "write a chunk", why: "the node ends".into() };
            stored?.await.map_err(ended)?
        });
        let mut stored = std::pin::pin!(durable.buffered(SYNCING));
        let (mut len, mut hashes, mut pins) = (0u64, Vec::new(), Vec::new());
        while let Some((piece_len, pin)) = stored.try_next().await? {
            len += piece_len;
            if len > OBJECT_LEN_MAX {
                return Err(too_large());
            }
            hashes.push(pin.id.hash);
            pins.push(pin);
        }
        Ok(Uploaded { len, hashes: Hashes::of(&hashes), _pins: pins })
    }

    /// Begins to make a piece durable, in a task of its own: it goes on also when the upload is dropped, and what it writes is
    /// pinned until then, so that it is known when something is left over. Returns when the piece is no longer held.
    async fn begin(&self, piece: Result<Bytes, Error>) -> Result<Storing, Error> {
        let piece = piece?;
        let (chunks, pins, tasks) = (self.chunks.clone(), self.pins.clone(), self.tasks.clone());
        let (tenant, garbage) = (self.name.tenant.clone(), self.garbage.clone());
        let (send, stored) = oneshot::channel();
        let (held, released) = oneshot::channel();
        self.tasks.spawn(async move {
            let unwanted = send.send(store(&chunks, &pins, &tasks, tenant, piece, held).await).err();
            if unwanted.is_some() {
                drop(unwanted);
                garbage.store(true, Ordering::Relaxed);
            }
        });
        // That the other end is dropped is all that is ever said here.
        let _ = released.await;
        Ok(stored)
    }
}

/// Resolves when a piece is durable.
type Storing = oneshot::Receiver<Result<(u64, Pin), Error>>;

async fn store(
    chunks: &Chunks,
    pins: &Arc<Pins>,
    tasks: &Tasks,
    tenant: Name,
    piece: Bytes,
    held: oneshot::Sender<()>,
) -> Result<(u64, Pin), Error> {
    let hashed = piece.clone();
    let hash = tasks.blocking(move || ChunkHash::of(&hashed)).await;
    let pin = pins.pin(ChunkId { tenant, hash }).await;
    let len = piece.len() as u64;
    chunks.put(&pin.id, piece, held).await?;
    Ok((len, pin))
}
