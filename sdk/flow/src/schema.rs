//! What values look like. A field whose name ends in `?` may be missing.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What values look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Schema(pub(crate) Value);

macro_rules! words {
    ($($function:ident $word:literal $what:literal)*) => {
        $(#[doc = $what]
        pub fn $function() -> Schema {
            Schema($word.into())
        })*
    };
}
words! {
    any "any" "Nothing is known."
    null "null" "Null."
    boolean "bool" "True or false."
    int "int" "A whole number."
    number "number" "A number."
    string "string" "A text."
    bytes "bytes" "Bytes."
    object "object" "A reference to an object."
}

/// A list of these.
pub fn list(items: Schema) -> Schema {
    Schema(json!({ "list": items }))
}

/// Any names, with these as values.
pub fn map(values: Schema) -> Schema {
    Schema(json!({ "map": values }))
}

/// These fields.
pub fn record<const N: usize>(fields: [(&str, Schema); N]) -> Schema {
    let fields: Map<String, Value> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema.0)).collect();
    Schema(json!({ "record": fields }))
}

/// One of these.
pub fn one_of<const N: usize>(schemas: [Schema; N]) -> Schema {
    Schema(json!({ "one_of": schemas.as_slice() }))
}

impl Schema {
    /// The names of the fields, if it is a record.
    fn fields(&self) -> Option<&Map<String, Value>> {
        self.0.get("record")?.as_object()
    }

    /// What is wrong with a path into this, as far as it names fields.
    pub(crate) fn refuses(&self, path: &str) -> Option<String> {
        let mut here = self.clone();
        for name in path.strip_prefix('.')?.split('.') {
            let (name, is_last) = name.split_once('[').map_or((name, false), |(name, _)| (name, true));
            let fields = here.fields()?;
            let Some(field) = fields.get(name).or_else(|| fields.get(&format!("{name}?"))) else {
                let known: Vec<String> =
                    fields.keys().map(|name| format!("`{}`", name.trim_end_matches('?'))).collect();
                return Some(format!("there is no field `{name}`; there are {}", known.join(", ")));
            };
            if is_last {
                return None;
            }
            here = Self(field.clone());
        }
        None
    }
}
