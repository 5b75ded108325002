//! Capabilities for objects, as a manifest writes them: `images/*:read`, `thumbs/small/*:read,write`.

use std::str::FromStr;

use stride_ids::{BucketName, ObjectKey, ObjectName};

/// What a component may do with some objects of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectGrant {
    bucket: BucketName,
    keys: Keys,
    read: bool,
    write: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    One(ObjectKey),
    Under(String),
}

/// What somebody wants to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Write,
}

impl Right {
    /// As it stands in a manifest.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl ObjectGrant {
    /// The bucket whose objects these are.
    pub(crate) fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The objects, as a manifest writes them.
    pub(crate) fn objects(&self) -> String {
        match &self.keys {
            Keys::One(key) => format!("{}/{key}", self.bucket),
            Keys::Under(prefix) => format!("{}/{prefix}*", self.bucket),
        }
    }

    /// Whether this is a grant for that with some objects.
    pub(crate) fn has(&self, right: Right) -> bool {
        match right {
            Right::Read => self.read,
            Right::Write => self.write,
        }
    }

    /// Whether this is a grant for that object.
    pub(crate) fn covers(&self, object: &ObjectName, right: Right) -> bool {
        let is_of_key = match &self.keys {
            Keys::One(key) => *key == object.key,
            Keys::Under(prefix) => object.key.as_str().starts_with(prefix),
        };
        self.has(right) && self.bucket == object.bucket && is_of_key
    }

    /// Whether this is a grant for all keys with that prefix.
    pub(crate) fn covers_all(&self, bucket: &BucketName, prefix: &str, right: Right) -> bool {
        let is_of_all = matches!(&self.keys, Keys::Under(covered) if prefix.starts_with(covered));
        self.has(right) && self.bucket == *bucket && is_of_all
    }
}

impl FromStr for ObjectGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (objects, rights) = text.rsplit_once(':').unwrap_or((text, ""));
        let Some((bucket, keys)) = objects.split_once('/') else {
            let rights = if rights.is_empty() { "read" } else { rights };
            return Err(format!("`{text}` is not bucket/key:rights; for all of a bucket use `{objects}/*:{rights}`"));
        };
        let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
        let keys = match keys.strip_suffix('*') {
            Some(prefix) => Keys::Under(prefix.to_owned()),
            None => Keys::One(ObjectKey::new(keys).map_err(|e| e.to_string())?),
        };
        let mut grant = Self { bucket, keys, read: false, write: false };
        for right in rights.split(',').map(str::trim) {
            match right {
                "read" => grant.read = true,
                "write" => grant.write = true,
                _ => {
                    return Err(format!(
                        "`{text}` has to end with what may be done: `:read`, `:write` or `:read,write`"
                    ));
                }
            }
        }
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::Name;

    use super::*;

    fn object(bucket: &str, key: &str) -> ObjectName {
        let (bucket, key) = (BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
        ObjectName { tenant: Name::default_tenant(), bucket, key }
    }

    #[test]
    fn a_grant_covers_its_bucket_its_keys_and_its_rights_and_no_others() {
        use Right::{Read, Write};
        let covers = |grant: &str, bucket: &str, key: &str, right| {
            grant.parse::<ObjectGrant>().unwrap().covers(&object(bucket, key), right)
        };
        assert!(covers("images/*:read", "images", "a/b.png", Read));
        assert!(!covers("images/*:read", "images", "a/b.png", Write));
        assert!(!covers("images/*:read", "images2", "a", Read) && !covers("images/*:read", "image", "a", Read));
        assert!(
            covers("images/*:read, write", "images", "a", Write) && covers("images/*:read, write", "images", "a", Read)
        );
        assert!(!covers("images/*:write", "images", "a", Read));
        assert!(covers("images/a/*:read", "images", "a/b", Read) && !covers("images/a/*:read", "images", "ab", Read));
        assert!(covers("images/a:read", "images", "a", Read) && !covers("images/a:read", "images", "a/b", Read));
        assert!(covers("images/a:b:read", "images", "a:b", Read));
    }

    #[test]
    fn a_listing_needs_a_grant_for_everything_that_it_could_show() {
        let covers = |grant: &str, bucket: &str, prefix: &str| {
            grant.parse::<ObjectGrant>().unwrap().covers_all(&BucketName::new(bucket).unwrap(), prefix, Right::Read)
        };
        assert!(covers("images/*:read", "images", "") && covers("images/*:read", "images", "a/"));
        assert!(covers("images/a/*:read", "images", "a/b") && !covers("images/a/*:read", "images", "a"));
        assert!(!covers("images/a/*:read", "images", "") && !covers("images/a:read", "images", "a"));
        assert!(!covers("images/*:write", "images", "") && !covers("images/*:read", "others", ""));
    }

    #[test]
    fn a_grant_that_says_too_little_or_too_much_is_refused_with_what_would_do() {
        for (wrong, says) in [
            ("images", "`images/*:read`"),
            ("images:write", "`images/*:write`"),
            ("images/*", "`:read,write`"),
            ("images/*:", "`:read,write`"),
            ("images/*:rw", "`:read,write`"),
            ("images/*:read,delete", "`:read,write`"),
            ("*/a:read", "not a valid bucket name"),
            ("images/:read", "not a valid object key"),
            ("images/../a:read", "not a valid object key"),
        ] {
            let error = wrong.parse::<ObjectGrant>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
