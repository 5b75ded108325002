//! Paths into values.
//!
//! A path that can match one value at most (`$.a['b'][0]`) gives that value. Any other is a query of RFC 9535 and gives a list of all that it matches.

use std::{fmt, sync::Arc};

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::{
    limits::PATH_LEN_MAX,
    schema::Schema,
    value::{self, OBJECT},
};

/// A path, as it was written and as it is walked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Path {
    text: Arc<str>,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    One(Arc<[Part]>),
    All(Arc<JsonPath>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Field(Box<str>),
    Item(i64),
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Path {
    /// The whole value.
    pub fn root() -> Self {
        Self { text: "$".into(), way: Way::One([].into()) }
    }

    /// Reads a path, which begins with one `$`.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATH_LEN_MAX {
            return Err(format!("a path has at most {PATH_LEN_MAX} bytes"));
        }
        if let Some(parts) = parts(text) {
            return Ok(Self { text: text.into(), way: Way::One(parts.into()) });
        }
        // The parser of queries recurses, once for each bracket.
        if text.bytes().filter(|b| matches!(b, b'[' | b'(')).count() > 32 {
            return Err(format!("`{text}` is no path: more than 32 brackets"));
        }
        let path = JsonPath::parse(text).map_err(|e| format!("`{text}` is no path: {e}"))?;
        Ok(Self { text: text.into(), way: Way::All(Arc::new(path)) })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects the whole value.
    pub fn is_root(&self) -> bool {
        matches!(&self.way, Way::One(parts) if parts.is_empty())
    }

    /// The field of the value that it goes into first. `None`: it may see more than one.
    pub fn first_field(&self) -> Option<&str> {
        match &self.way {
            Way::One(parts) => match parts.first() {
                Some(Part::Field(name)) => Some(name),
                _ => None,
            },
            Way::All(_) => None,
        }
    }

    /// The one field that it selects whole.
    pub(crate) fn only_field(&self) -> Option<&str> {
        match &self.way {
            Way::One(parts) => match &**parts {
                [Part::Field(name)] => Some(name),
                _ => None,
            },
            Way::All(_) => None,
        }
    }

    /// What it selects.
    pub fn select(&self, from: &Value) -> Result<Value, String> {
        match &self.way {
            Way::All(path) => Ok(path.query(from).all().into_iter().cloned().collect()),
            Way::One(_) => self.find(from).cloned().ok_or_else(|| self.nothing(from)),
        }
    }

    /// Whether it selects anything.
    pub fn exists(&self, from: &Value) -> bool {
        match &self.way {
            Way::All(path) => !path.query(from).is_empty(),
            Way::One(_) => self.find(from).is_some(),
        }
    }

    fn find<'a>(&self, from: &'a Value) -> Option<&'a Value> {
        let Way::One(parts) = &self.way else { return None };
        parts.iter().try_fold(from, |value, part| match part {
            Part::Field(name) => value.get(&**name),
            Part::Item(at) => {
                let items = value.as_array()?;
                let at = if *at < 0 { at.checked_add(i64::try_from(items.len()).ok()?)? } else { *at };
                items.get(usize::try_from(at).ok()?)
            }
        })
    }

    fn nothing(&self, from: &Value) -> String {
        match from {
            _ if value::only_field(from, OBJECT).is_some() => {
                format!("`{self}` selects from a value that is in an object; let a function read it")
            }
            Value::Object(fields) => {
                let names = fields.keys().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("`{self}` selects nothing; the fields are: {names}")
            }
            other => format!("`{self}` selects nothing from {}", value::kind(other)),
        }
    }

    /// What its value looks like, from what looks like `from`.
    pub(crate) fn infer(&self, from: &Schema) -> Result<Schema, String> {
        let Way::One(parts) = &self.way else { return Ok(Schema::list(Schema::Any)) };
        parts.iter().try_fold(from.clone(), |schema, part| match part {
            Part::Field(name) => schema.field(name).ok_or_else(|| {
                let names = schema.field_names();
                match crate::check::nearest(name, names.iter().copied()) {
                    Some(near) => format!("`{self}`: there is no field `{name}`; did you mean `{near}`?"),
                    None if names.is_empty() => format!("`{self}`: {schema} has no field `{name}`"),
                    None => format!("`{self}`: there is no field `{name}`; the fields are: {}", names.join(", ")),
                }
            }),
            Part::Item(_) => schema.item().ok_or_else(|| format!("`{self}`: {schema} is no list")),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of a path that matches one value at most. `None`: it is another kind of path, or none.
fn parts(text: &str) -> Option<Vec<Part>> {
    let mut rest = text.strip_prefix('$')?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = if let Some(after) = rest.strip_prefix('.') { name(after)? } else { bracket(rest)? };
        parts.push(part);
        rest = after;
    }
    Some(parts)
}

fn name(text: &str) -> Option<(Part, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (end > 0).then(|| (Part::Field(text[..end].into()), &text[end..]))
}

fn bracket(text: &str) -> Option<(Part, &str)> {
    let inside = text.strip_prefix('[')?;
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (name, after) = quoted(&inside[1..], quote)?;
        return Some((Part::Field(name.into()), after.strip_prefix(']')?));
    }
    let (digits, after) = inside.split_once(']')?;
    let is_number = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit());
    Some((Part::Item(is_number.then(|| digits.parse().ok())??), after))
}

fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let (mut name, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                matches!(c, '\\' | '\'' | '"').then(|| name.push(c))?;
                escaped = false;
            }
            '\\' => escaped = true,
            _ if c == quote => return Some((name, &text[at + c.len_utf8()..])),
            _ => name.push(c),
        }
    }
    None
}
