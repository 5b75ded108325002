//! Intrinsic functions, as functions of flows.

use serde_json::{Value, json};

use crate::reader::Reader;

/// Their names here and there, with how many arguments they take.
const SAME: [(&str, &str, std::ops::RangeInclusive<usize>); 16] = [
    ("Format", "format", 1..=64),
    ("StringToJson", "parse", 1..=1),
    ("JsonToString", "text", 1..=1),
    ("ArrayPartition", "partition", 2..=2),
    ("ArrayContains", "contains", 2..=2),
    ("ArrayRange", "range", 3..=3),
    ("ArrayGetItem", "get", 2..=2),
    ("ArrayLength", "length", 1..=1),
    ("ArrayUnique", "unique", 1..=1),
    ("Base64Encode", "base64", 1..=1),
    ("Base64Decode", "unbase64", 1..=1),
    ("MathAdd", "add", 2..=2),
    ("StringSplit", "split", 2..=2),
    ("UUID", "uuid", 0..=0),
    ("MathRandom", "random", 2..=3),
    ("Hash", "digest", 2..=2),
];

const DEPTH_MAX: usize = 10;

impl Reader<'_> {
    /// `States.Format('...', $.x)` and the like, as a template of flows.
    pub(crate) fn intrinsic(&mut self, at: &str, text: &str, state: &str) -> Value {
        let mut rest = text;
        let parsed = call(&mut rest, 0).and_then(|call| match rest.trim() {
            "" => Ok(call),
            more => Err(format!("`{more}` is too much")),
        });
        match parsed {
            Ok(call) => self.applied(at, call, state),
            Err(what) => {
                self.problem(at, what, "correct it; a function takes texts in '', numbers, paths and functions");
                Value::Null
            }
        }
    }

    fn argument(&mut self, at: &str, argument: Argument, state: &str) -> Value {
        match argument {
            Argument::Constant(value) => json!({ "$literal": value }),
            Argument::Path(path) => self.path(at, &path, state),
            Argument::Call(call) => self.applied(at, call, state),
        }
    }

    fn applied(&mut self, at: &str, call: Call, state: &str) -> Value {
        let refuse = |this: &mut Self, what: String, remedy: &str| {
            this.problem(at, what, remedy);
            Value::Null
        };
        let name = call.name.clone();
        if name == "StringSplit"
            && !matches!(call.arguments.get(1), Some(Argument::Constant(Value::String(s))) if s.chars().count() == 1)
        {
            let what = "`States.StringSplit` is covered with one character to split at".to_owned();
            return refuse(self, what, "write it as a text in '', or let a function split");
        }
        if let (true, Some(Argument::Constant(Value::String(text)))) = (name == "Format", call.arguments.first())
            && text.replace("{}", "").contains(['{', '}'])
        {
            return refuse(self, "braces in `States.Format` are not covered".into(), "let a function write the text");
        }
        let count = call.arguments.len();
        let arguments: Vec<Value> =
            call.arguments.into_iter().map(|argument| self.argument(at, argument, state)).collect();
        if name == "Array" {
            return arguments.into();
        }
        if name == "JsonMerge" {
            return match <[Value; 3]>::try_from(arguments) {
                Ok([left, right, deep]) if deep == json!({ "$literal": false }) => json!({ "$merge": [left, right] }),
                _ => refuse(
                    self,
                    "`States.JsonMerge` takes two records and `false`".into(),
                    "a deep merge is a function's work",
                ),
            };
        }
        let Some((_, ours, takes)) = SAME.iter().find(|(theirs, ..)| *theirs == name) else {
            return refuse(self, format!("`States.{name}` is not covered"), "let a function compute it");
        };
        if !takes.contains(&count) {
            let what = format!("`States.{name}` does not take {count} arguments");
            return refuse(self, what, "correct them");
        }
        Value::Object([(format!("${ours}"), arguments.into())].into_iter().collect())
    }
}

struct Call {
    name: String,
    arguments: Vec<Argument>,
}

enum Argument {
    Constant(Value),
    Path(String),
    Call(Call),
}

fn call(rest: &mut &str, depth: usize) -> Result<Call, String> {
    if depth == DEPTH_MAX {
        return Err(format!("functions are nested deeper than {DEPTH_MAX} levels"));
    }
    let text = rest.trim_start().strip_prefix("States.").ok_or("a function begins with `States.`")?;
    let (name, mut inside) = text.split_once('(').ok_or("a function has `(` behind its name")?;
    let mut arguments = Vec::new();
    loop {
        inside = inside.trim_start();
        if let (true, Some(after)) = (arguments.is_empty(), inside.strip_prefix(')')) {
            *rest = after;
            break;
        }
        arguments.push(argument(&mut inside, depth)?);
        inside = inside.trim_start();
        if let Some(after) = inside.strip_prefix(')') {
            *rest = after;
            break;
        }
        inside = inside.strip_prefix(',').ok_or("an argument ends with `,` or `)`")?;
    }
    Ok(Call { name: name.trim().to_owned(), arguments })
}

fn argument(rest: &mut &str, depth: usize) -> Result<Argument, String> {
    if let Some(text) = rest.strip_prefix('\'') {
        let (text, after) = quoted(text)?;
        *rest = after;
        return Ok(Argument::Constant(text.into()));
    }
    if rest.starts_with("States.") {
        return call(rest, depth + 1).map(Argument::Call);
    }
    let (text, after) = rest.split_at(end(rest));
    *rest = after;
    let text = text.trim();
    if text.starts_with('$') {
        return Ok(Argument::Path(text.to_owned()));
    }
    serde_json::from_str(text).map(Argument::Constant).map_err(|_| format!("`{text}` is no argument"))
}

/// A text up to its quote, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let (mut read, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '\'' if !escaped => return Ok((read, &text[at + 1..])),
            '{' | '}' if escaped => return Err("escaped braces in a text are not covered".into()),
            _ => {
                read.push(c);
                escaped = false;
            }
        }
    }
    Err("a text has no end".into())
}

/// Where an argument ends: at a `,` or `)` outside of brackets and quotes.
fn end(text: &str) -> usize {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ',' | ')') if depth == 0 => return at,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}
