//! Opening a store by where it is, and finding out at once whether it can be used.
//!
//! Always true: a store that is opened has a bucket, lets chunks be written, read, listed and deleted, and belongs to this
//! owner alone, a node or a cluster: two that sweep the same chunks would each remove what the other needs.
//! What the standard environment variables say (`AWS_*`, `GOOGLE_*`, `AZURE_*`) is read by `object_store` itself.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
    prefix::PrefixStore,
};
use stride_ids::with_causes;
use stride_sim::{Clock, Tasks};

use super::{
    CHUNKS, Storage,
    location::{Location, Place, Provider},
};

/// What says, in the store, whose it is.
const OWNER: &str = "stride-owner";
/// What is written, read and deleted to see whether that is possible; its name ends with the node's, which may not be alone.
const PROBE: &str = "stride-probe";
/// How long a store may take to be found usable.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// How long it may take to reach it, and to move one chunk, before it is tried again.
const TIMEOUTS: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::ConnectTimeout, "5 seconds"), (ClientConfigKey::Timeout, "30 seconds")];

/// A few seconds: whoever waits for a chunk is told soon, and what is short goes unnoticed.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(15) }
}

/// Whose chunks a store holds: a node's own, or those of a cluster, whose nodes share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: String,
    node: String,
}

impl Owner {
    /// A node that has a store to itself.
    pub fn node(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { node: name.clone(), name }
    }

    /// A node of a cluster whose nodes share a store.
    pub fn cluster(name: impl Into<String>, node: impl Into<String>) -> Self {
        Self { name: name.into(), node: node.into() }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("objects cannot be kept in {location}: {source}; name a directory that this user may write")]
    Directory {
        /// Where.
        location: String,
        /// Why.
        source: io::Error,
    },
    /// What the environment says is not enough, or cannot be.
    #[error("{location} cannot be opened: {why}; set {wanted} in the environment")]
    Settings {
        /// Where.
        location: String,
        /// Why.
        why: String,
        /// Which variables.
        wanted: &'static str,
    },
    /// Neither the environment nor the machine has credentials.
    #[error("there are no credentials for {location}; set {wanted} in the environment ({why})")]
    NoCredentials {
        /// Where.
        location: String,
        /// Which variables.
        wanted: &'static str,
        /// What the store, or the machine, answered.
        why: String,
    },
    /// The bucket is not there.
    #[error("the bucket of {location} is not there; make it first, or correct its name ({why})")]
    NoBucket {
        /// Where.
        location: String,
        /// What the store answered.
        why: String,
    },
    /// The credentials may not do what is needed.
    #[error(
        "the credentials for {location} do not allow to {doing}; they need to write, read, list and delete there ({why})"
    )]
    Refused {
        /// Where.
        location: String,
        /// What.
        doing: &'static str,
        /// What the store answered.
        why: String,
    },
    /// The store does not answer, or not as such a store does.
    #[error("{location} cannot be used, it failed to {doing}; see whether it runs and {endpoint} are right ({why})")]
    Unreachable {
        /// Where.
        location: String,
        /// What.
        doing: &'static str,
        /// Which variables say where it is.
        endpoint: &'static str,
        /// What was answered.
        why: String,
    },
    /// The store belongs to somebody else.
    #[error(
        "{location} belongs to {owner}, and this is {asking}: each would remove what the other stores; use another \
         prefix, or, if {owner} is gone for good, delete the object `{OWNER}` there"
    )]
    Owned {
        /// Where.
        location: String,
        /// Whose it is.
        owner: String,
        /// Who asked.
        asking: String,
    },
}

/// Chooses the cryptography of all TLS connections of this process. Once is enough, more does no harm.
pub fn use_tls() {
    // An error says that it has been chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Storage {
    /// Opens the store at a location and sees to it that it can be used. `environment` says how it is reached, as the
    /// variables of this process do.
    ///
    /// # Errors
    /// With what is wrong and what to do about it.
    pub async fn open(
        location: &Location,
        environment: &[(String, String)],
        owner: &Owner,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, OpenError> {
        let check = Check { location, environment, clock: clock.clone() };
        let storage = match &location.place {
            Place::Directory(dir) => Self::local(dir, tasks)
                .map_err(|source| OpenError::Directory { location: location.to_string(), source })?,
            Place::Remote { provider, url, prefix } => {
                use_tls();
                let store = connect(*provider, url, environment).map_err(|e| OpenError::Settings {
                    location: location.to_string(),
                    why: with_causes(&e),
                    wanted: provider.wanted(),
                })?;
                Self::over(Arc::new(PrefixStore::new(store, prefix.clone())), clock, tasks)
            }
        };
        check.run(&*storage.store, owner).await?;
        Ok(storage)
    }
}

fn connect(
    provider: Provider,
    url: &str,
    environment: &[(String, String)],
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let named = environment.iter().filter(|(name, _)| name.starts_with(provider.variables()));
    let named: Vec<(String, &String)> = named.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    // What is not for the store is not known to it, and that is no error. The bounds come first, so that they can be changed.
    Ok(match provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::new().with_retry(retries());
            for (key, value) in TIMEOUTS {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            for (key, value) in known::<AmazonS3ConfigKey>(&named) {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_url(url).build()?)
        }
        Provider::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::new().with_retry(retries());
            for (key, value) in TIMEOUTS {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            for (key, value) in known::<GoogleConfigKey>(&named) {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_url(url).build()?)
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::new().with_retry(retries());
            for (key, value) in TIMEOUTS {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            for (key, value) in known::<AzureConfigKey>(&named) {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_url(url).build()?)
        }
    })
}

fn known<'a, K: std::str::FromStr>(named: &'a [(String, &'a String)]) -> impl Iterator<Item = (K, &'a str)> {
    named.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str())))
}

/// Looking at a store before it is relied on.
struct Check<'a> {
    location: &'a Location,
    environment: &'a [(String, String)],
    clock: Clock,
}

impl Check<'_> {
    async fn run(&self, store: &dyn ObjectStore, owner: &Owner) -> Result<(), OpenError> {
        let checked = async {
            // First, so that nobody takes what then turns out to be of no use.
            self.can_be_used(store, owner).await?;
            self.belongs_to(store, owner).await
        };
        let silent = |_| {
            let silent = io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {OPEN_MAX:?}"));
            let silent = object_store::Error::Generic { store: "remote", source: Box::new(silent) };
            self.failed("answer", &silent)
        };
        Box::pin(self.clock.timeout(OPEN_MAX, checked)).await.map_err(silent)?
    }

    async fn can_be_used(&self, store: &dyn ObjectStore, owner: &Owner) -> Result<(), OpenError> {
        let (path, bytes) = (Path::from(format!("{PROBE}-{}", owner.node)), Bytes::from_static(b"may be deleted"));
        let written = store.put(&path, PutPayload::from_bytes(bytes.clone())).await;
        written.map_err(|e| self.failed("write", &e))?;
        let read = async { store.get(&path).await?.bytes().await }.await.map_err(|e| self.failed("read", &e))?;
        if read != bytes {
            let other = io::Error::new(io::ErrorKind::InvalidData, "it gave back other bytes than were written");
            let other = object_store::Error::Generic { store: "remote", source: Box::new(other) };
            return Err(self.failed("read", &other));
        }
        store.list_with_delimiter(Some(&Path::from(CHUNKS))).await.map_err(|e| self.failed("list", &e))?;
        store.delete(&path).await.map_err(|e| self.failed("delete", &e))
    }

    /// Takes a store that belongs to nobody. Of two that take it at the same time one gets it.
    async fn belongs_to(&self, store: &dyn ObjectStore, owner: &Owner) -> Result<(), OpenError> {
        let path = Path::from(OWNER);
        let read = || async { store.get(&path).await?.bytes().await };
        let found = match read().await {
            Err(object_store::Error::NotFound { .. }) => {
                let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                match store.put_opts(&path, PutPayload::from(owner.name.clone()), create).await {
                    Ok(_)
                    | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                    Err(e) => return Err(self.failed("write", &e)),
                }
                // Read again: there are stores that know no conditions and write in any case.
                read().await
            }
            found => found,
        };
        let found = found.map_err(|e| self.failed("read", &e))?;
        if found == owner.name.as_bytes() {
            return Ok(());
        }
        Err(OpenError::Owned {
            location: self.location.to_string(),
            owner: String::from_utf8_lossy(&found).trim().chars().take(80).collect(),
            asking: owner.name.clone(),
        })
    }

    fn failed(&self, doing: &'static str, error: &object_store::Error) -> OpenError {
        let (location, why) = (self.location.to_string(), with_causes(error));
        let Place::Remote { provider, .. } = &self.location.place else {
            return OpenError::Directory { location, source: io::Error::other(why) };
        };
        let has_credentials = self.environment.iter().any(|(name, _)| provider.credentials().contains(&name.as_str()));
        match error {
            error if is_missing_bucket(error) => OpenError::NoBucket { location, why },
            // Without any it is asked what the machine knows, so this is what it did not know.
            _ if !has_credentials => OpenError::NoCredentials { location, wanted: provider.wanted(), why },
            // Nothing but the bucket can be missing for who writes.
            object_store::Error::NotFound { .. } if doing == "write" => OpenError::NoBucket { location, why },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                OpenError::Refused { location, doing, why }
            }
            _ => OpenError::Unreachable { location, doing, endpoint: provider.endpoint(), why },
        }
    }
}

/// Whether what is not there is the bucket. The stores answer 404 in both cases, and say which in the text beside it.
pub(super) fn is_missing_bucket(error: &object_store::Error) -> bool {
    let text = with_causes(error);
    matches!(error, object_store::Error::NotFound { .. })
        && ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|said| text.contains(said))
}
