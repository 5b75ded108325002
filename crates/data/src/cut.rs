//! Streams of bytes in pieces that lie in memory as a disk wants them.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::{Stream, TryStreamExt as _, stream};

use crate::buffers::Buffers;

/// Cuts a stream of bytes, however they come, into pieces of `piece_len`; the last one may be shorter. `first_len` is how
/// long the first one will be, as far as is known.
pub fn cut<S, E>(
    body: S,
    buffers: &Arc<Buffers>,
    piece_len: usize,
    first_len: usize,
) -> impl Stream<Item = Result<Bytes, E>> + use<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
{
    struct Cut<S> {
        body: std::pin::Pin<Box<S>>,
        buffers: Arc<Buffers>,
        /// What came last and is not in a piece yet.
        rest: Bytes,
        room: usize,
    }
    let state = Cut { body: Box::pin(body), buffers: buffers.clone(), rest: Bytes::new(), room: first_len };
    stream::try_unfold(state, move |mut cut| async move {
        let mut piece = cut.buffers.take(cut.room);
        loop {
            // More came than was announced.
            if piece.is_full() && piece.len() < piece_len && !cut.rest.is_empty() {
                let short = std::mem::replace(&mut piece, cut.buffers.take(piece_len));
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
    use std::convert::Infallible;

    use super::*;

    async fn pieces(parts: &[&'static str], piece_len: usize) -> Vec<Bytes> {
        let body = stream::iter(parts.iter().map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))));
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
