//! The settings of a node: a TOML file, all optional. What the command line says comes on top.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};
use stride_cluster::Reads;
use stride_data::Location;
use stride_ids::Name;
use stride_placement::{Label, Labels};

/// The most memory for guests, in MiB.
const GUEST_MEMORY_MIB_MAX: u64 = 1 << 24;
/// The largest cache of objects, in MiB.
const OBJECT_CACHE_MIB_MAX: u64 = 1 << 20;
/// The smallest cache of objects on disk, in MiB, unless there is none: some chunks have to fit into each of its parts.
const OBJECT_DISK_CACHE_MIB_MIN: u64 = 128;
/// How large a cache on disk is that nobody has said anything about, in MiB.
const OBJECT_DISK_CACHE_MIB: u64 = 4 << 10;
/// The highest price of a node.
const PRICE_PER_HOUR_MAX: f64 = 1e6;

/// What a node is started with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything durable is. Since 0.1.
    pub data: PathBuf,
    /// Where to listen. Since 0.1.
    pub listen: SocketAddr,
    /// How many agents may be in memory at a time. Since 0.1.
    pub live_agents_max: usize,
    /// How many functions may run at a time, over all components. Since 0.1.
    pub running_functions_max: usize,
    /// How much memory guests may take together beyond what they start with, in MiB; unless it is said, half of the machine's.
    /// Over that, agents that hold some leave memory. Since 0.2.
    pub guest_memory_mib: Option<u64>,
    /// The size of a journal segment in MiB. Since 0.1.
    pub journal_segment_mib: u64,
    /// How much of objects is kept in memory, in MiB.
    pub object_cache_mib: u64,
    /// The database that holds the journal; without it, the journal is in `data`. Since 0.2.
    pub cluster: Option<DatabaseUrl>,
    /// Where other nodes of the cluster are listened for. Since 0.2.
    pub peers: SocketAddr,
    /// The host name or address under which others reach this node; unless it is said, the one that is listened on. Since 0.2.
    pub advertise: Option<String>,
    /// The directory with the certificates for other nodes, as `stride cluster init` makes it; without it, what goes between nodes
    /// is not encrypted. Since 0.2.
    pub certificates: Option<PathBuf>,
    /// Where the bytes of objects are kept; unless it is said, where the data directory was begun with, and a new one
    /// keeps them itself. Since 0.2.
    pub objects: Option<Location>,
    /// How much of what is read from a remote store is kept on the local disk, in MiB; 0 is nothing. Since 0.2.
    pub object_disk_cache_mib: Option<u64>,
    /// On what reads are answered in a cluster: `leased` or `strict`. Since 0.2.
    pub reads: Reads,
    /// A command that is told how many nodes are wanted, by whichever node reconciles. Since 0.2.
    pub scale_hook: Option<String>,
    /// Where S3 clients are answered, and with which keys; without it, nowhere. Since 0.2.
    pub s3: Option<stride_s3::Settings>,
    /// What the node carries: code on it reaches only data whose bucket demands nothing else. Since 0.2.
    #[serde(deserialize_with = "labels")]
    pub labels: Labels,
    /// What an hour of the node costs, in a unit that is the same for all nodes. Since 0.2.
    pub price_per_hour: f64,
    /// Classes of hardware that it has and that cannot be found out, such as `gpu`. Since 0.2.
    pub hardware: BTreeSet<Name>,
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let label = |(key, value): (&String, &String)| {
        Label::new(key, value).map_err(|e| D::Error::custom(format!("`{key} = \"{value}\"`: {e}")))
    };
    texts.iter().map(label).collect()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "stride-data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7373)),
            live_agents_max: 4_000,
            running_functions_max: 512,
            guest_memory_mib: None,
            journal_segment_mib: 32,
            object_cache_mib: 256,
            cluster: None,
            peers: SocketAddr::from(([127, 0, 0, 1], 7375)),
            advertise: None,
            certificates: None,
            reads: Reads::default(),
            scale_hook: None,
            objects: None,
            object_disk_cache_mib: None,
            s3: None,
            labels: Labels::default(),
            price_per_hour: 0.0,
            hardware: BTreeSet::new(),
        }
    }
}

/// How a database is reached. There may be a password in it, so it is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(pub(crate) String);

impl FromStr for DatabaseUrl {
    type Err = std::convert::Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self(url.to_owned()))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[error("configuration{}: {why}", .path.as_ref().map_or_else(String::new, |path| format!(" {path}")))]
pub struct ConfigError {
    /// The file; none if it was typed.
    path: Option<String>,
    why: String,
}

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |why: String| ConfigError { path: Some(path.display().to_string()), why };
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.check().map_err(|ConfigError { why, .. }| wrong(why))?;
        Ok(config)
    }

    /// Refuses settings that cannot work, each by itself or together.
    ///
    /// # Errors
    /// With what to write instead.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |why: String| ConfigError { path: None, why };
        // Each instance costs a few of the 65,530 memory mappings that the kernel allows a process.
        if self.live_agents_max + self.running_functions_max > 5_000 {
            return Err(wrong("live_agents_max and running_functions_max together must not exceed 5000".into()));
        }
        if self.guest_memory_mib.is_some_and(|mib| !(1..=GUEST_MEMORY_MIB_MAX).contains(&mib)) {
            return Err(wrong(format!("guest_memory_mib is 1 to {GUEST_MEMORY_MIB_MAX}, which is 16 TiB")));
        }
        if self.object_cache_mib > OBJECT_CACHE_MIB_MAX {
            return Err(wrong(format!("object_cache_mib is {OBJECT_CACHE_MIB_MAX} at most, which is 1 TiB")));
        }
        if !(0.0..=PRICE_PER_HOUR_MAX).contains(&self.price_per_hour) {
            return Err(wrong(format!("price_per_hour is {}; use 0 to {PRICE_PER_HOUR_MAX}", self.price_per_hour)));
        }
        if let Some(mib @ 1..) = self.object_disk_cache_mib
            && !(OBJECT_DISK_CACHE_MIB_MIN..=OBJECT_CACHE_MIB_MAX).contains(&mib)
        {
            let bounds = format!("{OBJECT_DISK_CACHE_MIB_MIN} to {OBJECT_CACHE_MIB_MAX}");
            return Err(wrong(format!("object_disk_cache_mib is {bounds}, or 0 for none")));
        }
        if self.advertise.is_none() && self.cluster.is_some() && self.peers.ip().is_unspecified() {
            return Err(wrong(format!(
                "others cannot reach this node at {}: say with advertise where it is",
                self.peers
            )));
        }
        if self.cluster.is_none() && (self.reads == Reads::Strict || self.scale_hook.is_some()) {
            return Err(wrong("reads and scale_hook are for nodes of a cluster; say with cluster which one".into()));
        }
        if let Some(s3) = &self.s3 {
            s3.check().map_err(|e| wrong(format!("[s3] {e}")))?;
        }
        Ok(())
    }

    /// Where the materialised state is.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Where others reach what listens at an address.
    pub(crate) fn reached_at(&self, listened: SocketAddr) -> String {
        match &self.advertise {
            Some(host) if host.contains(':') => format!("[{host}]:{}", listened.port()),
            Some(host) => format!("{host}:{}", listened.port()),
            None => listened.to_string(),
        }
    }

    /// How many bytes of objects are kept on the local disk, with the objects at `location`.
    pub(crate) fn object_disk_cache_bytes(&self, location: &Location) -> usize {
        let mib = self.object_disk_cache_mib.unwrap_or(if location.is_remote() { OBJECT_DISK_CACHE_MIB } else { 0 });
        usize::try_from(mib << 20).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stride.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(read("").unwrap(), Config::default());
    }

    #[test]
    fn unknown_fields_and_impossible_bounds_are_refused() {
        assert!(read("lisen = \"127.0.0.1:1\"").is_err());
        assert!(read("live_agents_max = 100000").is_err());
        assert!(read("object_cache_mib = 18446744073709551615").is_err());
        assert!(read("guest_memory_mib = 0").is_err());
        assert!(read("guest_memory_mib = 18446744073709551615").is_err());
        assert!(read("listen = \"nowhere\"").is_err());
    }

    #[test]
    fn what_the_node_is_like_is_read_and_what_cannot_be_is_refused() {
        let config = read("price_per_hour = 0.12\nhardware = [\"gpu\"]\n[labels]\nregion = \"eu\"").unwrap();
        assert_eq!(config.labels, [Label::new("region", "eu").unwrap()].into_iter().collect());
        assert_eq!((config.price_per_hour, config.hardware.len()), (0.12, 1));
        for (wrong, says) in [
            ("price_per_hour = -1.0", "use 0 to"),
            ("price_per_hour = nan", "use 0 to"),
            ("[labels]\nregion = \"\"", "`region = \"\"`: key and value of a label have 1 to 64 bytes"),
            ("[labels]\nregion = 1", "expected a string"),
            ("hardware = [\"a b\"]", "not a valid name"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_place_for_objects_is_read_and_what_is_none_is_refused_with_what_to_write() {
        let config = read("objects = \"s3://bucket/prefix/\"").unwrap();
        let remote = config.objects.clone().unwrap();
        assert_eq!(remote.to_string(), "s3://bucket/prefix");
        assert_eq!(config.object_disk_cache_bytes(&remote), 4 << 30);
        assert_eq!(config.object_disk_cache_bytes(&"file:///srv".parse().unwrap()), 0);
        let error = read("objects = \"ftp://host\"").unwrap_err().to_string();
        assert!(error.contains("s3://BUCKET"), "{error}");
    }

    #[test]
    fn a_disk_cache_is_none_or_large_enough_for_chunks() {
        assert_eq!(read("object_disk_cache_mib = 0").unwrap().object_disk_cache_mib, Some(0));
        assert_eq!(read("object_disk_cache_mib = 128").unwrap().object_disk_cache_mib, Some(128));
        let error = read("object_disk_cache_mib = 1").unwrap_err().to_string();
        assert!(error.contains("128") && error.contains("0 for none"), "{error}");
    }

    #[test]
    fn s3_without_keys_is_refused_with_what_to_write() {
        let error = read("[s3]").unwrap_err().to_string();
        assert!(error.contains("[[s3.keys]]") && error.contains("secret_key"), "{error}");
        let keys = "[[s3.keys]]\naccess_key = \"me\"\nsecret_key = \"sixteen-letters!\"";
        let s3 = read(keys).unwrap().s3.unwrap();
        assert_eq!((s3.listen.port(), s3.keys[0].tenant.as_str()), (7374, "default"));
        assert!(!format!("{s3:?}").contains("sixteen"), "secrets are not printed");
    }

    #[test]
    fn what_only_a_cluster_has_is_refused_without_one() {
        for alone in ["reads = \"strict\"", "scale_hook = \"true\""] {
            let error = read(alone).unwrap_err().to_string();
            assert!(error.contains("cluster"), "{error}");
            read(&format!("cluster = \"postgres://db/stride\"\n{alone}")).unwrap();
        }
        assert!(read("reads = \"eventual\"").is_err());
    }

    #[test]
    fn the_database_of_a_cluster_is_read_and_not_printed() {
        let config = read("cluster = \"postgres://me:secret@db/stride\"").unwrap();
        assert_eq!(config.cluster, Some(DatabaseUrl("postgres://me:secret@db/stride".into())));
        assert!(!format!("{config:?}").contains("secret"));
    }
}
