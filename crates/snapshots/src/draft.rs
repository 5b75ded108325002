//! A snapshot that nobody sees yet: its file is written and can be read back, its manifest is not. For cells that begin with rows
//! from elsewhere, which must not be found before the journal begins behind them.

use std::{sync::Arc, time::Duration};

use stride_ids::{CellId, Epoch, Seq};
use stride_store::Store;

use crate::{
    Snapshots,
    error::Error,
    manifest::{File, Manifest},
};

/// All rows of a cell, in the object store, without a manifest. One that is not published is removed by a later sweep.
#[derive(Debug)]
pub struct Draft {
    cell: CellId,
    file: File,
    begun: Duration,
}

impl Draft {
    /// The cell.
    pub fn cell(&self) -> CellId {
        self.cell
    }

    /// How many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.file.len
    }
}

impl Snapshots {
    /// Writes all that is materialised of a cell.
    ///
    /// # Errors
    /// As [`Snapshots::save`].
    pub async fn draft(&self, store: &Arc<Store>, cell: CellId) -> Result<Draft, Error> {
        let begun = self.clock.now();
        Ok(Draft { cell, file: self.write(cell, store.export(cell, None)).await?, begun })
    }

    /// Loads a draft into a store, as its manifest will have it loaded.
    ///
    /// # Errors
    /// As [`Snapshots::load`].
    pub async fn load_draft(&self, store: &Arc<Store>, draft: &Draft) -> Result<(), Error> {
        self.load_file(store, draft.cell, &draft.file).await.map(drop)
    }

    /// Makes a draft the snapshot of its cell, written by the owner of this epoch. Does nothing if there is one that is as new.
    ///
    /// # Errors
    /// [`Error::Slow`] if the draft may be gone already: make it again.
    pub async fn publish(&self, draft: Draft, epoch: Epoch) -> Result<(), Error> {
        let _alone = self.busy(draft.cell).await;
        let newest = self.newest(draft.cell).await?;
        if newest.is_some_and(|newest| newest >= Seq(draft.file.position)) {
            return Ok(());
        }
        let manifest = Manifest::after(None, draft.cell, epoch, draft.file);
        self.publish_manifest(draft.cell, manifest, draft.begun).await.map(drop)
    }
}
