//! Reading fields: each with its place, each known or refused.

use serde_json::{Map, Value};
use stride_flows::{
    Expr, Problem,
    limits::{PROBLEMS_MAX, TIME_MS_MAX},
};

use crate::Resources;

/// A record of the machine and where it is.
pub(crate) struct Fields<'a> {
    pub(crate) place: String,
    pub(crate) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// The place of one of them.
    pub(crate) fn at(&self, name: &str) -> String {
        under(&self.place, name)
    }
}

pub(crate) fn under(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What is found out while a machine is read.
pub(crate) struct Reader<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) problems: Vec<Problem>,
    /// How many states were translated. One that several ways lead to may be translated more than once.
    pub(crate) translated: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(resources: &'a Resources) -> Self {
        Self { resources, problems: Vec::new(), translated: 0 }
    }

    pub(crate) fn problem(&mut self, at: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { at: at.to_owned(), what: what.into(), remedy: remedy.into() });
        }
    }

    pub(crate) fn fields<'v>(&mut self, value: &'v Value, place: String) -> Option<Fields<'v>> {
        let Some(map) = value.as_object() else {
            self.problem(&place, "expected a record", "see docs/states-language.md for its form");
            return None;
        };
        Some(Fields { place, map })
    }

    /// Refuses all fields but these.
    pub(crate) fn known(&mut self, fields: &Fields<'_>, known: &[&str]) {
        for name in fields.map.keys().filter(|name| !known.contains(&name.as_str())) {
            self.problem(
                &fields.at(name),
                format!("`{name}` is not covered here"),
                "remove it, or write this part as a flow; see docs/states-language.md",
            );
        }
    }

    /// Refuses the second of two fields of which only one counts.
    pub(crate) fn either(&mut self, fields: &Fields<'_>, one: &str, other: &str) {
        if fields.get(one).is_some() && fields.get(other).is_some() {
            self.problem(&fields.at(other), format!("there is `{one}` as well"), "remove one of the two");
        }
    }

    pub(crate) fn query_language(&mut self, fields: &Fields<'_>) {
        if let Some(language) = self.text(fields, "QueryLanguage").filter(|language| *language != "JSONPath") {
            self.problem(
                &fields.at("QueryLanguage"),
                format!("{language} is not covered"),
                "write it with JSONPath, or let a function compute",
            );
        }
    }

    pub(crate) fn text<'v>(&mut self, fields: &Fields<'v>, name: &str) -> Option<&'v str> {
        self.typed(fields, name, "a text", Value::as_str)
    }

    pub(crate) fn needed<'v>(&mut self, fields: &Fields<'v>, name: &str) -> Option<&'v Value> {
        let value = fields.get(name);
        if value.is_none() {
            self.problem(&fields.place, format!("`{name}` is missing"), format!("write `{name}`"));
        }
        value
    }

    pub(crate) fn needed_text<'v>(&mut self, fields: &Fields<'v>, name: &str) -> Option<&'v str> {
        self.needed(fields, name)?;
        self.text(fields, name)
    }

    pub(crate) fn list<'v>(&mut self, fields: &Fields<'v>, name: &str) -> &'v [Value] {
        self.typed(fields, name, "a list", Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// A list that has to be there with something in it.
    pub(crate) fn full_list<'v>(&mut self, fields: &Fields<'v>, name: &str) -> &'v [Value] {
        let list = self.list(fields, name);
        if self.needed(fields, name).is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)) {
            self.problem(&fields.at(name), "it is empty", "write at least one");
        }
        list
    }

    pub(crate) fn flag(&mut self, fields: &Fields<'_>, name: &str) -> bool {
        self.typed(fields, name, "true or false", Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn number(&mut self, fields: &Fields<'_>, name: &str, min: f64, max: f64) -> Option<f64> {
        let number = self.typed(fields, name, "a number", Value::as_f64)?;
        if (min..=max).contains(&number) {
            return Some(number);
        }
        self.problem(&fields.at(name), format!("{number} is out of range"), format!("take {min} to {max}"));
        None
    }

    /// A time in seconds, as milliseconds.
    pub(crate) fn seconds(&mut self, fields: &Fields<'_>, name: &str) -> Option<u64> {
        let max = (TIME_MS_MAX / 1_000) as f64;
        self.number(fields, name, 1.0, max).map(|seconds| (seconds * 1_000.0) as u64)
    }

    /// The expression of a template of flows.
    pub(crate) fn expr(&mut self, at: &str, template: Value) -> Expr {
        Expr::parse(template).unwrap_or_else(|e| {
            self.problem(at, e.to_string(), "correct it, or let a function do it");
            Expr::default()
        })
    }

    fn typed<'v, T>(
        &mut self,
        fields: &Fields<'v>,
        name: &str,
        wanted: &str,
        of: impl Fn(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = fields.get(name)?;
        let typed = of(value);
        if typed.is_none() {
            self.problem(&fields.at(name), format!("expected {wanted}"), "see docs/states-language.md for its form");
        }
        typed
    }
}
