//! Saving: a file of rows, then a manifest that names it.
//!
//! What is built on is the newest manifest, and only if it is whole; so what a newer manifest names was either named by the
//! one before it or is new. That is what sweeping relies on.

use std::{sync::Arc, time::Duration};

use stride_ids::{CellId, Epoch, Seq};
use stride_store::{Export, Store};

use crate::{
    Snapshots,
    error::Error,
    manifest::{File, Manifest},
    remote::{Listing, path_of},
    rows::{self, Encoder},
};

/// How many bytes are encoded and written at a time. A store takes 10,000 parts.
const PART_BYTES: usize = 8 << 20;

/// What a save came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// A snapshot at this position was read back: the journal may be truncated up to here.
    pub position: Seq,
    /// How many bytes of rows were written; none if there was such a snapshot already.
    pub bytes: u64,
    /// How many bytes all files of the snapshot have together.
    pub size: u64,
    /// How many files make up the snapshot, the base included.
    pub files: usize,
}

impl Snapshots {
    /// Saves what is materialised of a cell, and only that: what changed since the newest snapshot if the store remembers,
    /// otherwise all of it. Does nothing if there is a snapshot that is as new.
    ///
    /// # Errors
    /// Nothing is lost by any; try again.
    pub async fn save(&self, store: &Arc<Store>, cell: CellId, epoch: Epoch) -> Result<Saved, Error> {
        let _alone = self.busy(cell).await;
        let begun = self.clock.now();
        let before = self.newest_whole(cell, &self.remote.list(cell).await?).await?;
        let position = store.position(cell);
        match before {
            Some(before) if before.name().position >= position => Ok(Saved {
                position: before.name().position,
                bytes: 0,
                size: size(&before),
                files: before.files().len(),
            }),
            _ if position == Seq::ZERO => Ok(Saved { position, bytes: 0, size: 0, files: 0 }),
            before => self.save_after(before, store, cell, epoch, begun).await,
        }
    }

    /// The newest manifest, unless it cannot be used.
    async fn newest_whole(&self, cell: CellId, listing: &Listing) -> Result<Option<Manifest>, Error> {
        let Some((name, _)) = listing.manifests.last_key_value() else { return Ok(None) };
        match self.whole(cell, *name, listing).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(e) if e.is_of_one_snapshot() => {
                tracing::warn!("{cell} is saved from scratch, because its newest snapshot cannot be used: {e}");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    async fn save_after(
        &self,
        before: Option<Manifest>,
        store: &Arc<Store>,
        cell: CellId,
        epoch: Epoch,
        begun: Duration,
    ) -> Result<Saved, Error> {
        let since = before.as_ref().filter(|before| !before.wants_base()).map(|before| before.name().position);
        let file = self.write(cell, store.export(cell, since)).await?;
        let bytes = file.len;
        let manifest = Manifest::after(before, cell, epoch, file);
        let found = self.publish_manifest(cell, manifest, begun).await?;
        let position = found.name().position;
        store.forget_changes(cell, position);
        tracing::debug!("{cell} is saved at record {}, {bytes} bytes", position.0);
        Ok(Saved { position, bytes, size: size(&found), files: found.files().len() })
    }

    /// Writes the manifest of files that were begun to be written at `begun`, and reads it back as whoever loads it will find it.
    pub(crate) async fn publish_manifest(
        &self,
        cell: CellId,
        manifest: Manifest,
        begun: Duration,
    ) -> Result<Manifest, Error> {
        // What took longer might be taken for garbage by who sweeps, or be built on what is garbage now.
        if self.clock.now() - begun > self.grace / 2 {
            return Err(Error::Slow { cell });
        }
        let (name, encoded) = (manifest.name(), manifest.encode());
        let is_new = self.remote.create(&path_of(cell, name), encoded).await?;
        // Should there have been another one of this position and epoch, by a save whose answer was lost, it is as true as ours.
        let listing = self.remote.list(cell).await?;
        let found = self.whole(cell, name, &listing).await?;
        if !listing.manifests.contains_key(&name) || (is_new && found != manifest) {
            return Err(Error::damaged(path_of(cell, name), "the store does not give back what was just written"));
        }
        Ok(found)
    }

    /// Writes a file of rows: with one request if it is small, otherwise in parts.
    pub(crate) async fn write(&self, cell: CellId, export: Export) -> Result<File, Error> {
        let (since, position) = (export.since(), export.position());
        let name = File::new_name(since, position, &self.chance);
        let path = path_of(cell, &name);
        let mut source =
            Source { export, encoder: Encoder::default(), hasher: blake3::Hasher::new(), len: 0, ended: false };
        let mut part;
        (source, part) = self.next_part(source).await?;
        if source.ended {
            self.remote.put(&path, part).await?;
        } else {
            let mut upload = self.remote.begin_upload(&path).await?;
            let written = async {
                loop {
                    upload.push(part).await?;
                    if source.ended {
                        return Ok(source);
                    }
                    (source, part) = self.next_part(source).await?;
                }
            };
            let written = written.await;
            match written {
                Ok(ended) => {
                    upload.finish().await?;
                    source = ended;
                }
                Err(e) => {
                    upload.abort().await;
                    return Err(e);
                }
            }
        }
        let (since, position) = (since.map(|since| since.0), position.0);
        let hash = source.hasher.finalize().to_hex().to_string();
        Ok(File { name, since, position, len: source.len, rows: source.encoder.rows, hash })
    }

    async fn next_part(&self, source: Source) -> Result<(Source, Vec<u8>), Error> {
        self.tasks.blocking(move || source.next_part()).await
    }
}

fn size(manifest: &Manifest) -> u64 {
    manifest.files().iter().map(|file| file.len).sum()
}

/// A file that is being made from an export.
struct Source {
    export: Export,
    encoder: Encoder,
    hasher: blake3::Hasher,
    len: u64,
    ended: bool,
}

impl Source {
    fn next_part(mut self) -> Result<(Self, Vec<u8>), Error> {
        let mut bytes = if self.len == 0 { rows::begin() } else { Vec::new() };
        while bytes.len() < PART_BYTES {
            match self.export.next().transpose()? {
                Some(row) => self.encoder.push(&row, &mut bytes),
                None => {
                    self.encoder.end_block(&mut bytes);
                    self.ended = true;
                    break;
                }
            }
        }
        self.hasher.update(&bytes);
        self.len += bytes.len() as u64;
        Ok((self, bytes))
    }
}
