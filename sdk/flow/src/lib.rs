//! Write flows in Rust. A flow is a small program that prints an artefact as JSON, which is what `stride flow deploy -` reads:
//!
//! ```
//! use serde_json::json;
//! use stride_flow::{Flow, Retry, schema};
//!
//! let flow = Flow::new("greet");
//! let who = flow.input(schema::record([("name", schema::string())]));
//! let text = flow.call("texts/greeting", json!({ "to": who.field("name") })).retry(Retry::times(3));
//! flow.tell("log", "greetings", "add", &text);
//! flow.output(&text);
//! flow.print();
//! ```
//! **Values.** What a step gives can be used wherever a value is taken, also inside of `json!`: [`Expr::field`], [`Expr::at`] and [`Expr::select`] choose
//! a part of it, operators and [`functions`] compute with it. Nothing is computed when the program runs: it says what is to be computed. Plain data means itself.
//!
//! **Steps.** Every operator is a method of [`Flow`]; what all of them may have (`retry`, `timeout`, `catch`, `compensate`, ...) are methods of [`Step`]. Whose
//! values a step takes follows from what it was given.
//!
//! **Bodies.** A function (`"component/function"`), an [`Expr`], or a closure: steps that it makes are inside of the body. It may use values from around it, and they are handed
//! in; only the bodies of `iterate` and `reduce` see nothing but their state.
//!
//! **Mistakes** are told all at once by [`Flow::json`], each with the line that made it. Whether functions exist and types fit is checked where the flow is deployed.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod body;
mod expr;
mod flow;
pub mod functions;
mod mistake;
mod ops;
mod policy;
mod render;
pub mod schema;
mod step;

pub use body::IntoBody;
pub use expr::{Expr, context, literal};
pub use flow::Flow;
pub use mistake::{Mistake, Mistakes};
pub use policy::{Retry, Slo};
pub use schema::Schema;
pub use step::{Fold, Loop, Over, Plain, Several, Step, Ways};
