//! Bytes on their way in: cut into chunks, hashed and written while the next ones still arrive.
//!
//! Always true: an upload holds [`IN_FLIGHT`] chunks and the beginning of one more at most, however long it is and however
//! slow the disk; what it has written is pinned until its version is in the index.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use stride_ids::ObjectName;
use stride_sim::{Clock, Tasks};

use crate::{
    chunk::{ChunkHash, ChunkId},
    chunks::Chunks,
    error::Error,
    pins::{Pin, Pins},
    row::Hashes,
};

/// How many chunks are hashed and written at the same time.
const IN_FLIGHT: usize = 2;
/// How long the next bytes may be waited for: whoever sends nothing takes the place of somebody who would.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long an object may be, in bytes: its hashes have to fit into one turn, twice while an older version is kept.
pub(crate) const OBJECT_LEN_MAX: u64 = 256 << 30;

pub(crate) struct Upload<'a> {
    pub(crate) chunks: &'a Chunks,
    pub(crate) pins: &'a Arc<Pins>,
    pub(crate) tasks: &'a Tasks,
    pub(crate) clock: &'a Clock,
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
        let pieces = cut(body, self.chunk_len, first_len.min(self.chunk_len));
        let mut stored = std::pin::pin!(pieces.map(|piece| self.store(piece)).buffered(IN_FLIGHT));
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

    async fn store(&self, piece: Result<Bytes, Error>) -> Result<(u64, Pin), Error> {
        let piece = piece?;
        let hashed = piece.clone();
        let hash = self.tasks.blocking(move || ChunkHash::of(&hashed)).await;
        let pin = self.pins.pin(ChunkId { tenant: self.name.tenant.clone(), hash }).await;
        let len = piece.len() as u64;
        self.chunks.put(&pin.id, piece).await?;
        Ok((len, pin))
    }
}

/// Cuts a stream of bytes, however they come, into pieces of `piece_len`; the last one may be shorter.
fn cut<S>(body: S, piece_len: usize, first_len: usize) -> impl Stream<Item = Result<Bytes, Error>>
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
        let mut piece = BytesMut::with_capacity(cut.room);
        loop {
            let fits = cut.rest.len().min(piece_len - piece.len());
            piece.extend_from_slice(&cut.rest.split_to(fits));
            if piece.len() == piece_len {
                break;
            }
            match cut.body.try_next().await? {
                Some(more) => cut.rest = more,
                None if piece.is_empty() => return Ok(None),
                None => break,
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
        cut(body, piece_len, 1).try_collect().await.unwrap()
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
