//! What agents keep, as it lies on disk: for checks while no node runs.
//!
//! Always true: it is what the next start of a node would find, the store with the journal's tail over it; nothing of it is
//! written, no cell is taken over, and no agent runs.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use stride_ids::{Address, CellId, Layout, Seq};
use stride_journal::{Error, Record, embedded::Look};
use stride_store::{RowKey, Rows, Store};

use crate::{
    native::NativeType,
    record::Header,
    recover::{OpenError, catch_up, for_each},
};

/// The state of a node that does not run.
pub struct Offline {
    pub(crate) store: Arc<Store>,
}

impl Offline {
    /// Reads the store in `store` and, over it, what `journal` has behind it. Holds both until it is dropped. `types` knows the
    /// agent types that were deployed.
    ///
    /// # Errors
    /// Those with which a node would not start.
    pub fn open(journal: &Look, store: &Path, types: &Layout) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open_to_look(store, types.in_cells(journal.cells()))?);
        Self::over(store, |cell| journal.last(cell), |cell, after| journal.replay(cell, after))
    }

    /// The same over a store that is open, with what a journal has behind it: where each cell ends there, and
    /// its records behind a position.
    ///
    /// # Errors
    /// Those with which a node would not take a cell over.
    pub fn over(
        store: Arc<Store>,
        last: impl Fn(CellId) -> Seq,
        replay: impl Fn(CellId, Seq) -> Result<Vec<Record>, Error>,
    ) -> Result<Self, OpenError> {
        for cell in (0..store.layout().cells()).map(CellId) {
            catch_up(&store, cell, last(cell), |after| replay(cell, after))?;
        }
        Ok(Self { store })
    }

    /// Its cells, and the agent types that were deployed.
    pub fn layout(&self) -> &Layout {
        self.store.layout()
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = CellId> + use<> {
        (0..self.layout().cells()).map(CellId)
    }

    /// The agents of a type that the platform serves itself, of all tenants, with their typed state.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn agents(&self, kind: &NativeType) -> Result<Vec<(Address, Option<Bytes>)>, OpenError> {
        let (name, mut found) = (kind.name(), Vec::new());
        for cell in self.cells() {
            for_each(&self.store, Rows::Headers(cell), |row, bytes| {
                if let RowKey::Header(agent) = row
                    && agent.kind == name
                {
                    found.push((agent, Header::decode(bytes)?.state));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Entries of an agent's keyed map that come after `after`, in order, `limit` at most.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn scan(&self, agent: &Address, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, OpenError> {
        Ok(self.store.scan_map(agent, "", after, limit)?)
    }
}
