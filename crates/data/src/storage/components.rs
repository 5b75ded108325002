//! Deployed components in the store that a cluster's nodes share, by the BLAKE3 of their bytes.
//!
//! Always true: what is given out has the hash that was asked for. Nothing is ever removed.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use stride_sim::Clock;

use super::answer_within;
use crate::{chunk::ChunkHash, error::Error};

/// Where the components of a cluster are.
#[derive(Clone, Debug)]
pub struct Components {
    store: Arc<dyn ObjectStore>,
    clock: Option<Clock>,
}

impl Components {
    pub(super) fn new(store: Arc<dyn ObjectStore>, clock: Option<Clock>) -> Self {
        Self { store, clock }
    }

    /// Keeps a component, durably, and says under which hash, in hex. Keeping it again does no harm, and repairs it.
    ///
    /// # Errors
    /// If the storage cannot be written to.
    pub async fn put(&self, bytes: Bytes) -> Result<String, Error> {
        let hash = ChunkHash::of(&bytes).to_string();
        let path = Path::from(hash.as_str());
        let put = self.store.put(&path, PutPayload::from_bytes(bytes));
        answer_within(self.clock.as_ref(), put).await.map_err(|e| Error::storage("write a component", &e))?;
        Ok(hash)
    }

    /// The component with this hash, in hex.
    ///
    /// # Errors
    /// [`Error::NoComponent`] if there is none, or it is not what was put; otherwise if the storage cannot be read.
    pub async fn get(&self, hash: &str) -> Result<Bytes, Error> {
        let lost = |why| Error::NoComponent { hash: hash.to_owned(), why };
        let wanted = ChunkHash::from_hex(hash).ok_or_else(|| lost("that is no hash"))?;
        let path = Path::from(hash);
        let get = async { self.store.get(&path).await?.bytes().await };
        let bytes = match answer_within(self.clock.as_ref(), get).await {
            Ok(bytes) => bytes,
            Err(e) if matches!(e, object_store::Error::NotFound { .. }) && !super::open::is_missing_bucket(&e) => {
                return Err(lost("it is not in the object store"));
            }
            Err(e) => return Err(Error::storage("read a component", &e)),
        };
        if ChunkHash::of(&bytes) == wanted { Ok(bytes) } else { Err(lost("it is damaged in the object store")) }
    }
}
