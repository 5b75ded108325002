//! From keys to a page as S3 has it: keys that go on behind a delimiter are one common prefix, and both count.

use s3s::S3Result;
use stride_data::{ObjectStatus, Objects};
use stride_ids::{BucketName, Name, ObjectKey};

use crate::error;

/// How many keys and prefixes a page has at most.
pub(crate) const PAGE_MAX: usize = 1_000;

/// What is listed.
pub(crate) struct Asked {
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    pub(crate) max: usize,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Key(String),
    /// Behind all keys with this prefix.
    Prefix(String),
}

impl After {
    /// As a client sends it back.
    pub(crate) fn token(&self) -> String {
        match self {
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        }
    }

    pub(crate) fn of_token(token: &str) -> Option<Self> {
        let (kind, rest) = token.split_at_checked(1)?;
        match kind {
            "k" => Some(Self::Key(rest.to_owned())),
            "p" => Some(Self::Prefix(rest.to_owned())),
            _ => None,
        }
    }

    /// What a key has to come after.
    fn bound(&self) -> String {
        match self {
            Self::Key(key) => key.clone(),
            // Keys with more than that in this place are in the prefix too, and are passed over one by one.
            Self::Prefix(prefix) => format!("{prefix}{}", char::MAX),
        }
    }
}

/// A page that fills up.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(ObjectKey, ObjectStatus)>,
    pub(crate) prefixes: Vec<String>,
    /// What came last.
    pub(crate) last: Option<After>,
    pub(crate) is_truncated: bool,
}

impl Asked {
    /// What a marker means: behind a key, or behind everything that it stands for.
    pub(crate) fn after_marker(&self, marker: String) -> After {
        match self.group(&marker) {
            Some(group) if group == marker => After::Prefix(marker),
            _ => After::Key(marker),
        }
    }

    /// The common prefix that a key belongs to.
    fn group<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(&self.prefix)?;
        let end = rest.find(delimiter)? + delimiter.len();
        key.get(..self.prefix.len() + end)
    }

    /// Takes one more key, unless the page is full; then it is truncated.
    fn take(&self, page: &mut Page, key: ObjectKey, status: ObjectStatus) {
        let group = self.group(key.as_str()).map(str::to_owned);
        if matches!((&group, &page.last), (Some(group), Some(After::Prefix(last))) if group == last) {
            return;
        }
        if page.objects.len() + page.prefixes.len() >= self.max {
            page.is_truncated = true;
            return;
        }
        match group {
            Some(group) => {
                page.prefixes.push(group.clone());
                page.last = Some(After::Prefix(group));
            }
            None => {
                page.last = Some(After::Key(key.to_string()));
                page.objects.push((key, status));
            }
        }
    }
}

/// Reads a page of a bucket.
pub(crate) async fn page(
    objects: &Objects,
    tenant: &Name,
    bucket: &BucketName,
    asked: &Asked,
    after: Option<After>,
) -> S3Result<Page> {
    let mut page = Page { last: after, ..Page::default() };
    let mut bound = page.last.as_ref().map(After::bound);
    loop {
        // One more than fits says whether there are more.
        let limit = (asked.max + 1).min(PAGE_MAX);
        let found = objects.list(tenant, bucket, asked.prefix.clone(), bound, limit).await.map_err(error::of)?;
        for (key, status) in found.objects {
            asked.take(&mut page, key, status);
            if page.is_truncated {
                return Ok(page);
            }
        }
        let Some(next) = found.next else { return Ok(page) };
        // A prefix with many keys is left as soon as its page ends.
        let skipped = page.last.as_ref().map(After::bound);
        bound = Some(skipped.map_or(next.clone(), |skipped| skipped.max(next)));
        if asked.max == 0 {
            return Ok(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stride_data::ETag;
    use stride_ids::VersionId;

    fn filled(asked: &Asked, after: Option<After>, keys: &[&str]) -> Page {
        let mut page = Page { last: after, ..Page::default() };
        let etag = ETag::from_hex(&"0a".repeat(32)).unwrap();
        let status = || ObjectStatus {
            version: VersionId(1),
            len: 1,
            etag,
            content_type: String::new(),
            headers: Default::default(),
            created_at: 0,
        };
        let bound = page.last.as_ref().map(After::bound).unwrap_or_default();
        for key in keys.iter().filter(|key| key.starts_with(&asked.prefix) && ***key > *bound) {
            asked.take(&mut page, ObjectKey::new(key).unwrap(), status());
            if page.is_truncated {
                break;
            }
        }
        page
    }

    #[test]
    fn pages_put_together_are_the_listing_whatever_their_size() {
        let keys = ["a", "b/1", "b/2", "b/c/3", "b0", "c/1", "d"];
        for (prefix, delimiter, expected) in [
            ("", Some("/"), vec!["a", "b/", "b0", "c/", "d"]),
            ("", None, keys.to_vec()),
            ("b/", Some("/"), vec!["b/1", "b/2", "b/c/"]),
            ("b", Some("/"), vec!["b/", "b0"]),
            ("", Some("/c/"), vec!["a", "b/1", "b/2", "b/c/", "b0", "c/1", "d"]),
            ("x", Some("/"), vec![]),
        ] {
            for max in 1..=keys.len() {
                let asked = Asked { prefix: prefix.into(), delimiter: delimiter.map(str::to_owned), max };
                let (mut all, mut after) = (Vec::new(), None);
                for _ in 0..=keys.len() {
                    let page = filled(&asked, after, &keys);
                    assert!(page.objects.len() + page.prefixes.len() <= max);
                    all.extend(page.objects.iter().map(|(key, _)| key.to_string()));
                    all.extend(page.prefixes.iter().cloned());
                    after = page.last.map(|last| After::of_token(&last.token()).unwrap());
                    if !page.is_truncated {
                        break;
                    }
                }
                all.sort();
                assert_eq!(all, expected, "{prefix:?} {delimiter:?} {max}");
            }
        }
    }

    #[test]
    fn a_marker_that_is_a_common_prefix_means_behind_it() {
        let asked = Asked { prefix: String::new(), delimiter: Some("/".into()), max: 1 };
        assert_eq!(asked.after_marker("a/".into()), After::Prefix("a/".into()));
        assert_eq!(asked.after_marker("a/b".into()), After::Key("a/b".into()));
        assert_eq!(After::of_token(""), None);
        assert_eq!(After::of_token("äb"), None);
    }
}
