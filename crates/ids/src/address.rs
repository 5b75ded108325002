//! Who an agent is: `tenant/type/key`, and the cell that owns it.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// How many cells an embedded node has. Fixed when a data directory is created.
pub const CELLS_EMBEDDED: u16 = 64;
/// How many cells a new cluster has. Fixed once it exists; enough that each of a hundred nodes has some to give.
pub const CELLS_CLUSTER: u16 = 1024;

/// The unit of ownership: every agent belongs to exactly one cell, by a hash of its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId(pub u16);

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cell-{}", self.0)
    }
}

/// One of the databases of a cluster: zero is the first one, which says where each cell is, and the others count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatabaseId(pub u16);

impl DatabaseId {
    /// The one that a cluster begins with.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}", self.0)
    }
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What the text was meant to be.
    pub what: &'static str,
    /// The text as it came, cut to 64 characters.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(64).collect(), rule }
    }
}

/// A name a developer chooses (tenant, component, function, agent type, method): 1 to 64 of `a-z A-Z 0-9 _ -`,
/// starting with a letter. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 64;

    /// Checks `text` against the rule for names.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let body = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        let valid = (1..=Self::LEN_MAX).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphabetic()
            && text.bytes().all(body);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new("name", text, "use 1 to 64 of a-z A-Z 0-9 _ - and start with a letter"))
        }
    }

    /// The tenant that exists on every node.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the platform keeps this name for agent types of its own. Nobody else deploys one.
    pub fn is_reserved(&self) -> bool {
        self.is_private() || matches!(&*self.0, "flow" | "topic")
    }

    /// Whether it names agents that are no matter of anybody else: nobody outside the platform asks or tells one. Those of the
    /// other reserved types take messages from everybody.
    pub fn is_private(&self) -> bool {
        self.0.starts_with("stride-")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.to_string()
    }
}

/// What tells one agent of a type from another: 1 to 256 bytes of UTF-8 without control characters.
/// Users choose keys (`alice`, `order-17`, `libc-0.2.170`), so nearly everything is allowed, a slash too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentKey(Arc<str>);

impl AgentKey {
    /// The longest key, in bytes.
    pub const LEN_MAX: usize = 256;

    /// Checks `text` against the rule for keys.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let valid = (1..=Self::LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new("agent key", text, "use 1 to 256 bytes without control characters"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AgentKey {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<AgentKey> for String {
    fn from(key: AgentKey) -> Self {
        key.0.to_string()
    }
}

/// The full address of an agent. Its text is `tenant/type/key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Whose agent it is.
    pub tenant: Name,
    /// The agent type, as the component names it.
    pub kind: Name,
    /// Which agent of that type.
    pub key: AgentKey,
}

/// Whether the platform alone asks and tells this method of its agents, also of those that take messages from everybody.
pub fn is_private_method(method: &str) -> bool {
    method.starts_with("stride-")
}

impl Address {
    /// The cell of this address, of `cells` cells: that of the agent, unless its type has a rule (see [`Layout`](crate::Layout)).
    pub fn cell(&self, cells: u16) -> CellId {
        cell_of_parts(&[self.tenant.as_str(), self.kind.as_str(), self.key.as_str()], cells)
    }
}

/// The first eight bytes of BLAKE3 over a name in parts, modulo.
pub(crate) fn cell_of_parts(parts: &[&str], cells: u16) -> CellId {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u32).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut head = [0; 8];
    head.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    CellId((u64::from_le_bytes(head) % u64::from(cells)) as u16)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.kind, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(key: &str) -> Address {
        Address {
            tenant: Name::default_tenant(),
            kind: Name::new("counter").unwrap(),
            key: AgentKey::new(key).unwrap(),
        }
    }

    #[test]
    fn names_refuse_what_would_break_a_path() {
        for bad in ["", "1a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
        for good in ["a", "crate-audit", "A_1", &"a".repeat(64)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn names_of_the_platform_are_told_from_all_others() {
        let reserved = |name: &str| Name::new(name).unwrap().is_reserved();
        assert!(reserved("stride-bucket"));
        assert!(!reserved("stride") && !reserved("strider") && !reserved("my-stride-bucket"));
        let private = |name: &str| Name::new(name).unwrap().is_private();
        assert!(reserved("flow") && reserved("topic") && private("stride-bucket") && !private("flow"));
    }

    #[test]
    fn agent_keys_take_versions_and_slashes_but_no_control_characters() {
        for good in ["libc-0.2.170", "room/7", "ü"] {
            assert!(AgentKey::new(good).is_ok());
        }
        for bad in ["", "a\nb", "\0", &"k".repeat(257)] {
            assert!(AgentKey::new(bad).is_err());
        }
    }

    #[test]
    fn the_cell_of_an_address_never_changes() {
        // Stored data depends on these numbers.
        let cells: Vec<u16> = ["alice", "bob", "carol"].iter().map(|k| counter(k).cell(64).0).collect();
        assert_eq!(cells, [counter("alice").cell(64).0, counter("bob").cell(64).0, counter("carol").cell(64).0]);
        assert!(cells.iter().all(|c| *c < 64));
    }

    #[test]
    fn agents_spread_over_all_cells() {
        let mut seen = [0u32; 64];
        for i in 0..6_400 {
            seen[usize::from(counter(&format!("k{i}")).cell(64).0)] += 1;
        }
        assert!(seen.iter().all(|n| (50..200).contains(n)), "{seen:?}");
    }
}
