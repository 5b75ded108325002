//! Where objects are kept, as somebody writes it: `s3://BUCKET/PREFIX`, `gs://…`, `az://…` or `file:///DIR`.
//!
//! Always true: what is written in two ways and means the same place is the same text; it holds no credentials, which come
//! from the environment.

use std::{fmt, path::PathBuf, str::FromStr};

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use url::Url;

/// A place for objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    text: String,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Directory(PathBuf),
    Remote { provider: Provider, url: String, prefix: Path },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Gcs,
    Azure,
}

/// Why a text is not a place for objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a place for objects: {why}")]
pub struct LocationError {
    text: String,
    why: String,
}

const KINDS: &str = "use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR";

impl Location {
    /// Whether it is reached over a network: then what is read is worth keeping on a local disk.
    pub fn is_remote(&self) -> bool {
        matches!(self.place, Place::Remote { .. })
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        // Whoever writes a secret into it must not find it in the log.
        let shown = || text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned();
        let wrong = |why: String| LocationError { text: shown(), why };
        let url = Url::parse(text).map_err(|e| wrong(format!("{e}; {KINDS}")))?;
        if url.password().is_some() || url.query().is_some() || url.fragment().is_some() || url.port().is_some() {
            let why = "it has more than a name and a prefix; credentials and endpoints come from the environment";
            return Err(wrong(format!("{why}; {KINDS}")));
        }
        if url.scheme() == "file" {
            let dir = url.to_file_path().map_err(|()| wrong("a directory has three slashes: file:///DIR".into()))?;
            let text = format!("file://{}", dir.display());
            return Ok(Self { text: text.trim_end_matches('/').to_owned(), place: Place::Directory(dir) });
        }
        let provider = match url.scheme() {
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            "az" => Provider::Azure,
            scheme => return Err(wrong(format!("`{scheme}` is not known; {KINDS}"))),
        };
        if !url.username().is_empty() {
            return Err(wrong(format!("credentials come from the environment; {KINDS}")));
        }
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| wrong(format!("the bucket is missing; {KINDS}")))?;
        let prefix = Path::from_url_path(url.path()).map_err(|e| wrong(e.to_string()))?;
        let bare = format!("{}://{bucket}", url.scheme());
        let text = if prefix.as_ref().is_empty() { bare.clone() } else { format!("{bare}/{prefix}") };
        Ok(Self { text, place: Place::Remote { provider, url: bare, prefix } })
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.text
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Provider {
    /// What the environment variables begin with that say how it is reached.
    pub(super) fn variables(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Gcs => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }

    /// Of these variables one is there whenever credentials come from the environment and not from the machine.
    pub(super) fn credentials(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &[
                "AWS_ACCESS_KEY_ID",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_SKIP_SIGNATURE",
            ],
            Self::Gcs => &[
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_PATH",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GOOGLE_BEARER_TOKEN",
                "GOOGLE_SKIP_SIGNATURE",
            ],
            Self::Azure => &[
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_ACCESS_KEY",
                "AZURE_STORAGE_SAS_TOKEN",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_STORAGE_TOKEN",
                "AZURE_CLIENT_SECRET",
                "AZURE_STORAGE_CLIENT_SECRET",
                "AZURE_FEDERATED_TOKEN_FILE",
                "AZURE_USE_AZURE_CLI",
                "AZURE_STORAGE_USE_EMULATOR",
                "AZURE_SKIP_SIGNATURE",
            ],
        }
    }

    /// The usual ones.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
            Self::Gcs => "GOOGLE_SERVICE_ACCOUNT (a file with the key) or GOOGLE_SERVICE_ACCOUNT_KEY (the key itself)",
            Self::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        }
    }

    /// What says where the store answers.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::S3 => "AWS_REGION, AWS_ENDPOINT_URL (and AWS_ALLOW_HTTP=true if it has no TLS)",
            Self::Gcs => "GOOGLE_BASE_URL",
            Self::Azure => {
                "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT (and AZURE_ALLOW_HTTP=true if it has no TLS)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_place_is_the_same_text() {
        for (text, meant) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("gs://bucket/a", "gs://bucket/a"),
            ("az://container/a", "az://container/a"),
            ("file:///srv/objects/", "file:///srv/objects"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), meant);
            assert_eq!(location.to_string().parse(), Ok(location.clone()));
            assert_eq!(location.is_remote(), !text.starts_with("file"));
        }
    }

    #[test]
    fn what_is_not_a_place_is_refused_with_what_to_write() {
        for (text, says) in [
            ("bucket/prefix", "use s3://BUCKET"),
            ("", "use s3://BUCKET"),
            ("ftp://host/dir", "`ftp` is not known; use s3://BUCKET"),
            ("http://host/dir", "`http` is not known"),
            ("memory:///", "`memory` is not known"),
            ("s3://", "use s3://BUCKET"),
            ("s3:///prefix", "bucket is missing"),
            ("s3://bucket/a//b", "empty path segment"),
            ("s3://bucket?region=eu", "come from the environment"),
            ("file://dir", "three slashes"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_in_it_is_refused_and_not_repeated() {
        for text in ["s3://key:secret@bucket/a", "az://secret@container"] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains("environment") && !error.contains("secret@") && !error.contains("key:"), "{error}");
        }
    }
}
