//! Bringing bytes here before anybody asks for them: what a cell that came used on the node where it was, and what waits elsewhere.
//!
//! Always true: nothing is brought where labels do not allow it; it comes slowly, one piece after another, and not at all while memory
//! is short or the cache nearly full. It is a favour: whatever goes wrong, who needs the bytes fetches them.
//! Not here: which pieces those are (see `data` and `placement`).

use std::time::Duration;

use stride_data::{PIECES_MAX, Piece};

use crate::{functions::Functions, here::Here};

/// How many bytes are brought at a time.
const BYTES_MAX: u64 = 64 << 20;
/// How many a second, so that work which waits for its own bytes hardly notices.
const RATE: u64 = 32 << 20;

impl Functions {
    /// Brings pieces of objects into this node's caches, the first ones first, as many as fit. How many bytes came.
    pub async fn warm(&self, pieces: Vec<Piece>) -> u64 {
        // One cell after another.
        let _one = self.warming.lock().await;
        let mut fetched = 0;
        for piece in pieces.into_iter().take(PIECES_MAX) {
            let Ok(here) = self.registry.host().here() else { break };
            if fetched >= BYTES_MAX || self.registry.host().memory.is_crowded() || !here.objects.has_room() {
                break;
            }
            let bytes = here.fetch(&piece).await;
            fetched += bytes;
            self.registry.host().clock.sleep(Duration::from_millis(bytes * 1_000 / RATE)).await;
        }
        fetched
    }
}

impl Here<'_> {
    /// How many bytes of a piece had to be fetched; none if it cannot be had.
    async fn fetch(self, Piece { object, chunk }: &Piece) -> u64 {
        let fetched = async {
            let objects = self.reach(&object.tenant, &object.bucket).await?;
            Ok::<_, stride_ids::Failure>(objects.open(object, None).await?.fetch(*chunk).await?)
        };
        fetched.await.unwrap_or_else(|failure| {
            tracing::debug!(%object, chunk, %failure, "not brought ahead");
            0
        })
    }
}
