//! From templates to expressions and back.

use serde_json::{Map, Value};

use super::{Expr, functions, path::Path};
use crate::{
    check::nearest,
    limits::EXPR_DEPTH_MAX,
    value::{self, BYTES, OBJECT},
};

/// Why a template is no expression, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidExpr(String);

pub(super) fn parse(template: Value) -> Result<Expr, InvalidExpr> {
    if value::is_deeper_than(&template, EXPR_DEPTH_MAX) {
        value::drop_deep(template);
        return Err(InvalidExpr(format!("an expression is nested deeper than {EXPR_DEPTH_MAX} levels")));
    }
    part(template)
}

fn part(template: Value) -> Result<Expr, InvalidExpr> {
    match template {
        Value::String(text) if text.starts_with('$') => path(&text),
        Value::Array(items) => Ok(fold_list(items.into_iter().map(part).collect::<Result<_, _>>()?)),
        Value::Object(fields) => record(fields),
        literal => Ok(Expr::Literal(literal)),
    }
}

pub(super) fn path(text: &str) -> Result<Expr, InvalidExpr> {
    let (inner, is_context) = match text.strip_prefix("$$") {
        Some(rest) => (format!("${rest}"), true),
        None => (text.to_owned(), false),
    };
    if !(inner == "$" || inner.starts_with("$.") || inner.starts_with("$[")) {
        return Err(InvalidExpr(format!(
            "`{text}` begins with `$` but is no path such as `$.name`; write a text as {{\"$literal\": \"{text}\"}}"
        )));
    }
    let path = Path::new(&inner).map_err(InvalidExpr)?;
    Ok(if is_context { Expr::Context(path) } else { Expr::Input(path) })
}

fn record(fields: Map<String, Value>) -> Result<Expr, InvalidExpr> {
    let marked = fields.keys().find(|name| name.starts_with('$')).cloned();
    let Some(marked) = marked else {
        return Ok(fold_record(
            fields.into_iter().map(|(k, v)| Ok((k, part(v)?))).collect::<Result<_, InvalidExpr>>()?,
        ));
    };
    if fields.len() > 1 {
        return Err(InvalidExpr(format!("`{marked}` begins with `$` and so has to be the only field of its record")));
    }
    let argument = fields.into_iter().next().map_or(Value::Null, |(_, argument)| argument);
    match marked.as_str() {
        "$literal" => Ok(Expr::Literal(argument)),
        BYTES if argument.is_string() => literal_bytes(argument),
        BYTES | OBJECT => Ok(fold_record([(marked, part(argument)?)].into_iter().collect())),
        _ => apply(&marked, argument),
    }
}

fn literal_bytes(text: Value) -> Result<Expr, InvalidExpr> {
    if text.as_str().is_some_and(|text| text.starts_with('$')) {
        return Ok(Expr::Record([(BYTES.to_owned(), part(text)?)].into_iter().collect()));
    }
    let bytes = value::record([(BYTES, text)]);
    if value::to_bytes(&bytes).is_none() {
        return Err(InvalidExpr("`$bytes` takes a text in base64".into()));
    }
    Ok(Expr::Literal(bytes))
}

fn apply(marked: &str, argument: Value) -> Result<Expr, InvalidExpr> {
    let name = &marked[1..];
    let Some(spec) = functions::find(name) else {
        let near = nearest(name, functions::FUNCTIONS.iter().map(|spec| spec.name));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `${near}`?"));
        return Err(InvalidExpr(format!("there is no function `{marked}`{hint}")));
    };
    let arguments = match argument {
        Value::Array(items) => items.into_iter().map(part).collect::<Result<Vec<_>, _>>()?,
        one => vec![part(one)?],
    };
    if !(spec.arguments_min..=spec.arguments_max).contains(&arguments.len()) {
        let (min, max) = (spec.arguments_min, spec.arguments_max);
        let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
        let given = arguments.len();
        return Err(InvalidExpr(format!("`{marked}` takes {wanted} arguments as a list, given {given}: {}", spec.doc)));
    }
    Ok(Expr::Apply(spec, arguments))
}

/// A list of nothing but literals is one.
fn fold_list(items: Vec<Expr>) -> Expr {
    if items.iter().all(|item| matches!(item, Expr::Literal(_))) {
        Expr::Literal(items.into_iter().filter_map(literal).collect())
    } else {
        Expr::List(items)
    }
}

fn fold_record(fields: std::collections::BTreeMap<String, Expr>) -> Expr {
    if fields.values().all(|field| matches!(field, Expr::Literal(_))) {
        Expr::Literal(Value::Object(fields.into_iter().filter_map(|(k, v)| Some((k, literal(v)?))).collect()))
    } else {
        Expr::Record(fields)
    }
}

fn literal(expr: Expr) -> Option<Value> {
    if let Expr::Literal(value) = expr { Some(value) } else { None }
}

pub(super) fn template(expr: &Expr) -> Value {
    match expr {
        Expr::Literal(value) if is_plain(value) => value.clone(),
        Expr::Literal(value) => value::record([("$literal", value.clone())]),
        Expr::Input(path) => Value::String(path.as_str().to_owned()),
        Expr::Context(path) => Value::String(format!("${}", path.as_str())),
        Expr::List(items) => items.iter().map(template).collect(),
        Expr::Record(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), template(v))).collect()),
        Expr::Apply(spec, arguments) => {
            Value::Object([(format!("${}", spec.name), arguments.iter().map(template).collect())].into_iter().collect())
        }
    }
}

/// Whether a value means itself as a template.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.starts_with('$'),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.iter().all(|(name, v)| !name.starts_with('$') && is_plain(v)),
        _ => true,
    }
}
