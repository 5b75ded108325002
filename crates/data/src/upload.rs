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

use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use stride_ids::{Name, ObjectName};
use stride_sim::{Clock, Tasks};
use tokio::sync::oneshot;

use crate::{
    buffers::Buffers,
    chunk::{ChunkHash, ChunkId},
    chunks::Chunks,
    error::Error,
    pins::{Pin, Pins},
    row::Hashes,
};

/// How many chunks are hashed and written at the same time.
const IN_FLIGHT: usize = 2;
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

/// Cuts a stream of bytes, however they come, into pieces of `piece_len`; the last one may be shorter. `first_len` is how
/// long the first one will be, as far as is known.
fn cut<S>(
    body: S,
    buffers: &Arc<Buffers>,
    piece_len: usize,
    first_len: usize,
) -> impl Stream<Item = Result<Bytes, Error>>
where
    S: Stream<Item = Result<Bytes, Error>> + Send,
{
    struct Cut<S> {
        body: std::pin::Pin<Box<S>>,
        /// What came last and is not in a piece yet.
        rest: Bytes,
        room: usize,
    }
    let state = Cut { body: Box::pin(body), rest: Bytes::new(), room: first_len };
    stream::try_unfold(state, move |mut cut| async move {
        let mut piece = buffers.take(cut.room);
        loop {
            // More came than was announced.
            if piece.is_full() && piece.len() < piece_len && !cut.rest.is_empty() {
                let short = std::mem::replace(&mut piece, buffers.take(piece_len));
                piece.fill(short.as_ref());
            }
            let filled = piece.fill(&cut.rest);
            cut.rest.advance(filled);
            if piece.len() == piece_len {
                break;
            }
            if cut.rest.is_empty() {
                match cut.body.try_next().await? {
                    Some(more) => cut.rest = more,
                    None if piece.len() == 0 => return Ok(None),
                    None => break,
                }
            }
        }
        cut.room = piece_len;
        Ok(Some((piece.freeze(), cut)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pieces(parts: &[&'static str], piece_len: usize) -> Vec<Bytes> {
        let body = stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))));
        cut(body, &Buffers::new(piece_len), piece_len, 1).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn a_stream_is_cut_at_the_same_places_however_it_comes() {
        for parts in [&["abcdefgh"][..], &["a", "", "bcdefg", "h"], &["abc", "def", "gh"], &["abcdef", "gh", ""]] {
            assert_eq!(pieces(parts, 3).await, ["abc", "def", "gh"], "{parts:?}");
        }
        assert_eq!(pieces(&["abc", "def"], 3).await, ["abc", "def"]);
        assert!(pieces(&[], 3).await.is_empty() && pieces(&["", ""], 3).await.is_empty());
    }
}
