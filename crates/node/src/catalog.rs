//! What is deployed, on disk: components by content hash, and for each component's name the deployment in force.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stride_gateway::Deployment;
use stride_ids::Name;

use crate::files::write_durably;

/// The deployments of a node.
pub(crate) struct Catalog {
    components: PathBuf,
    deployments: PathBuf,
}

/// A deployment as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) format: u32,
    pub(crate) tenant: Name,
    pub(crate) deployment: Deployment,
    /// The manifest as it was sent.
    pub(crate) manifest: String,
    /// The component's whole content hash, in hex.
    pub(crate) content: String,
}

pub(crate) const FORMAT: u32 = 1;

impl Catalog {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let catalog = Self { components: dir.join("components"), deployments: dir.join("deployments") };
        fs::create_dir_all(&catalog.components)?;
        fs::create_dir_all(&catalog.deployments)?;
        Ok(catalog)
    }

    /// Keeps a deployment; from now on it is the one in force.
    pub(crate) fn put(&self, entry: &Entry, component: &[u8]) -> io::Result<()> {
        let path = self.component_path(&entry.content);
        if !path.exists() {
            write_durably(&path, component)?;
        }
        let name = format!("{}.{}.json", entry.tenant, entry.deployment.component);
        let bytes = serde_json::to_vec_pretty(entry).expect("a deployment always encodes");
        write_durably(&self.deployments.join(name), &bytes)
    }

    /// Every deployment in force, with its component.
    pub(crate) fn load(&self) -> io::Result<Vec<(Entry, Bytes)>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.deployments)? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let damaged = |why: String| io::Error::other(format!("{} is damaged: {why}", path.display()));
            let entry: Entry = serde_json::from_slice(&fs::read(&path)?).map_err(|e| damaged(e.to_string()))?;
            if entry.format != FORMAT {
                return Err(damaged(format!("format {} is not {FORMAT}", entry.format)));
            }
            let component = self.read_component(&entry.content)?;
            found.push((entry, component));
        }
        Ok(found)
    }

    fn read_component(&self, content: &str) -> io::Result<Bytes> {
        let path = self.component_path(content);
        let explain = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let bytes = fs::read(&path).map_err(explain)?;
        if stride_runtime::content_hash(&bytes) != content {
            return Err(io::Error::other(format!("{} is damaged: deploy it again", path.display())));
        }
        Ok(bytes.into())
    }

    fn component_path(&self, content: &str) -> PathBuf {
        self.components.join(format!("{content}.wasm"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(component: &[u8]) -> Entry {
        let deployment = Deployment {
            id: "dep-1".into(),
            component: Name::new("c").unwrap(),
            version: "v".into(),
            functions: vec!["f".into()],
            agents: vec![],
            created_at: 1,
        };
        let content = stride_runtime::content_hash(component);
        Entry { format: FORMAT, tenant: Name::default_tenant(), deployment, manifest: "name = \"c\"".into(), content }
    }

    #[test]
    fn a_deployment_is_there_after_a_restart_and_a_later_one_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        catalog.put(&entry(b"one"), b"one").unwrap();
        catalog.put(&entry(b"two"), b"two").unwrap();
        let found = Catalog::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(found, [(entry(b"two"), Bytes::from("two"))]);
    }

    #[test]
    fn a_damaged_component_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        catalog.put(&entry(b"one"), b"one").unwrap();
        fs::write(catalog.component_path(&entry(b"one").content), b"onf").unwrap();
        let error = catalog.load().unwrap_err().to_string();
        assert!(error.contains(".wasm is damaged"), "{error}");
    }
}
