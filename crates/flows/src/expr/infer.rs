//! What values of expressions look like, before there are any.

use super::Expr;
use crate::schema::Schema;

impl Expr {
    /// What its value looks like if `$` and `$$` look like this, or why it can have none.
    pub fn infer(&self, input: &Schema, context: &Schema) -> Result<Schema, String> {
        match self {
            Self::Literal(value) => Ok(Schema::of(value)),
            Self::Input(path) => path.infer(input),
            Self::Context(path) => path.infer(context).map_err(|e| format!("{e}, in what is known of the run")),
            Self::List(items) => {
                let items = items.iter().map(|item| item.infer(input, context)).collect::<Result<Vec<_>, _>>()?;
                Ok(Schema::list(Schema::union(items).unwrap_or_default()))
            }
            Self::Record(fields) if fields.contains_key(crate::value::OBJECT) => Ok(Schema::Object),
            Self::Record(fields) if fields.contains_key(crate::value::BYTES) => Ok(Schema::Bytes),
            Self::Record(fields) => Ok(Schema::Record(
                fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), field.infer(input, context)?)))
                    .collect::<Result<_, String>>()?,
            )),
            Self::Apply(spec, arguments) => apply(spec.name, &spec.result, arguments, input, context),
        }
    }
}

fn apply(name: &str, result: &Schema, arguments: &[Expr], input: &Schema, context: &Schema) -> Result<Schema, String> {
    // What may be missing is what these are for.
    if matches!(name, "exists" | "default") {
        return Ok(result.clone());
    }
    let given = arguments.iter().map(|a| a.infer(input, context)).collect::<Result<Vec<_>, _>>()?;
    let is_condition = |at: usize| matches!((name, at), ("and" | "or", _) | ("not" | "if", 0));
    for (at, schema) in given.iter().enumerate().filter(|(at, _)| is_condition(*at)) {
        Schema::Bool.accepts(schema).map_err(|e| format!("argument {} of `${name}`: {e}", at + 1))?;
    }
    match (name, given.as_slice()) {
        ("if", [_, yes, no]) => Ok(Schema::union([yes.clone(), no.clone()]).unwrap_or_default()),
        ("add" | "sub" | "mul" | "div" | "mod", both) => {
            both.iter().try_for_each(|schema| Schema::Number.accepts(schema)).map_err(|e| format!("`${name}`: {e}"))?;
            let is_int = name != "div" && both.iter().all(|schema| *schema == Schema::Int);
            Ok(if is_int { Schema::Int } else { Schema::Number })
        }
        ("split" | "keys", _) => Ok(Schema::list(Schema::String)),
        ("range", _) => Ok(Schema::list(Schema::Int)),
        ("sort" | "unique" | "slice", [list, ..]) => Ok(list.clone()),
        ("partition", [list, _]) => Ok(Schema::list(list.clone())),
        ("merge", records) => Ok(merge(records)),
        _ => Ok(result.clone()),
    }
}

fn merge(records: &[Schema]) -> Schema {
    let mut all = std::collections::BTreeMap::new();
    for record in records {
        let Schema::Record(fields) = record else { return Schema::Any };
        // A field that may be missing leaves what was there before, so nothing certain is known of it.
        for (name, schema) in fields {
            let (name, schema) = name.strip_suffix('?').map_or((name.as_str(), schema), |name| (name, &Schema::Any));
            all.insert(name.to_owned(), schema.clone());
        }
    }
    Schema::Record(all)
}
