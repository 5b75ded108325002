//! What an object is called: `bucket/key`, and which of its versions is meant.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{InvalidName, Name};

/// What holds objects: 3 to 63 of `a-z 0-9 . -`, as object stores everywhere take it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// The shortest name, in bytes.
    pub const LEN_MIN: usize = 3;
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 63;

    /// Checks `text` against the rule for buckets.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| Err(InvalidName::new("bucket name", text, rule));
        let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let bytes = text.as_bytes();
        if !(Self::LEN_MIN..=Self::LEN_MAX).contains(&bytes.len()) {
            return invalid("use 3 to 63 of a-z 0-9 . -");
        }
        if !bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-')) {
            return invalid("use a-z 0-9 . - and nothing else");
        }
        if !edge(bytes.first()) || !edge(bytes.last()) {
            return invalid("begin and end with a letter or a digit");
        }
        if text.contains("..") {
            return invalid("put no two dots side by side");
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells one object of a bucket from another: 1 to 1024 bytes of UTF-8, parts with slashes between them. A key can
/// stand in a URL and in a path as it is, so no part is empty, `.` or `..`, and there are no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// The longest key, in bytes.
    pub const LEN_MAX: usize = 1024;

    /// Checks `text` against the rule for keys of objects.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| Err(InvalidName::new("object key", text, rule));
        if !(1..=Self::LEN_MAX).contains(&text.len()) {
            return invalid("use 1 to 1024 bytes");
        }
        if text.chars().any(char::is_control) {
            return invalid("use no control characters");
        }
        for part in text.split('/') {
            match part {
                "" => return invalid("put something before, between and after its slashes"),
                "." | ".." => return invalid("`.` and `..` cannot stand between its slashes"),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The same for every text that follows a rule.
macro_rules! texts {
    ($($text:ident)*) => {$(
        impl fmt::Display for $text {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $text {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $text {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$text> for String {
            fn from(text: $text) -> Self {
                text.0.to_string()
            }
        }
    )*};
}

texts! { BucketName ObjectKey }

/// The full name of an object. Its text is `bucket/key`; whose it is says the tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Whose object it is.
    pub tenant: Name,
    /// The bucket that holds it.
    pub bucket: BucketName,
    /// Which object of the bucket.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// Which version of an object: the number of the change to its bucket that made it. Later versions are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId(pub u64);

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_the_names_that_object_stores_take() {
        for good in ["abc", "a.b", "my-bucket-1", "0ab", &"a".repeat(63)] {
            assert_eq!(BucketName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "ab", "..", "a..b", ".ab", "ab-", "ABC", "a_b", "a/b", "äbc", "a\0b", &"a".repeat(64)] {
            let error = BucketName::new(bad).unwrap_err();
            assert!(error.to_string().contains("not a valid bucket name: "), "{error}");
        }
    }

    #[test]
    fn keys_take_nearly_everything_but_what_a_path_reads_as_a_direction() {
        for good in ["a", "a/b/c", "..a", "a..", "...", "ü /%2F?#", &"k".repeat(1024)] {
            assert_eq!(ObjectKey::new(good).unwrap().as_str(), good);
        }
        let long = "k".repeat(10 << 10);
        for (bad, rule) in [
            ("", "1 to 1024"),
            (&long[..], "1 to 1024"),
            ("..", "`..`"),
            ("a/../b", "`..`"),
            ("./a", "`.`"),
            ("/a", "slashes"),
            ("a//b", "slashes"),
            ("a/", "slashes"),
            ("a\nb", "control"),
            ("a\0b", "control"),
        ] {
            let error = ObjectKey::new(bad).unwrap_err().to_string();
            assert!(error.contains(rule) && error.len() < 200, "{error}");
        }
    }
}
