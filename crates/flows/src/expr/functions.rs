//! The functions of expressions: one table, from which parsing, types and the reference page are fed.

use serde_json::{Map, Value};

use super::{
    EvalError, Expr, Scope,
    arguments::{Arguments, same, type_error},
    bounded, numbers, texts, times,
};
use crate::{
    limits::VALUE_DEPTH_MAX,
    schema::Schema,
    value::{self, kind},
};

/// One function.
#[derive(Debug)]
pub struct Spec {
    /// As it is called, without its `$`.
    pub name: &'static str,
    /// How many arguments it takes at least.
    pub arguments_min: usize,
    /// And at most.
    pub arguments_max: usize,
    /// What it does, in a line.
    pub doc: &'static str,
    /// What it gives.
    pub result: Schema,
    run: Run,
}

#[derive(Debug)]
enum Run {
    /// Arguments are evaluated first.
    Strict(fn(&Arguments<'_>) -> Result<Value, EvalError>),
    /// Only those that are needed are evaluated.
    Lazy(fn(&[Expr], Scope<'_>) -> Result<Value, EvalError>),
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

type Strict = fn(&Arguments<'_>) -> Result<Value, EvalError>;
type Lazy = fn(&[Expr], Scope<'_>) -> Result<Value, EvalError>;

const fn strict(
    name: &'static str,
    (min, max): (usize, usize),
    result: Schema,
    doc: &'static str,
    run: Strict,
) -> Spec {
    Spec { name, arguments_min: min, arguments_max: max, doc, result, run: Run::Strict(run) }
}

const fn lazy(name: &'static str, (min, max): (usize, usize), result: Schema, doc: &'static str, run: Lazy) -> Spec {
    Spec { name, arguments_min: min, arguments_max: max, doc, result, run: Run::Lazy(run) }
}

const MANY: usize = 64;

/// All functions.
pub static FUNCTIONS: &[Spec] = &[
    lazy("if", (3, 3), Schema::Any, "condition, value if true, value if false", if_),
    lazy("and", (1, MANY), Schema::Bool, "whether all are true; stops at the first that is not", and),
    lazy("or", (1, MANY), Schema::Bool, "whether one is true; stops at the first that is", or),
    lazy("exists", (1, 1), Schema::Bool, "whether the path selects anything", exists),
    lazy("default", (2, MANY), Schema::Any, "the first that has a value other than null, else the last", default),
    lazy(
        "random",
        (2, 3),
        Schema::Int,
        "first, end, salt: a whole number before the end that is the same for the same run, step and salt",
        random,
    ),
    lazy("uuid", (0, 1), Schema::String, "a UUID that is the same for the same run, step and argument", uuid),
    strict("not", (1, 1), Schema::Bool, "the opposite", |a| Ok((!a.bool(0)?).into())),
    strict("eq", (2, 2), Schema::Bool, "whether both are the same", |a| Ok(same(a.at(0), a.at(1)).into())),
    strict("ne", (2, 2), Schema::Bool, "whether they differ", |a| Ok((!same(a.at(0), a.at(1))).into())),
    strict("lt", (2, 2), Schema::Bool, "less: two numbers or two texts", |a| Ok(a.order()?.is_lt().into())),
    strict("le", (2, 2), Schema::Bool, "less or equal: two numbers or two texts", |a| Ok(a.order()?.is_le().into())),
    strict("gt", (2, 2), Schema::Bool, "greater: two numbers or two texts", |a| Ok(a.order()?.is_gt().into())),
    strict("ge", (2, 2), Schema::Bool, "greater or equal: two numbers or two texts", |a| Ok(a.order()?.is_ge().into())),
    strict(
        "is",
        (2, 2),
        Schema::Bool,
        "value, `null`, `bool`, `int`, `number`, `string`, `list`, `record`, `bytes` or `object`",
        is,
    ),
    strict("in", (2, 2), Schema::Bool, "value, list: whether it is in it", |a| {
        Ok(a.list(1)?.iter().any(|item| same(item, a.at(0))).into())
    }),
    strict("contains", (2, 2), Schema::Bool, "list or text, item or part: whether it has it", contains),
    strict("matches", (2, 2), Schema::Bool, "text, pattern in which `*` is any text and `\\*` a star", texts::matches),
    strict("length", (1, 1), Schema::Int, "of a list, a text (in characters) or a record", length),
    strict("get", (2, 3), Schema::Any, "list or record, index or name, value if there is none", get),
    strict("set", (3, 3), Schema::Any, "record, path such as `a.b`, value: the record with the value there", set),
    strict("merge", (1, MANY), Schema::Any, "records: all fields, later ones win", merge),
    strict("keys", (1, 1), Schema::Any, "the names of a record's fields", |a| {
        Ok(a.record(0)?.keys().cloned().map(Value::from).collect())
    }),
    strict("values", (1, 1), Schema::Any, "the values of a record's fields", |a| {
        Ok(a.record(0)?.values().cloned().collect())
    }),
    strict("entries", (1, 1), Schema::Any, "a record as a list of `{\"key\", \"value\"}`", entries),
    strict("from_entries", (1, 1), Schema::Any, "the record of a list of `{\"key\", \"value\"}`", from_entries),
    strict("flatten", (1, 1), Schema::Any, "a list of lists as one list", flatten),
    strict("slice", (3, 3), Schema::Any, "list, first index, index after the last", slice),
    strict("partition", (2, 2), Schema::Any, "list, size: lists of that size, the last may be shorter", partition),
    strict("unique", (1, 1), Schema::Any, "list without what came before", unique),
    strict("sort", (1, 1), Schema::Any, "list of numbers or texts in order", numbers::sort),
    strict("range", (3, 3), Schema::Any, "first, last, step: whole numbers, both ends included", numbers::range),
    strict("sum", (1, 1), Schema::Number, "of a list of numbers", numbers::sum),
    strict("add", (2, 2), Schema::Number, "two numbers", |a| numbers::binary(a, i64::checked_add, |x, y| x + y)),
    strict("sub", (2, 2), Schema::Number, "two numbers", |a| numbers::binary(a, i64::checked_sub, |x, y| x - y)),
    strict("mul", (2, 2), Schema::Number, "two numbers", |a| numbers::binary(a, i64::checked_mul, |x, y| x * y)),
    strict("div", (2, 2), Schema::Number, "two numbers; not by 0", numbers::div),
    strict("mod", (2, 2), Schema::Number, "the rest of a division, with the sign of the first; not by 0", numbers::rem),
    strict("min", (1, 1), Schema::Any, "the least of a list", |a| numbers::extreme(a, true)),
    strict("max", (1, 1), Schema::Any, "the greatest of a list", |a| numbers::extreme(a, false)),
    strict("round", (1, 1), Schema::Int, "to the nearest whole number", |a| numbers::whole(a, f64::round)),
    strict("floor", (1, 1), Schema::Int, "down to a whole number", |a| numbers::whole(a, f64::floor)),
    strict("number", (1, 1), Schema::Number, "the number that a text is", numbers::number),
    strict("format", (1, MANY), Schema::String, "text, values for each `{}` in it", texts::format),
    strict("concat", (1, MANY), Schema::Any, "texts or lists, one behind the other", texts::concat),
    strict("split", (2, 2), Schema::Any, "text, separator: the parts", texts::split),
    strict("join", (2, 2), Schema::String, "list of texts, separator", texts::join),
    strict("lower", (1, 1), Schema::String, "text in small letters", |a| Ok(a.text(0)?.to_lowercase().into())),
    strict("upper", (1, 1), Schema::String, "text in capital letters", |a| Ok(a.text(0)?.to_uppercase().into())),
    strict("trim", (1, 1), Schema::String, "text without white space around it", |a| Ok(a.text(0)?.trim().into())),
    strict("text", (1, 1), Schema::String, "a value as JSON", |a| Ok(a.at(0).to_string().into())),
    strict("parse", (1, 1), Schema::Any, "the value that a text is as JSON", texts::parse),
    strict("base64", (1, 1), Schema::String, "text or bytes in base64", texts::base64),
    strict("unbase64", (1, 1), Schema::String, "the text that this is in base64", texts::unbase64),
    strict("hash", (1, 1), Schema::String, "the BLAKE3 hash of a value as JSON, in hex", |a| {
        Ok(blake3::hash(a.at(0).to_string().as_bytes()).to_hex().to_string().into())
    }),
    strict(
        "digest",
        (2, 2),
        Schema::String,
        "text or other value as JSON, `MD5`, `SHA-1`, `SHA-256`, `SHA-384` or `SHA-512`: its hash in hex",
        texts::digest,
    ),
    strict("time", (1, 1), Schema::Int, "milliseconds since 1970 of a text as in RFC 3339", times::time),
    strict("is_time", (1, 1), Schema::Bool, "whether it is a text as in RFC 3339", times::is_time),
    strict("moment", (1, 1), Schema::String, "milliseconds since 1970 as a text as in RFC 3339", times::moment),
];

pub(super) fn find(name: &str) -> Option<&'static Spec> {
    FUNCTIONS.iter().find(|spec| spec.name == name)
}

pub(super) fn apply(spec: &'static Spec, arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    match spec.run {
        Run::Lazy(run) => run(arguments, scope),
        Run::Strict(run) => {
            let values = arguments.iter().map(|argument| argument.eval(scope)).collect::<Result<Vec<_>, _>>()?;
            run(&Arguments { of: spec.name, values: &values }).and_then(bounded)
        }
    }
}

fn if_(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    let [condition, yes, no] = arguments else { return Ok(Value::Null) };
    if condition.test(scope)? { yes.eval(scope) } else { no.eval(scope) }
}

fn and(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    for argument in arguments {
        if !argument.test(scope)? {
            return Ok(false.into());
        }
    }
    Ok(true.into())
}

fn or(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    for argument in arguments {
        if argument.test(scope)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn exists(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    match arguments {
        [Expr::Input(path)] => Ok(path.exists(scope.input).into()),
        [Expr::Context(path)] => Ok(path.exists(scope.context).into()),
        _ => Ok(true.into()),
    }
}

fn default(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    let Some((last, others)) = arguments.split_last() else { return Ok(Value::Null) };
    for argument in others {
        let is_missing = match argument {
            Expr::Input(path) => !path.exists(scope.input),
            Expr::Context(path) => !path.exists(scope.context),
            _ => false,
        };
        if is_missing {
            continue;
        }
        let value = argument.eval(scope)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    last.eval(scope)
}

/// Drawn from the step, so that evaluating it again after a crash gives the same.
fn drawn(context: &str, salt: Option<&Expr>, scope: Scope<'_>) -> Result<[u8; 32], EvalError> {
    let salt = salt.map_or(Ok(Value::Null), |argument| argument.eval(scope))?;
    let at = |pointer: &str| scope.context.pointer(pointer).cloned().unwrap_or_default();
    let seed = Value::from(vec![at("/run/id"), at("/step/id"), at("/item/index"), salt]).to_string();
    Ok(blake3::derive_key(context, seed.as_bytes()))
}

fn random(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    let [first, end, salt @ ..] = arguments else { return Ok(Value::Null) };
    let bounds = [first.eval(scope)?, end.eval(scope)?];
    let bounds = Arguments { of: "random", values: &bounds };
    let (first, end) = (bounds.int(0)?, bounds.int(1)?);
    let width = u64::try_from(i128::from(end) - i128::from(first)).ok().filter(|width| *width > 0);
    let width = width.ok_or_else(|| EvalError(format!("`$random`: there is nothing between {first} and {end}")))?;
    let [a, b, c, d, e, f, g, h, ..] = drawn("stride flows random 1", salt.first(), scope)?;
    // The upper half of a product: as even as 64 bits can be, and never the end.
    let above = (u128::from(u64::from_le_bytes([a, b, c, d, e, f, g, h])) * u128::from(width)) >> 64;
    let number = i128::from(first) + i128::try_from(above).unwrap_or_default();
    Ok(i64::try_from(number).unwrap_or(first).into())
}

fn uuid(arguments: &[Expr], scope: Scope<'_>) -> Result<Value, EvalError> {
    let hex = blake3::Hash::from(drawn("stride flows uuid 1", arguments.first(), scope)?).to_hex();
    let (a, b, c, d, e) = (&hex[0..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
    Ok(format!("{a}-{b}-8{c}-a{d}-{e}").into())
}

fn is(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let given = kind(a.at(0));
    let wanted = a.text(1)?;
    Ok((given == wanted || (given == "int" && wanted == "number")).into())
}

fn contains(a: &Arguments<'_>) -> Result<Value, EvalError> {
    match a.at(0) {
        Value::Array(items) => Ok(items.iter().any(|item| same(item, a.at(1))).into()),
        Value::String(text) => Ok(text.contains(a.text(1)?).into()),
        other => Err(type_error(a.of, "a list or a text", other)),
    }
}

fn length(a: &Arguments<'_>) -> Result<Value, EvalError> {
    match a.at(0) {
        Value::Array(items) => Ok(items.len().into()),
        Value::String(text) => Ok(text.chars().count().into()),
        Value::Object(fields) => Ok(fields.len().into()),
        other => Err(type_error(a.of, "a list, a text or a record", other)),
    }
}

fn get(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let found = match a.at(0) {
        Value::Array(items) => usize::try_from(a.int(1)?).ok().and_then(|at| items.get(at)),
        Value::Object(fields) => fields.get(a.text(1)?),
        other => return Err(type_error(a.of, "a list or a record", other)),
    };
    found.or_else(|| a.values.get(2)).cloned().ok_or_else(|| EvalError(format!("`$get`: there is no {}", a.at(1))))
}

fn set(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut whole = match a.at(0) {
        Value::Null => Value::Object(Map::new()),
        record @ Value::Object(_) => record.clone(),
        other => return Err(type_error(a.of, "a record", other)),
    };
    let mut here = &mut whole;
    for part in a.text(1)?.split('.').filter(|part| !part.is_empty()).take(VALUE_DEPTH_MAX + 1) {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(fields) = here else { break };
        here = fields.entry(part).or_insert(Value::Null);
    }
    *here = a.at(2).clone();
    Ok(whole)
}

fn merge(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut all = Map::new();
    for at in 0..a.values.len() {
        all.extend(a.record(at)?.clone());
    }
    Ok(Value::Object(all))
}

fn entries(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let entry = |(key, v): (&String, &Value)| value::record([("key", key.clone().into()), ("value", v.clone())]);
    Ok(a.record(0)?.iter().map(entry).collect())
}

fn from_entries(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let entry = |entry: &Value| match (entry.get("key"), entry.get("value")) {
        (Some(Value::String(key)), Some(v)) => Ok((key.clone(), v.clone())),
        _ => Err(type_error(a.of, "a list of `{\"key\", \"value\"}`", entry)),
    };
    Ok(Value::Object(a.list(0)?.iter().map(entry).collect::<Result<_, _>>()?))
}

fn flatten(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut all = Vec::new();
    for item in a.list(0)? {
        all.extend(item.as_array().ok_or_else(|| type_error(a.of, "a list of lists", item))?.iter().cloned());
    }
    Ok(Value::Array(all))
}

fn slice(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let items = a.list(0)?;
    let clip = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(items.len());
    let (from, to) = (clip(a.int(1)?), clip(a.int(2)?));
    Ok(items.get(from..to).unwrap_or_default().into())
}

fn partition(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let size = usize::try_from(a.int(1)?).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| EvalError("`$partition`: a size is 1 or more".into()))?;
    Ok(a.list(0)?.chunks(size).map(Value::from).collect())
}

fn unique(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let mut seen = std::collections::HashSet::new();
    let is_new = |item: &&Value| seen.insert(super::arguments::canonical(item));
    Ok(a.list(0)?.iter().filter(is_new).cloned().collect())
}
