//! Loading: the newest snapshot that is sound, or of it what the store has not got.

use std::sync::Arc;

use futures::future;
use stride_ids::{CellId, Seq};
use stride_store::{Import, Store};

use crate::{
    Snapshots,
    error::Error,
    manifest::{File, ManifestName},
    remote::{Listing, path_of},
    rows::Decoder,
};

/// How many bytes are read at a time; twice as many are held.
const PIECE_BYTES: u64 = 8 << 20;

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Where the store is now with the cell.
    pub position: Seq,
    /// How many bytes were read.
    pub bytes: u64,
    /// From how many files.
    pub files: usize,
}

impl Snapshots {
    /// Brings a cell of the store to the newest snapshot, unless what the store has is newer, and says where it is then. If
    /// that snapshot is damaged, the one before is used, with a warning; the journal may have the rest. May be called at
    /// any time before the cell is taken over, and then again: only what is new is read. Nobody may use the cell meanwhile.
    ///
    /// # Errors
    /// [`Error::Behind`], [`Error::Damaged`] or [`Error::Missing`] if the cell cannot be brought to `at_least`;
    /// [`Error::Storage`] if the store does not answer. The cell is at a position where everything is as it was, or empty.
    pub async fn load(&self, store: &Arc<Store>, cell: CellId, at_least: Seq) -> Result<Loaded, Error> {
        let _alone = self.busy(cell).await;
        let listing = self.remote.list(cell).await?;
        let mut loaded = Loaded { position: Seq::ZERO, bytes: 0, files: 0 };
        let mut trouble = None;
        for name in listing.manifests.keys().rev() {
            if name.position <= store.position(cell) {
                break;
            }
            match self.load_one(store, cell, *name, &listing, &mut loaded).await {
                Ok(()) => break,
                Err(e) if e.is_of_one_snapshot() => {
                    tracing::error!(
                        "{cell} cannot be loaded from its snapshot at record {}: {e}; an older one is tried",
                        name.position.0
                    );
                    trouble = Some(e);
                }
                Err(e) => return Err(e),
            }
        }
        loaded.position = store.position(cell);
        if loaded.position >= at_least {
            return Ok(loaded);
        }
        Err(trouble.unwrap_or(Error::Behind { cell, reached: loaded.position, wanted: at_least }))
    }

    async fn load_one(
        &self,
        store: &Arc<Store>,
        cell: CellId,
        name: ManifestName,
        listing: &Listing,
        loaded: &mut Loaded,
    ) -> Result<(), Error> {
        let manifest = self.whole(cell, name, listing).await?;
        for file in manifest.files_from(store.position(cell)) {
            loaded.bytes += self.load_file(store, cell, file).await?;
            loaded.files += 1;
        }
        Ok(())
    }

    /// Brings a cell of the store to where a file ends. How many bytes that had.
    pub(crate) async fn load_file(&self, store: &Arc<Store>, cell: CellId, file: &File) -> Result<u64, Error> {
        let import = match file.since {
            None => store.import(cell, Seq(file.position))?,
            Some(since) => store.import_changes(cell, Seq(since), Seq(file.position))?,
        };
        let read = self.import(cell, file, import).await;
        if let Err(Error::Damaged { path, .. } | Error::Missing { path }) = &read {
            self.damaged.lock().insert(path.clone());
        }
        read
    }

    /// Imports a file piece by piece, reading the next one meanwhile. How many bytes it had.
    async fn import(&self, cell: CellId, file: &File, import: Import) -> Result<u64, Error> {
        let path = path_of(cell, &file.name);
        let piece = |from: u64| self.remote.read(&path, from..file.len.min(from + PIECE_BYTES));
        let mut sink = Sink::new(path.to_string(), file.clone(), import);
        let (mut from, mut bytes) = (PIECE_BYTES, piece(0).await?);
        while from < file.len {
            let taken = self.tasks.blocking(move || sink.take(&bytes));
            let (taken, next) = future::join(taken, piece(from)).await;
            (sink, bytes) = (taken?, next?);
            from += PIECE_BYTES;
        }
        self.tasks.blocking(move || sink.take(&bytes)?.finish()).await?;
        Ok(file.len)
    }
}

/// A file on its way into the store.
struct Sink {
    path: String,
    file: File,
    import: Import,
    decoder: Decoder,
    hasher: blake3::Hasher,
    rows: u64,
}

impl Sink {
    fn new(path: String, file: File, import: Import) -> Self {
        Self { path, file, import, decoder: Decoder::default(), hasher: blake3::Hasher::new(), rows: 0 }
    }

    fn take(mut self, bytes: &[u8]) -> Result<Self, Error> {
        self.hasher.update(bytes);
        for row in self.decoder.push(bytes).map_err(|what| Error::damaged(&self.path, what))? {
            self.rows += 1;
            match self.import.push(&row) {
                // Rows that were not written so: of another cell, or of a cluster with other cells.
                Err(e @ stride_store::Error::Import { .. }) => return Err(Error::damaged(&self.path, e.to_string())),
                pushed => pushed?,
            }
        }
        Ok(self)
    }

    fn finish(self) -> Result<(), Error> {
        let is_whole = self.decoder.is_at_an_end() && self.rows == self.file.rows;
        if !is_whole || self.hasher.finalize().to_hex().as_str() != self.file.hash {
            return Err(Error::damaged(&self.path, "it is not the file that the manifest names"));
        }
        Ok(self.import.finish()?)
    }
}
