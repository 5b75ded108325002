//! What the agents of a type are close to: `agent:room/{key}`, `object:images/{key.1}`.
//!
//! Always true: what an agent is close to follows from its own key and the rule of its type, and from nothing else.
//! Not here: which type has which rule (see [`Layout`](crate::Layout)).

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    address::{Address, CellId, InvalidName, Name, cell_of_parts},
    object::{BucketName, ObjectName},
};

/// The rule of an agent type: an agent has the cell of the agent or object that it names.
///
/// `{key}` stands for the agent's key, `{key.1}` for what its key has before the first slash, `{key.2}` for what comes after that, and
/// so on. An agent whose key has no such part is close to nothing, and has the cell of its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    text: Arc<str>,
    to: To,
    key: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Agent(Name),
    Object(BucketName),
}

/// A piece of the key of what is named.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Key,
    /// Counted from one.
    Part(usize),
}

const RULE: &str = "use agent:TYPE/KEY or object:BUCKET/KEY, where {key} is the agent's key and {key.1} its first part between slashes";
const SAME_FOR_ALL: &str =
    "name {key} or a part of it, as {key.1}: otherwise all agents of the type would share one cell";

impl FromStr for Affinity {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| InvalidName::new("affinity", text, rule);
        let (scheme, rest) = text.split_once(':').ok_or_else(|| invalid(RULE))?;
        let (holder, key) = rest.split_once('/').ok_or_else(|| invalid(RULE))?;
        let to = match scheme {
            "agent" => To::Agent(Name::new(holder)?),
            "object" => To::Object(BucketName::new(holder)?),
            _ => return Err(invalid(RULE)),
        };
        let key = pieces(key).ok_or_else(|| invalid(RULE))?;
        if key.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            return Err(invalid(SAME_FOR_ALL));
        }
        Ok(Self { text: text.into(), to, key })
    }
}

fn pieces(mut text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = text.split_once('{') {
        let (name, after) = rest.split_once('}')?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match name.strip_prefix("key")? {
            "" => Piece::Key,
            part => Piece::Part(part.strip_prefix('.')?.parse().ok().filter(|part| *part > 0)?),
        });
        text = after;
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Some(pieces)
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Affinity {
    /// The agent type whose agents are named, if they are agents.
    pub fn kind(&self) -> Option<&Name> {
        match &self.to {
            To::Agent(kind) => Some(kind),
            To::Object(_) => None,
        }
    }

    /// The key of what an agent is close to; none if the agent's key has not all parts that are named.
    fn key_for(&self, agent: &Address) -> Option<String> {
        let (own, mut key) = (agent.key.as_str(), String::new());
        for piece in &self.key {
            key.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Key => own,
                Piece::Part(part) => own.split('/').nth(part - 1)?,
            });
        }
        Some(key)
    }

    /// What an agent of the type is close to, in words; none if that is nothing.
    pub fn neighbour(&self, agent: &Address) -> Option<String> {
        let key = self.key_for(agent)?;
        Some(match &self.to {
            To::Agent(kind) => format!("agent {kind}/{key}"),
            To::Object(bucket) => format!("object {bucket}/{key}"),
        })
    }

    /// The cell of an agent of the type, of so many; none if it is close to nothing.
    pub(crate) fn cell(&self, agent: &Address, cells: u16) -> Option<CellId> {
        let key = self.key_for(agent)?;
        Some(match &self.to {
            To::Agent(kind) => cell_of_parts(&[agent.tenant.as_str(), kind.as_str(), &key], cells),
            To::Object(bucket) => cell_of_object(&agent.tenant, bucket, &key, cells),
        })
    }
}

impl ObjectName {
    /// The cell of agents that are close to this object, of so many. The node that has it is where the object is brought first.
    pub fn cell(&self, cells: u16) -> CellId {
        cell_of_object(&self.tenant, &self.bucket, self.key.as_str(), cells)
    }
}

/// Of four parts, so that it is the cell of no agent's address but by chance.
fn cell_of_object(tenant: &Name, bucket: &BucketName, key: &str, cells: u16) -> CellId {
    cell_of_parts(&[tenant.as_str(), "object", bucket.as_str(), key], cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentKey, ObjectKey};

    fn agent(kind: &str, key: &str) -> Address {
        let kind = Name::new(kind).unwrap();
        Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() }
    }

    fn rule(text: &str) -> Affinity {
        text.parse().unwrap()
    }

    #[test]
    fn an_agent_has_the_cell_of_the_agent_that_it_is_close_to() {
        for n in 0..500 {
            let room = agent("room", &format!("r{n}"));
            let same_key = agent("member", &format!("r{n}"));
            let part = agent("member", &format!("r{n}/alice/{}", n * 7));
            assert_eq!(rule("agent:room/{key}").cell(&same_key, 1_024), Some(room.cell(1_024)));
            assert_eq!(rule("agent:room/{key.1}").cell(&part, 1_024), Some(room.cell(1_024)));
        }
        let second = rule("agent:room/r{key.2}").neighbour(&agent("member", "alice/7")).unwrap();
        assert_eq!(second, "agent room/r7");
    }

    #[test]
    fn an_agent_has_the_cell_of_the_object_that_it_is_close_to() {
        let key = ObjectKey::new("2024/cat.png").unwrap();
        let object = ObjectName { tenant: Name::default_tenant(), bucket: BucketName::new("images").unwrap(), key };
        let near = agent("thumb", "2024/cat.png");
        assert_eq!(rule("object:images/{key}").cell(&near, 64), Some(object.cell(64)));
        let spread: std::collections::BTreeSet<_> =
            (0..1_000).filter_map(|n| rule("object:images/{key}").cell(&agent("thumb", &format!("{n}")), 64)).collect();
        assert_eq!(spread.len(), 64);
    }

    #[test]
    fn an_agent_whose_key_lacks_the_part_is_close_to_nothing() {
        let rule = rule("agent:room/{key.2}");
        assert_eq!((rule.cell(&agent("member", "7"), 64), rule.neighbour(&agent("member", "7"))), (None, None));
    }

    #[test]
    fn what_is_no_rule_says_what_one_looks_like() {
        for wrong in
            ["room/{key}", "agent:room", "agent:room/{kex}", "agent:room/{key", "agent:room/{key.0}", "node:a/{key}"]
        {
            let error = wrong.parse::<Affinity>().unwrap_err().to_string();
            assert!(error.contains("agent:TYPE/KEY"), "{error}");
        }
        let error = "agent:room/lobby".parse::<Affinity>().unwrap_err().to_string();
        assert!(error.contains("share one cell"), "{error}");
        assert!("agent:1/{key}".parse::<Affinity>().is_err() && "object:A/{key}".parse::<Affinity>().is_err());
    }
}
