//! What agents keep, as it lies on disk: for checks while no node runs.
//!
//! Always true: it is what the next start of a node would find, the store with the journal's tail over it; nothing of it is
//! written, no cell is taken over, and no agent runs.

use std::path::Path;

use bytes::Bytes;
use stride_ids::{Address, CellId};
use stride_journal::embedded::Look;
use stride_store::{RowKey, Rows, Store};

use crate::{
    native::NativeType,
    record::Header,
    recover::{OpenError, catch_up, for_each},
};

/// The state of a node that does not run.
pub struct Offline {
    store: Store,
    cells: u16,
}

impl Offline {
    /// Reads the store in `store` and, over it, what `journal` has behind it. Holds both until it is dropped.
    ///
    /// # Errors
    /// Those with which a node would not start.
    pub fn open(journal: &Look, store: &Path) -> Result<Self, OpenError> {
        let cells = journal.cells();
        let store = Store::open_to_look(store, cells)?;
        for cell in (0..cells).map(CellId) {
            let records = |after| journal.replay(cell, after);
            catch_up(&store, cell, cells, journal.last(cell), records)?;
        }
        Ok(Self { store, cells })
    }

    /// The agents of a type that the platform serves itself, of all tenants, with their typed state.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn agents(&self, kind: &NativeType) -> Result<Vec<(Address, Option<Bytes>)>, OpenError> {
        let (name, mut found) = (kind.name(), Vec::new());
        for cell in (0..self.cells).map(CellId) {
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
