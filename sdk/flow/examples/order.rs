use std::time::Duration;

use serde_json::json;
use stride_flow::{Flow, Retry, functions as f, schema};

pub fn flow() -> Flow {
    let flow = Flow::new("order").title("Take an order: approval, payment, notice");
    let order = flow.input(schema::record([("id", schema::string()), ("cents", schema::int())]));
    let (id, cents) = (order.field("id"), order.field("cents"));

    let approved = flow.approval(f::format("order {} over {} cents?", [&id, &cents])).named("approve");
    let approved = approved.timeout(Duration::from_secs(24 * 3600));
    let paid = flow
        .call("shop/pay", json!({ "order": id, "cents": cents }))
        .after(&approved)
        .retry(Retry::times(5).on(["unavailable"]).jitter())
        .compensate("shop/refund");
    let shipped = flow.ask("warehouse", "eu", "ship", json!({ "order": id, "receipt": paid }));
    flow.publish("orders", json!({ "shipped": id })).named("tell").after(&shipped);

    flow.output(&shipped);
    flow
}

#[allow(dead_code, reason = "where this file is a part of a test, nobody prints")]
fn main() {
    flow().print();
}
