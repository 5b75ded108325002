//! Names of nodes.

use std::{borrow::Borrow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::limits::NAME_LEN_MAX;

/// The name of a node within its graph: letters, digits, `_` and `-`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of a node: take 1 to {NAME_LEN_MAX} of the characters a-z, A-Z, 0-9, `_` and `-`, and put free text into `title`"
)]
pub struct InvalidNodeName(String);

impl NodeName {
    /// What stands for the graph's input in `in`, `after` and `output`. No node has this name.
    pub const INPUT: &'static str = "input";

    /// Checks `text` against the rule.
    pub fn new(text: &str) -> Result<Self, InvalidNodeName> {
        let is_valid = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidNodeName(text.chars().take(80).collect())) }
    }

    /// The word for the graph's input.
    pub fn input() -> Self {
        Self(Self::INPUT.into())
    }

    /// Whether this stands for the graph's input.
    pub fn is_input(&self) -> bool {
        &*self.0 == Self::INPUT
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidNodeName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.to_string()
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for NodeName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NodeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
    }
}
