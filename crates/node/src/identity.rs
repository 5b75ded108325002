//! What a data directory says about itself, written once.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use stride_sim::Chance;

use crate::files::write_durably;

/// The contents of `node.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The format of the data directory.
    pub(crate) format: u32,
    /// The node's name, `nod-` and eight hex digits.
    pub(crate) node: String,
    /// How many cells the directory was created with.
    pub(crate) cells: u16,
}

const FORMAT: u32 = 1;

impl Identity {
    /// Reads the identity of a data directory, or gives a new directory one.
    pub(crate) fn of(dir: &Path, chance: &Chance) -> io::Result<Self> {
        let path = dir.join("node.json");
        let wrong = |why: String| io::Error::other(format!("{} {why}", path.display()));
        match std::fs::read(&path) {
            Ok(bytes) => {
                let identity: Self =
                    serde_json::from_slice(&bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
                if identity.format != FORMAT {
                    return Err(wrong(format!("has format {}; this version reads {FORMAT}", identity.format)));
                }
                Ok(identity)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let node = format!("nod-{:08x}", chance.next_u64() as u32);
                let identity = Self { format: FORMAT, node, cells: stride_ids::CELLS_EMBEDDED };
                let bytes = serde_json::to_vec_pretty(&identity).expect("an identity always encodes");
                write_durably(&path, &bytes)?;
                Ok(identity)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::of(dir.path(), &Chance::seeded(1)).unwrap();
        assert_eq!(Identity::of(dir.path(), &Chance::seeded(2)).unwrap(), first);
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node.json"), r#"{"format":9,"node":"nod-1","cells":64}"#).unwrap();
        let error = Identity::of(dir.path(), &Chance::seeded(1)).unwrap_err().to_string();
        assert!(error.contains("format 9"), "{error}");
    }
}
