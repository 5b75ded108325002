use serde_json::json;
use stride_flow::{Expr, Flow, schema as s};

pub(crate) fn flow() -> Flow {
    let flow = Flow::new("bodies");
    let given = flow.input(s::record([("lists", s::list(s::list(s::int()))), ("rate", s::int())]));
    let rate = given.field("rate");
    let factor = flow.call("f/inc", &rate).named("factor");
    let lists = flow.map(given.field("lists"), |_| {
        let numbers = flow.input(s::list(s::int()));
        let products = flow.map(&numbers, |n: Expr| json!({ "product": n * &factor, "rate": rate, "whole": numbers }));
        let twice = flow.map(&products, "f/double").named("twice");
        json!({ "all": twice, "of": numbers })
    });
    flow.iterate(1, 3, |_| {
        let n = flow.input(s::int());
        flow.tell("a", "k", "m", &n).named("tell");
        n
    })
    .named("same");
    flow.call("f/pay", &rate)
        .catch(["refused"], |e: Expr| flow.call("f/undo", json!({ "why": e.field("message"), "all": lists })))
        .compensate(|undo: Expr| json!({ "result": undo.field("result"), "rate": rate }));
    flow.branch(&rate).case(true, "f/inc");
    flow.output(&given);
    flow
}
