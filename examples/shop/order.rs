use std::time::Duration;

use serde_json::json;
use stride_flow::{Expr, Flow, Retry, functions as f, schema as s};

pub fn flow() -> Flow {
    let flow = Flow::new("order").title("Take an order: hold, approval, payment, parcel, notice");
    let order = flow.input(s::record([
        ("id", s::string()),
        ("item", s::string()),
        ("count", s::int()),
        ("cents", s::int()),
        ("customer", s::string()),
    ]));
    let (id, cents) = (order.field("id"), order.field("cents"));

    let given = json!({ "order": id, "item": order.field("item"), "count": order.field("count") });
    let held =
        flow.ask("warehouse", "eu", "hold", given).compensate(|_: Expr| flow.ask("warehouse", "eu", "release", &id));
    let approved = flow
        .approval(f::format("order {} over {} cents?", [&id, &cents]))
        .named("approve")
        .timeout(Duration::from_secs(24 * 3600))
        .after(&held);
    let paid = flow
        .call("shop/pay", json!({ "order": id, "cents": cents }))
        .after(&approved)
        .retry(Retry::times(5).on(["unavailable"]).jitter())
        .compensate("shop/refund");
    let parcel = flow.ask("warehouse", "eu", "ship", json!({ "order": id, "receipt": paid }));
    flow.tell("customer", order.field("customer"), "notify", json!({ "order": id, "parcel": parcel }));

    flow.output(&parcel);
    flow
}

#[allow(dead_code, reason = "where this file is a part of a test, nobody prints")]
fn main() {
    flow().print();
}
