//! What a command works on, as it is typed: `COMPONENT/FUNCTION`, `COMPONENT/TRIGGER`, `TYPE/KEY`, `BUCKET/KEY` and `BUCKET[/PREFIX]`.

use std::{fmt, str::FromStr};

use stride_ids::{AgentKey, BucketName, Name, ObjectKey};

/// A function of a component.
#[derive(Clone, Debug)]
pub(crate) struct FunctionTarget {
    pub(crate) component: Name,
    pub(crate) function: Name,
}

impl FunctionTarget {
    pub(crate) fn path(&self) -> [&str; 3] {
        ["functions", self.component.as_str(), self.function.as_str()]
    }
}

impl FromStr for FunctionTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (component, function) = text.split_once('/').ok_or("write COMPONENT/FUNCTION, such as counter/shout")?;
        let name = |text| Name::new(text).map_err(|e| e.to_string());
        Ok(Self { component: name(component)?, function: name(function)? })
    }
}

/// A trigger of a component.
#[derive(Clone, Debug)]
pub(crate) struct TriggerTarget {
    pub(crate) component: Name,
    pub(crate) trigger: Name,
}

impl FromStr for TriggerTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (component, trigger) =
            text.split_once('/').ok_or("write COMPONENT/TRIGGER, as `stride triggers ls` does")?;
        let name = |text| Name::new(text).map_err(|e| e.to_string());
        Ok(Self { component: name(component)?, trigger: name(trigger)? })
    }
}

impl fmt::Display for TriggerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.trigger)
    }
}

/// An agent. Its key may hold slashes.
#[derive(Clone, Debug)]
pub(crate) struct AgentTarget {
    pub(crate) kind: Name,
    pub(crate) key: AgentKey,
}

impl AgentTarget {
    pub(crate) fn path(&self) -> [&str; 3] {
        ["agents", self.kind.as_str(), self.key.as_str()]
    }
}

impl FromStr for AgentTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, key) = text.split_once('/').ok_or("write TYPE/KEY, such as counter/alice")?;
        let kind = Name::new(kind).map_err(|e| e.to_string())?;
        segment(key)?;
        Ok(Self { kind, key: AgentKey::new(key).map_err(|e| e.to_string())? })
    }
}

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectTarget {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
}

impl ObjectTarget {
    pub(crate) fn path(&self) -> Vec<&str> {
        ["objects", self.bucket.as_str()].into_iter().chain(self.key.as_str().split('/')).collect()
    }

    /// The last part of its key, which is what a file of it is called.
    pub(crate) fn file_name(&self) -> &str {
        self.key.as_str().rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for ObjectTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, key) = text.split_once('/').ok_or("write BUCKET/KEY, such as images/cat.jpg")?;
        let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
        Ok(Self { bucket, key: ObjectKey::new(key).map_err(|e| e.to_string())? })
    }
}

impl fmt::Display for ObjectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// Objects of a bucket: all, or those whose keys begin alike.
#[derive(Clone, Debug)]
pub(crate) struct PrefixTarget {
    pub(crate) bucket: BucketName,
    pub(crate) prefix: String,
}

impl FromStr for PrefixTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
        Ok(Self { bucket, prefix: prefix.to_owned() })
    }
}

/// A text that can be one segment of a path. The rules of URLs read `.` and `..` as directions, however encoded, and an
/// empty segment names the collection.
pub(crate) fn segment(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a key cannot be empty".into()),
        "." | ".." => Err("a key that is only dots cannot be named over HTTP".into()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_ends_the_type() {
        let target: AgentTarget = "room/a/b".parse().unwrap();
        assert_eq!(target.path(), ["agents", "room", "a/b"]);
    }

    #[test]
    fn a_bucket_ends_at_the_first_slash_and_the_slashes_of_a_key_are_those_of_the_path() {
        let target: ObjectTarget = "images/2024/a b.jpg".parse().unwrap();
        assert_eq!((target.path(), target.file_name()), (vec!["objects", "images", "2024", "a b.jpg"], "a b.jpg"));
        let target: PrefixTarget = "images/2024/".parse().unwrap();
        assert_eq!((target.bucket.as_str(), target.prefix.as_str()), ("images", "2024/"));
        assert_eq!("images".parse::<PrefixTarget>().unwrap().prefix, "");
    }

    #[test]
    fn what_no_path_can_say_is_refused() {
        for bad in ["images", "images/", "images/../a", "images/a//b", "Images/a", "/a", ""] {
            assert!(bad.parse::<ObjectTarget>().is_err(), "{bad}");
        }
        for bad in ["room", "room/", "room/..", "room/.", "1room/a", "/a"] {
            assert!(bad.parse::<AgentTarget>().is_err(), "{bad}");
        }
        for bad in ["counter", "counter/", "a/b/c", "/shout"] {
            assert!(bad.parse::<FunctionTarget>().is_err(), "{bad}");
        }
    }
}
