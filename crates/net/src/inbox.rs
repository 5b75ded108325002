//! Reads frames.
//!
//! Small frames are copied out of one buffer that lives as long as the connection, so that a body holds no more memory than its
//! own. The body of a large one gets its memory at once and is read into it, without a copy.

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use crate::{
    Broken,
    frame::{HEADER_LEN, Header},
    metrics,
    wire::Source,
};

const BUFFER_LEN: usize = 64 << 10;
/// Longer bodies are read into memory of their own.
const COPIED_MAX: usize = 16 << 10;

pub(crate) struct Inbox {
    source: Source,
    buffer: Box<[u8]>,
    /// What was read and not yet taken.
    filled: std::ops::Range<usize>,
    /// A large body that is being read.
    large: Option<(Header, BytesMut)>,
    /// Whether anything came since somebody asked.
    heard: bool,
}

impl Inbox {
    pub(crate) fn new(source: Source) -> Self {
        let buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        Self { source, buffer, filled: 0..0, large: None, heard: false }
    }

    /// The next frame. Nothing is lost if this is dropped before it ends.
    pub(crate) async fn next(&mut self) -> Result<(Header, Bytes), Broken> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Whether the next frame is here already.
    pub(crate) fn has_next(&self) -> bool {
        match self.buffer[self.filled.clone()].first_chunk() {
            // What is malformed is here as well.
            Some(header) => Header::decode(header).map_or(true, |header| HEADER_LEN + header.len <= self.filled.len()),
            None => false,
        }
    }

    /// Whether anything came since the last time that this was asked.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    fn take(&mut self) -> Result<Option<(Header, Bytes)>, Broken> {
        if let Some((header, body)) = self.large.take_if(|(header, body)| body.len() == header.len) {
            return Ok(Some((header, body.freeze())));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let here = &self.buffer[self.filled.clone()];
        let Some((header, rest)) = here.split_first_chunk() else { return Ok(None) };
        let header = Header::decode(header)?;
        let body = &rest[..rest.len().min(header.len)];
        if body.len() == header.len {
            let body = Bytes::copy_from_slice(body);
            self.consume(HEADER_LEN + header.len);
            return Ok(Some((header, body)));
        }
        if header.len > COPIED_MAX {
            let mut large = BytesMut::with_capacity(header.len);
            large.extend_from_slice(body);
            self.consume(HEADER_LEN + large.len());
            self.large = Some((header, large));
        }
        Ok(None)
    }

    fn consume(&mut self, count: usize) {
        self.filled.start += count;
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        let count = match &mut self.large {
            Some((header, body)) => {
                let left = header.len - body.len();
                self.source.read_buf(&mut bytes::BufMut::limit(body, left)).await?
            }
            None => {
                // A frame that waits for its rest has at most `COPIED_MAX` bytes, so there is room behind it.
                if self.filled.start > 0 {
                    self.buffer.copy_within(self.filled.clone(), 0);
                    self.filled = 0..self.filled.len();
                }
                let count = self.source.read(&mut self.buffer[self.filled.end..]).await?;
                self.filled.end += count;
                count
            }
        };
        if count == 0 {
            return Err(Broken::Closed);
        }
        metrics::BYTES_RECEIVED.increment(count as u64);
        self.heard = true;
        Ok(())
    }
}
