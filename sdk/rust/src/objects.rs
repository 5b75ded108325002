//! Objects: named immutable bytes in buckets, read where they are kept.
//!
//! ```no_run
//! use std::io::{BufRead, Seek, SeekFrom};
//!
//! use stride::{objects, prelude::*};
//!
//! # fn example() -> Result<(), Failure> {
//! let mut table = objects::open("data", "2026/table.csv")?;
//! let mut heading = String::new();
//! table.read_line(&mut heading)?;
//! table.seek(SeekFrom::End(-100))?;
//! let last = table.read_at(table.size() - 100, 100)?;
//!
//! for entry in objects::list("data", "2026/") {
//!     let entry = entry?;
//!     println!("{}: {} bytes", entry.key, entry.status.size);
//! }
//! objects::put("reports", "heading.txt", "text/plain", heading.as_bytes())?;
//! # Ok(())
//! # }
//! ```
//!
//! Needs the capability `objects` in stride.toml, such as `objects = ["data/*:read", "reports/*:read,write"]`: `read` to open and
//! to list, `write` to put and to delete. A grant for one bucket says nothing about another.
//!
//! **Fast.** An [`Object`] is a [`BufRead`]: its bytes come in pieces of up to 1 MiB, each copied once from the node's cache into
//! the guest. [`fill_buf`](BufRead::fill_buf) shows them where they are; what is read in order is fetched ahead.
//!
//! **Turns.** Objects are no part of a turn: what is put is durable and seen by all when [`put`] returns, also if the turn fails
//! afterwards, and a turn that is tried again puts again. A method that takes `&self` can read objects and not change them.
//!
//! **Warm.** What an agent makes of an object can stay in memory from turn to turn: a field with `#[serde(skip)]` is not part of
//! its state, and empty again after the agent has left memory or a turn has failed.
//!
//! ```
//! use stride::{objects, prelude::*};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Lexicon {
//!     looked_up: u64,
//!     #[serde(skip)]
//!     words: Option<Vec<String>>,
//! }
//!
//! #[stride::agent]
//! impl Lexicon {
//!     fn has(&mut self, word: String) -> Result<bool, Failure> {
//!         if self.words.is_none() {
//!             let text = objects::open("texts", "words.txt")?.read_all()?;
//!             self.words = Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect());
//!         }
//!         self.looked_up += 1;
//!         Ok(self.words.as_ref().is_some_and(|words| words.binary_search(&word).is_ok()))
//!     }
//! }
//! ```

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read, Seek, SeekFrom},
};

use crate::{
    bindings::stride::guest::objects as host,
    failure::{Code, Failure},
};

/// How many bytes are fetched at a time. They are used while the processor still has them at hand, and the host is asked seldom.
const PIECE: u64 = 1 << 20;
/// How many entries of a listing are fetched at a time.
const PAGE: u32 = 256;

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which version. Later ones are greater.
    pub version: u64,
    /// How many bytes it has.
    pub size: u64,
    /// What its bytes are: equal bytes have equal tags.
    pub etag: String,
    /// What kind of bytes they are, as HTTP writes it.
    pub content_type: String,
    /// When it was put, in milliseconds since 1970.
    pub created_at: u64,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its newest version.
    pub status: Status,
}

impl From<host::Status> for Status {
    fn from(status: host::Status) -> Self {
        let host::Status { version, size, etag, content_type, created_at } = status;
        Self { version, size, etag, content_type, created_at }
    }
}

/// Opens the newest version of an object.
///
/// # Errors
/// `not_found`, `capability_denied`, `invalid_request` for a name that cannot be or too many open objects, and whatever the
/// platform answers.
pub fn open(bucket: &str, key: &str) -> Result<Object, Failure> {
    Object::open(bucket, key, None)
}

/// Opens one version of an object. Older ones are there as long as the bucket keeps them.
///
/// # Errors
/// As [`open`].
pub fn open_version(bucket: &str, key: &str, version: u64) -> Result<Object, Failure> {
    Object::open(bucket, key, Some(version))
}

/// The objects of a bucket whose key starts with `prefix`, in key order. They are fetched page by page while you iterate. The
/// capability has to cover all keys with that prefix.
pub fn list(bucket: &str, prefix: &str) -> impl Iterator<Item = Result<Entry, Failure>> + use<> {
    let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
    let mut page = VecDeque::new();
    let mut after = None;
    let mut more = true;
    std::iter::from_fn(move || {
        while page.is_empty() && more {
            let listed = match host::list(&bucket, &prefix, after.as_deref(), PAGE) {
                Ok(listed) => listed,
                Err(failure) => {
                    more = false;
                    return Some(Err(failure.into()));
                }
            };
            page = listed.entries.into();
            more = listed.next.is_some();
            after = listed.next;
        }
        let host::Entry { key, status } = page.pop_front()?;
        Some(Ok(Entry { key, status: status.into() }))
    })
}

/// Puts an object whole, in a new version; it is durable when this returns. A bucket that is not there is made.
///
/// # Errors
/// `capability_denied`, `invalid_request` for a name that cannot be, and whatever the platform answers.
pub fn put(bucket: &str, key: &str, content_type: &str, bytes: &[u8]) -> Result<Status, Failure> {
    Ok(host::put(bucket, key, content_type, bytes)?.into())
}

/// Deletes an object.
///
/// # Errors
/// `not_found`, `capability_denied`, and whatever the platform answers.
pub fn delete(bucket: &str, key: &str) -> Result<(), Failure> {
    Ok(host::delete(bucket, key)?)
}

/// One version of an object, open for reading. It reads on although another version is put or the object is deleted meanwhile.
/// An agent may keep it for its next turns, but then it fails with `not_found` once its version is gone.
#[derive(Debug)]
pub struct Object {
    open: host::Object,
    status: Status,
    /// Where the next read begins.
    at: u64,
    /// What was fetched last, and how much of it is used.
    piece: Vec<u8>,
    used: usize,
}

impl Object {
    fn open(bucket: &str, key: &str, version: Option<u64>) -> Result<Self, Failure> {
        let open = host::open(bucket, key, version)?;
        let status = open.status().into();
        Ok(Self { open, status, at: 0, piece: Vec::new(), used: 0 })
    }

    /// What is open.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.status.size
    }

    /// The `length` bytes from `offset` on. Past the end there are none, so there may be fewer, or none at all.
    ///
    /// # Errors
    /// If the bytes cannot be given out: they are damaged, or the version is gone.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let mut bytes = self.open.read(offset, length as u64)?;
        bytes.reserve_exact(length.saturating_sub(bytes.len()));
        while bytes.len() < length {
            let more = self.open.read(offset + bytes.len() as u64, (length - bytes.len()) as u64)?;
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// All bytes, which have to fit into the guest's memory.
    ///
    /// # Errors
    /// As [`Object::read_at`], and `limit_memory` for more bytes than a guest can ever have.
    pub fn read_all(&self) -> Result<Vec<u8>, Failure> {
        let length = usize::try_from(self.size()).map_err(|_| {
            let message =
                format!("an object of {} bytes does not fit into memory; read it piece by piece", self.size());
            Failure::new(Code::LimitMemory, message)
        })?;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let piece = self.open.read(bytes.len() as u64, PIECE)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

impl BufRead for Object {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len() {
            // Given back before the next one is asked for, so that it takes the same place.
            self.piece = Vec::new();
            self.used = 0;
            self.piece = self.open.read(self.at, PIECE).map_err(|e| io::Error::other(Failure::from(e)))?;
            self.at += self.piece.len() as u64;
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used = (self.used + amount).min(self.piece.len());
    }
}

impl Read for Object {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = self.fill_buf()?;
        let read = piece.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Object {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let here = self.stream_position()?;
        let wanted = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => here.checked_add_signed(offset),
        };
        let wanted = wanted.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position before the first byte of an object")
        })?;
        let begin = self.at - self.piece.len() as u64;
        if (begin..=self.at).contains(&wanted) {
            self.used = usize::try_from(wanted - begin).unwrap_or(self.piece.len());
        } else {
            (self.at, self.used) = (wanted, 0);
            self.piece = Vec::new();
        }
        Ok(wanted)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.at - (self.piece.len() - self.used) as u64)
    }
}
