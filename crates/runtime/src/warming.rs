//! Bringing bytes here before anybody asks for them: what a cell that came used on the node where it was, and what work waits for on another
//! one.
//!
//! Always true: nothing is brought where labels do not allow it; it comes slowly, one piece after another, and not at all while memory
//! is short or the cache nearly full. It is a favour: whatever goes wrong, who needs the bytes fetches them.
//! Not here: which pieces those are (see `data`, `placement` and `copies`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stride_data::{PIECES_MAX, Piece};
use stride_ids::Failure;
use tokio::sync::{Mutex, Semaphore};

use crate::{functions::Functions, here::Here};

/// How many bytes are brought at a time.
const BYTES_MAX: u64 = 64 << 20;
/// How many a second, so that work which waits for its own bytes hardly notices.
const RATE: u64 = 32 << 20;
/// How many lists of pieces are taken at a time. When more would have their turn, nobody might want their bytes any more.
const LISTS_MAX: usize = 8;

/// The lists of pieces that others asked for, and what became of them.
pub(crate) struct Warming {
    places: Semaphore,
    /// Held while the pieces of one list are brought.
    turn: Mutex<()>,
    fetched_bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Warming {
    pub(crate) fn new() -> Self {
        Self {
            places: Semaphore::new(LISTS_MAX),
            turn: Mutex::default(),
            fetched_bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// How many bytes were brought, and how many pieces were not.
    pub(crate) fn stats(&self) -> (u64, u64) {
        (self.fetched_bytes.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

impl Functions {
    /// Brings pieces of objects into this node's caches, the first ones first, as many as fit. How many bytes came.
    pub async fn warm(&self, pieces: Vec<Piece>) -> u64 {
        let asked = pieces.len() as u64;
        let (brought, fetched) = match self.warming.places.try_acquire() {
            Ok(_place) => self.bring(pieces).await,
            Err(_) => (0, 0),
        };
        self.warming.dropped.fetch_add(asked - brought, Ordering::Relaxed);
        fetched
    }

    /// How many of the pieces are here now, and how many bytes came for that.
    async fn bring(&self, pieces: Vec<Piece>) -> (u64, u64) {
        let (host, mut brought, mut fetched) = (self.registry.host(), 0, 0);
        // One cell, or one copy, after another.
        let _turn = self.warming.turn.lock().await;
        for piece in pieces.into_iter().take(PIECES_MAX) {
            let Ok(here) = host.here() else { break };
            if fetched >= BYTES_MAX || host.memory.is_crowded() || !here.objects.has_room() {
                break;
            }
            match here.fetch(&piece).await {
                Ok(bytes) => {
                    (brought, fetched) = (brought + 1, fetched + bytes);
                    self.warming.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
                    host.clock.sleep(Duration::from_millis(bytes * 1_000 / RATE)).await;
                }
                Err(failure) => tracing::debug!(object = %piece.object, piece.chunk, %failure, "not brought ahead"),
            }
        }
        (brought, fetched)
    }
}

impl Here<'_> {
    /// How many bytes of a piece had to be fetched.
    async fn fetch(self, Piece { object, chunk }: &Piece) -> Result<u64, Failure> {
        let objects = self.reach(&object.tenant, &object.bucket).await?;
        Ok(objects.open(object, None).await?.fetch(*chunk).await?)
    }
}
