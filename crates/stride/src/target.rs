//! What a command works on, as it is typed: `COMPONENT/FUNCTION` and `TYPE/KEY`.

use std::str::FromStr;

use stride_ids::{AgentKey, Name};

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
    fn what_no_path_can_say_is_refused() {
        for bad in ["room", "room/", "room/..", "room/.", "1room/a", "/a"] {
            assert!(bad.parse::<AgentTarget>().is_err(), "{bad}");
        }
        for bad in ["counter", "counter/", "a/b/c", "/shout"] {
            assert!(bad.parse::<FunctionTarget>().is_err(), "{bad}");
        }
    }
}
