//! What is deployed, on disk: components by content hash, and for each component's name its deployments in their order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stride_gateway::{Deployment, Replaced};
use stride_ids::{Declared, Layout, Name};

use crate::{
    files::write_durably,
    manifest::{Manifest, ManifestError},
};

/// How many deployments of a component are kept, beside the one in force.
const KEPT_MAX: usize = 32;
const FORMAT: u32 = 2;

/// The deployments of a node.
pub(crate) struct Catalog {
    components: PathBuf,
    deployments: PathBuf,
}

/// The deployments of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    format: u32,
    pub(crate) tenant: Name,
    pub(crate) in_force: Entry,
    /// What was in force before, the oldest first. No entry says the same as the one after it.
    before: Vec<Entry>,
}

/// A deployment as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) deployment: Deployment,
    /// The manifest as it was sent.
    pub(crate) manifest: String,
    /// The component's whole content hash, in hex.
    pub(crate) content: String,
}

impl Entry {
    /// The agent types that it serves, with what their agents are close to.
    pub(crate) fn declared(&self) -> Result<Declared, ManifestError> {
        let mut agents = Manifest::parse(&self.manifest)?.spec().agents;
        let kinds = self.deployment.agents.iter().map(|agent| agent.kind.clone());
        Ok(kinds.map(|kind| (kind.clone(), agents.remove(kind.as_str()).and_then(|spec| spec.affinity))).collect())
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.content, &self.manifest) == (&other.content, &other.manifest)
    }
}

impl History {
    /// The deployment that a rollback puts in force again.
    pub(crate) fn before(&self) -> Option<&Entry> {
        self.before.last()
    }

    /// The last deployment of another version: agents that refuse the version in force stay with it.
    pub(crate) fn version_before(&self) -> Option<&Entry> {
        self.before.iter().rev().find(|entry| entry.content != self.in_force.content)
    }

    /// All deployments that are kept, the oldest first and the one in force last.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.before.iter().chain([&self.in_force])
    }

    /// The last deployment of this version.
    pub(crate) fn of_version(&self, version: &str) -> Option<&Entry> {
        self.before.iter().chain([&self.in_force]).rev().find(|entry| entry.deployment.version == version)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.before.iter().chain([&self.in_force]).any(|entry| entry.deployment.id == id)
    }

    /// Whether no later deployment serves a type that this one does. Agents of it may be there, in cells that its rule says.
    fn is_last_to_serve(&self, at: usize) -> bool {
        let later = || self.before[at + 1..].iter().chain([&self.in_force]).flat_map(|entry| &entry.deployment.agents);
        self.before[at].deployment.agents.iter().any(|agent| later().all(|other| other.kind != agent.kind))
    }

    /// What follows when a deployment comes into force. One that says the same as the one in force takes its place.
    fn followed_by(mut self, next: Entry) -> Self {
        let last = std::mem::replace(&mut self.in_force, next);
        if !last.says_the_same_as(&self.in_force) {
            self.before.push(last);
        }
        if self.before.len() > KEPT_MAX {
            let needed = self.version_before().map(|entry| entry.deployment.id.clone());
            let oldest = (0..self.before.len())
                .find(|at| Some(&self.before[*at].deployment.id) != needed.as_ref() && !self.is_last_to_serve(*at));
            oldest.map(|oldest| self.before.remove(oldest));
        }
        self
    }
}

/// So many cells, with the agent types that were ever deployed in a data directory.
///
/// # Errors
/// If its deployments cannot be read.
pub fn deployed_types(dir: &Path, cells: u16) -> io::Result<Layout> {
    Catalog::open(dir)?.layout(cells)
}

impl Catalog {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let catalog = Self { components: dir.join("components"), deployments: dir.join("deployments") };
        fs::create_dir_all(&catalog.components)?;
        fs::create_dir_all(&catalog.deployments)?;
        Ok(catalog)
    }

    /// Keeps a deployment, and says what it takes the place of; from now on it is the one in force.
    pub(crate) fn put(&self, tenant: Name, entry: Entry, component: &[u8]) -> io::Result<Deployment> {
        let component_path = self.component_path(&entry.content);
        if !component_path.exists() {
            write_durably(&component_path, component)?;
        }
        let path = self.deployments.join(format!("{tenant}.{}.json", entry.deployment.component));
        let mut history = match path.try_exists()? {
            true => read(&path)?.followed_by(entry),
            false => History { format: FORMAT, tenant, in_force: entry, before: Vec::new() },
        };
        history.in_force.deployment.replaced = history
            .before()
            .map(|before| Replaced { id: before.deployment.id.clone(), version: before.deployment.version.clone() });
        write_durably(&path, &serde_json::to_vec_pretty(&history).expect("a deployment always encodes"))?;
        Ok(history.in_force.deployment)
    }

    /// The deployments of every component, in the order in which those in force came.
    pub(crate) fn histories(&self) -> io::Result<Vec<History>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.deployments)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                found.push(read(&path)?);
            }
        }
        found.sort_by_key(|history: &History| history.in_force.deployment.created_at);
        Ok(found)
    }

    /// So many cells, with the agent types that were ever deployed here.
    pub(crate) fn layout(&self, cells: u16) -> io::Result<Layout> {
        let layout = Layout::from(cells);
        for history in self.histories()? {
            for entry in history.entries() {
                let unreadable = |e| io::Error::other(format!("deployment {}: {e}", entry.deployment.id));
                layout.declare(&history.tenant, &entry.declared().map_err(unreadable)?);
            }
        }
        Ok(layout)
    }

    /// The component of a deployment.
    pub(crate) fn component(&self, entry: &Entry) -> io::Result<Bytes> {
        let path = self.component_path(&entry.content);
        let explain = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let bytes = fs::read(&path).map_err(explain)?;
        if stride_runtime::content_hash(&bytes) != entry.content {
            return Err(io::Error::other(format!("{} is damaged: deploy it again", path.display())));
        }
        Ok(bytes.into())
    }

    fn component_path(&self, content: &str) -> PathBuf {
        self.components.join(format!("{content}.wasm"))
    }
}

/// Reads the deployments of one component, also as release 0.1 wrote them.
fn read(path: &Path) -> io::Result<History> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let damaged = |why: String| io::Error::other(format!("{} is damaged: {why}", path.display()));
    let unreadable = |e: serde_json::Error| damaged(e.to_string());
    let bytes = fs::read(path)?;
    let Head { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    match format {
        1 => Ok(serde_json::from_slice::<FirstFormat>(&bytes).map_err(unreadable)?.into()),
        FORMAT => serde_json::from_slice(&bytes).map_err(unreadable),
        _ => Err(io::Error::other(format!("{} has format {format}; this version reads 1 to {FORMAT}", path.display()))),
    }
}

/// What release 0.1 wrote: the deployment in force and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstFormat {
    #[serde(rename = "format")]
    _format: u32,
    tenant: Name,
    deployment: Deployment,
    manifest: String,
    content: String,
}

impl From<FirstFormat> for History {
    fn from(first: FirstFormat) -> Self {
        let FirstFormat { tenant, deployment, manifest, content, .. } = first;
        Self { format: FORMAT, tenant, in_force: Entry { deployment, manifest, content }, before: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, component: &[u8], manifest: &str) -> Entry {
        let deployment = Deployment {
            id: id.into(),
            component: Name::new("c").unwrap(),
            version: stride_runtime::content_hash(component)[..12].into(),
            functions: vec!["f".into()],
            agents: vec![],
            created_at: 1,
            replaced: None,
        };
        let content = stride_runtime::content_hash(component);
        Entry { deployment, manifest: manifest.into(), content }
    }

    fn put(catalog: &Catalog, id: &str, component: &[u8], manifest: &str) -> Option<String> {
        let deployment = catalog.put(Name::default_tenant(), entry(id, component, manifest), component).unwrap();
        deployment.replaced.map(|replaced| replaced.id)
    }

    fn only(catalog: &Catalog) -> History {
        catalog.histories().unwrap().pop().unwrap()
    }

    #[test]
    fn deployments_are_there_after_a_restart_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        assert_eq!(put(&catalog, "dep-1", b"one", "m"), None);
        assert_eq!(put(&catalog, "dep-2", b"two", "m").unwrap(), "dep-1");
        assert_eq!(put(&catalog, "dep-3", b"two", "n").unwrap(), "dep-2");
        let catalog = Catalog::open(dir.path()).unwrap();
        let history = only(&catalog);
        assert_eq!(history.in_force.deployment.id, "dep-3");
        assert_eq!(history.before().unwrap().deployment.id, "dep-2");
        let version_before = history.version_before().unwrap();
        assert_eq!(version_before.deployment.id, "dep-1");
        assert_eq!(catalog.component(version_before).unwrap(), "one");
        assert!(history.has("dep-1") && !history.has("dep-4"));
    }

    #[test]
    fn a_deployment_that_changes_nothing_is_nothing_to_go_back_from() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        put(&catalog, "dep-1", b"one", "m");
        put(&catalog, "dep-2", b"two", "m");
        assert_eq!(put(&catalog, "dep-3", b"two", "m").unwrap(), "dep-1");
        assert!(!only(&catalog).has("dep-2"));
    }

    #[test]
    fn old_deployments_go_but_not_the_version_that_agents_may_stay_with() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        put(&catalog, "dep-old", b"old", "m");
        put(&catalog, "dep-one", b"one", "m");
        for number in 0..2 * KEPT_MAX {
            put(&catalog, &format!("dep-{number}"), b"two", &number.to_string());
        }
        let history = only(&catalog);
        assert_eq!(history.before.len(), KEPT_MAX);
        assert_eq!(history.version_before().unwrap().deployment.id, "dep-one");
        assert!(!history.has("dep-old") && !history.has("dep-0"));
    }

    #[test]
    fn the_rule_of_a_type_stays_known_after_its_component_serves_it_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let manifest = "name = \"c\"\n[agents.member]\naffinity = \"agent:room/{key.1}\"";
        let kind = Name::new("member").unwrap();
        let mut first = entry("dep-first", b"one", manifest);
        first.deployment.agents = vec![stride_gateway::DeployedAgent { kind: kind.clone(), methods: vec![] }];
        catalog.put(Name::default_tenant(), first, b"one").unwrap();
        for number in 0..2 * KEPT_MAX {
            put(&catalog, &format!("dep-{number}"), b"two", &format!("name = \"c\"\n[agents.a{number}]"));
        }
        assert!(only(&catalog).has("dep-first") && !only(&catalog).has("dep-0"));
        let layout = catalog.layout(64).unwrap();
        let rule = layout.affinity(&Name::default_tenant(), &kind).unwrap();
        assert_eq!(rule.to_string(), "agent:room/{key.1}");
    }

    #[test]
    fn what_release_0_1_wrote_is_read_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let content = stride_runtime::content_hash(b"one");
        fs::write(catalog.component_path(&content), b"one").unwrap();
        let first = format!(
            r#"{{"format": 1, "tenant": "default", "deployment": {{"id": "dep-1", "component": "c", "version": "v",
            "functions": ["f"], "agents": [], "created_at": 1}}, "manifest": "m", "content": "{content}"}}"#
        );
        let path = catalog.deployments.join("default.c.json");
        fs::write(&path, &first).unwrap();
        let history = only(&catalog);
        assert_eq!((history.in_force.deployment.id.as_str(), history.before()), ("dep-1", None));
        assert_eq!(catalog.component(&history.in_force).unwrap(), "one");
        assert_eq!(put(&catalog, "dep-2", b"two", "m").unwrap(), "dep-1");

        fs::write(&path, first.replace("\"format\": 1", "\"format\": 9")).unwrap();
        let error = catalog.histories().unwrap_err().to_string();
        assert!(error.contains("format 9"), "{error}");
    }

    #[test]
    fn a_damaged_component_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        put(&catalog, "dep-1", b"one", "m");
        let history = only(&catalog);
        fs::write(catalog.component_path(&history.in_force.content), b"onf").unwrap();
        let error = catalog.component(&history.in_force).unwrap_err().to_string();
        assert!(error.contains(".wasm is damaged"), "{error}");
    }
}
