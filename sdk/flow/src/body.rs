//! What is done inside of a step.

use std::panic::Location;

use serde::Serialize;
use serde_json::Value;

use crate::{
    expr::{Expr, literal},
    flow::{Around, Body, Flow},
};

/// A body: a function's name, an expression, or a closure that gets the body's input. `M` only tells these kinds apart.
pub trait IntoBody<M> {
    /// Writes it down.
    #[doc(hidden)]
    fn write(self, flow: &Flow, place: Place, at: &'static Location<'static>) -> Written;
}

/// Where a body stands.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Place {
    pub(crate) around: Around,
    /// What the body works on, if that is a value from around it.
    pub(crate) on: Option<Value>,
}

/// A body that is written down.
#[doc(hidden)]
#[derive(Debug)]
pub struct Written(pub(crate) Body);

impl IntoBody<()> for &str {
    fn write(self, _: &Flow, place: Place, _: &'static Location<'static>) -> Written {
        Written(Body::Function(self.to_owned(), place.on))
    }
}

impl IntoBody<()> for Expr {
    fn write(self, flow: &Flow, place: Place, at: &'static Location<'static>) -> Written {
        (move |_: Expr| self).write(flow, place, at)
    }
}

impl<F, R> IntoBody<(R,)> for F
where
    F: FnOnce(Expr) -> R,
    R: Serialize,
{
    fn write(self, flow: &Flow, place: Place, at: &'static Location<'static>) -> Written {
        let graph = flow.open(place.around);
        let input = place.on.map_or_else(|| flow.input_of(graph), literal);
        let result = Expr::made_at(at, &self(input));
        flow.close(result.value(), at);
        Written(Body::Graph(graph))
    }
}
