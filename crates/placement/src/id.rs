//! The names of what is placed: nodes, data, labels, hardware.
//!
//! Always true: one that exists is valid, so it can be put into a table or a log line as it is.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use serde::Serialize;
use stride_ids::Name;

/// A node, by the name that its operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(pub Name);

/// A class of hardware that nodes have and work may want, such as `gpu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hardware(pub Name);

/// Why a text names nothing that could be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not the name of a datum.
    #[error("a datum has a name of 1 to {} bytes without control characters", DatumId::LEN_MAX)]
    Datum,
    /// A label without `=`.
    #[error("a label is written `key=value`")]
    Label,
    /// A key or a value that cannot be one.
    #[error("key and value of a label have 1 to {} bytes each without control characters", Label::PART_LEN_MAX)]
    LabelPart,
}

/// A piece of data that work refers to and nodes hold: an object with its version, or a chunk by its hash. Placement only
/// compares it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct DatumId(Arc<str>);

impl DatumId {
    /// The longest one, in bytes: a tenant, a bucket, a key of 1 KiB and a version fit.
    pub const LEN_MAX: usize = 1_536;

    /// Checks `text` against the rule.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        if (1..=Self::LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Datum)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<DatumId> for String {
    fn from(id: DatumId) -> Self {
        id.0.to_string()
    }
}

/// `key=value`, such as `region=eu`. Data that has it may only be where a node carries it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Label {
    key: Arc<str>,
    value: Arc<str>,
}

impl Label {
    /// The longest key and the longest value, in bytes.
    pub const PART_LEN_MAX: usize = 64;

    /// A label of these two, if they can be parts of one: whatever buckets keep as labels can.
    pub fn new(key: &str, value: &str) -> Result<Self, InvalidId> {
        let is_part =
            |text: &str| (1..=Self::PART_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if is_part(key) && is_part(value) {
            Ok(Self { key: key.into(), value: value.into() })
        } else {
            Err(InvalidId::LabelPart)
        }
    }

    /// What is told apart, such as `region`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Which one it is, such as `eu`.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for Label {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (key, value) = text.split_once('=').ok_or(InvalidId::Label)?;
        Self::new(key, value)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DatumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// What a datum demands, or what a node carries. A node may carry several values of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Labels(BTreeSet<Label>);

impl Labels {
    /// The first of these labels that `carried` lacks. There is none if data with these labels may be there.
    pub fn missing_from<'a>(&'a self, carried: &Self) -> Option<&'a Label> {
        self.0.iter().find(|label| !carried.0.contains(label))
    }

    /// The labels, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        Self(labels.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        texts.iter().map(|t| t.parse::<Label>().unwrap()).collect()
    }

    #[test]
    fn a_label_is_a_key_and_a_value() {
        assert_eq!("region=eu".parse::<Label>().unwrap().to_string(), "region=eu");
        assert_eq!("region".parse::<Label>(), Err(InvalidId::Label));
        let long = "k".repeat(Label::PART_LEN_MAX + 1);
        for (key, value) in [("", "eu"), ("region", ""), ("region", "e\nu"), ("region", &long), (&long, "eu")] {
            assert_eq!(Label::new(key, value), Err(InvalidId::LabelPart), "{key}={value}");
        }
        // Buckets keep such labels, so data that has one must not seem to have none.
        assert_eq!(Label::new("valid until", "2030.1").unwrap().to_string(), "valid until=2030.1");
    }

    #[test]
    fn a_datum_has_a_name_that_can_be_printed() {
        assert_eq!(DatumId::new("images/ü 1.png").unwrap().as_str(), "images/ü 1.png");
        for bad in ["", "a\nb", &"k".repeat(DatumId::LEN_MAX + 1)] {
            assert_eq!(DatumId::new(bad), Err(InvalidId::Datum));
        }
    }

    #[test]
    fn every_label_must_be_carried_and_carrying_more_is_no_harm() {
        assert_eq!(labels(&["region=eu"]).missing_from(&labels(&["region=us", "region=eu", "gdpr=yes"])), None);
        let both = labels(&["region=eu", "gdpr=yes"]);
        assert_eq!(both.missing_from(&labels(&["region=eu"])).unwrap().to_string(), "gdpr=yes");
        assert_eq!(labels(&[]).missing_from(&labels(&[])), None);
    }
}
