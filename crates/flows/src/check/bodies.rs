//! Expressions, functions and bodies: what they get, what they give.

use super::{Checker, Found};
use crate::{expr::Expr, ir::Body, schema::Schema};

/// What `$$` looks like everywhere.
pub(super) fn context<const N: usize>(more: [(&str, Schema); N]) -> Schema {
    let run = Schema::record([
        ("id", Schema::String),
        ("flow", Schema::String),
        ("input", Schema::Any),
        ("started_ms", Schema::Int),
    ]);
    let step = Schema::record([
        ("id", Schema::String),
        ("name", Schema::String),
        ("attempt", Schema::Int),
        ("now_ms", Schema::Int),
    ]);
    let mut fields = vec![("run", run), ("step", step)];
    fields.extend(more);
    Schema::Record(fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect())
}

impl Checker<'_> {
    /// What an expression gives that should look like `wanted`.
    pub(super) fn expr(&mut self, at: &str, expr: &Expr, input: &Schema, wanted: &Schema) -> Schema {
        self.expr_in(at, expr, input, &context([]), wanted)
    }

    pub(super) fn expr_in(
        &mut self,
        at: &str,
        expr: &Expr,
        input: &Schema,
        context: &Schema,
        wanted: &Schema,
    ) -> Schema {
        let given = match expr.infer(input, context) {
            Ok(given) => given,
            Err(e) => {
                self.problem(at, e, "correct the path or the schema it goes into");
                return Schema::Any;
            }
        };
        if let Err(e) = wanted.accepts(&given) {
            self.problem(at, e.to_string(), "build what is expected, or correct the schema");
            return wanted.clone();
        }
        given
    }

    /// What the items of a list look like.
    pub(super) fn items(&mut self, at: &str, items: &Expr, input: &Schema) -> Schema {
        let list = self.expr(at, items, input, &Schema::Any);
        list.item().unwrap_or_else(|| {
            self.problem(
                at,
                format!("expected a list, given {list}"),
                "select a list with `items`, such as `$.orders`",
            );
            Schema::Any
        })
    }

    pub(super) fn function(&mut self, at: &str, name: &str, input: &Schema) -> Found {
        let Some(function) = self.catalog.function(name) else {
            self.unknown(at, "function", name);
            return Found::default();
        };
        if let Err(e) = function.input.accepts(input) {
            self.problem(at, format!("`{name}` does not take this: {e}"), "build what it takes with `input`");
        }
        let found = Found { output: function.output.clone(), effects: function.effects.clone() };
        self.functions.insert(name.to_owned(), function);
        found
    }

    pub(super) fn body(&mut self, at: &str, body: &Body, input: &Schema, depth: usize) -> Found {
        match body {
            Body::Function(name) => self.function(&format!("{at}/function"), name, input),
            Body::Expr(expr) => Found::pure(self.expr(&format!("{at}/expr"), expr, input, &Schema::Any)),
            Body::Graph(graph) => self.graph(&format!("{at}/graph"), graph, Some(input), depth + 1),
        }
    }

    /// The same where the value should look like `wanted`.
    pub(super) fn body_to(&mut self, at: &str, body: &Body, input: &Schema, wanted: &Schema, depth: usize) -> Found {
        let found = self.body(at, body, input, depth);
        if let Err(e) = wanted.accepts(&found.output) {
            self.problem(at, format!("its value does not fit: {e}"), "let the body give what the operator needs");
        }
        found
    }
}
