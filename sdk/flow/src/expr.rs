//! Values that are not there yet: where they will be, and what is computed of them.
//!
//! An expression is JSON in which marked records stand for what is not plain data. So it can be put into `json!` and into anything that serialises, and is
//! found there again. The mark is no text that anybody writes.

use std::{
    ops::{Add, BitAnd, BitOr, Div, Mul, Not, Rem, Sub},
    panic::Location,
};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// The name of the one field of a marked record.
const MARK: &str = "\u{0}stride-flow";

/// A value of the flow.
#[derive(Clone, Debug)]
pub struct Expr(Value);

/// What a marked record says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Marked {
    /// A part of what a step gives.
    Ref(Ref),
    /// A part of what is known of the run.
    Context(String),
    /// A function of these.
    Apply(String, Vec<Value>),
    /// Data as it is.
    Literal(Value),
    /// A mistake, and where it was made.
    Wrong(String, String),
}

/// A part of the value of a node, or, without one, of the input of a graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ref {
    /// Which of the flows of this process.
    pub(crate) flow: u64,
    pub(crate) graph: usize,
    pub(crate) node: Option<usize>,
    pub(crate) path: String,
}

impl Ref {
    /// Whether it is all that the input or a node of this graph is.
    pub(crate) fn is_all_of(&self, flow: u64, graph: usize) -> bool {
        self.flow == flow && self.graph == graph && self.path.is_empty()
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Self {
        Self { path: String::new(), ..self.clone() }
    }
}

/// What is known of the run: `run` (`id`, `flow`, `input`, `started_ms`), `step` (`id`, `name`, `attempt`, `now_ms`); in the `input` of what goes over items `item` (`index`,
/// `value`); in `until` `round` and `previous`.
pub fn context(name: &str) -> Expr {
    Expr::mark(&Marked::Context(segment(name)))
}

/// Data as a value of the flow. Only where it stands alone: elsewhere plain data is taken as it is.
#[track_caller]
pub fn literal(data: impl Serialize) -> Expr {
    let given = Expr::of(&data);
    if marked(&given.0).is_some() { given } else { Expr::mark(&Marked::Literal(given.0)) }
}

/// What a marked record says. `None`: it is plain.
pub(crate) fn marked(value: &Value) -> Option<Marked> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    Marked::deserialize(fields.get(MARK)?).ok()
}

/// A name as a step of a path.
pub(crate) fn segment(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { format!(".{name}") } else { format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'")) }
}

impl Expr {
    fn mark(marked: &Marked) -> Self {
        Self(Value::Object(Map::from_iter([(MARK.to_owned(), json!(marked))])))
    }

    pub(crate) fn input_of(flow: u64, graph: usize) -> Self {
        Self::mark(&Marked::Ref(Ref { flow, graph, node: None, path: String::new() }))
    }

    pub(crate) fn node(flow: u64, graph: usize, node: usize) -> Self {
        Self::mark(&Marked::Ref(Ref { flow, graph, node: Some(node), path: String::new() }))
    }

    pub(crate) fn apply(name: &str, arguments: Vec<Value>) -> Self {
        Self::mark(&Marked::Apply(name.to_owned(), arguments))
    }

    /// Whatever serialises, with the values of the flow that are in it.
    #[track_caller]
    pub(crate) fn of(data: &impl Serialize) -> Self {
        Self::made_at(Location::caller(), data)
    }

    /// The same, made on this line.
    pub(crate) fn made_at(at: &Location<'_>, data: &impl Serialize) -> Self {
        serde_json::to_value(data).map_or_else(|e| Self::wrong(at, format!("this is no JSON: {e}")), Self)
    }

    fn wrong(at: &Location<'_>, what: String) -> Self {
        Self::mark(&Marked::Wrong(what, at.to_string()))
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// The field of a record.
    pub fn field(&self, name: &str) -> Self {
        self.longer(&segment(name), || json!(name))
    }

    /// The item of a list, from 0; from its end with negative numbers, of what a step gives.
    pub fn at(&self, index: i64) -> Self {
        self.longer(&format!("[{index}]"), || json!(index))
    }

    /// What a path selects, as in RFC 9535: `lines[*].sku`, `lines[?@.cents > 5]`, `.sku`.
    #[track_caller]
    pub fn select(&self, path: &str) -> Self {
        let path = if path.starts_with(['[', '.']) { path.to_owned() } else { format!(".{path}") };
        match marked(&self.0) {
            Some(Marked::Ref(_) | Marked::Context(_)) => self.longer(&path, || Value::Null),
            _ => Self::wrong(Location::caller(), format!("`{path}` can only select from what a step gives")),
        }
    }

    fn longer(&self, more: &str, argument: impl FnOnce() -> Value) -> Self {
        match marked(&self.0) {
            Some(Marked::Ref(at)) => Self::mark(&Marked::Ref(Ref { path: at.path + more, ..at })),
            Some(Marked::Context(path)) => Self::mark(&Marked::Context(path + more)),
            Some(Marked::Wrong(..)) => self.clone(),
            _ => Self::apply("get", vec![self.0.clone(), argument()]),
        }
    }

    #[track_caller]
    fn with(&self, function: &str, other: impl Serialize) -> Self {
        Self::apply(function, vec![self.0.clone(), Self::of(&other).0])
    }
}

/// Comparisons: what they say is known when the flow runs.
macro_rules! comparisons {
    ($($name:ident $what:literal)*) => {
        impl Expr {
            $(#[doc = $what]
            #[track_caller]
            pub fn $name(&self, other: impl Serialize) -> Self {
                self.with(stringify!($name), other)
            })*
        }
    };
}
comparisons! {
    eq "Whether both are the same."
    ne "Whether they differ."
    lt "Whether it is less: two numbers or two texts."
    le "Whether it is less or equal: two numbers or two texts."
    gt "Whether it is greater: two numbers or two texts."
    ge "Whether it is greater or equal: two numbers or two texts."
}

macro_rules! operators {
    ($($operator:ident $method:ident $name:literal)*) => {
        $(impl<T: Serialize> $operator<T> for Expr {
            type Output = Expr;
            #[track_caller]
            fn $method(self, other: T) -> Expr {
                self.with($name, other)
            }
        }
        impl<T: Serialize> $operator<T> for &Expr {
            type Output = Expr;
            #[track_caller]
            fn $method(self, other: T) -> Expr {
                self.with($name, other)
            }
        })*
    };
}
operators! { Add add "add" Sub sub "sub" Mul mul "mul" Div div "div" Rem rem "mod" BitAnd bitand "and" BitOr bitor "or" }

impl Not for Expr {
    type Output = Self;
    fn not(self) -> Self {
        Self::apply("not", vec![self.0])
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
