use std::time::Duration;

use serde_json::json;
use stride_flow::{Expr, Flow, Retry, Slo, context, functions as f, literal, schema as s};

pub(crate) fn flow() -> Flow {
    let second = Duration::from_secs(1);
    let flow = Flow::new("operators")
        .title("Every operator once")
        .timeout(3600 * second)
        .slo(Slo::new().p99(second * 3 / 2).deadline(60 * second).budget(7));
    let order = flow.input(s::record([
        ("id", s::string()),
        ("cents", s::int()),
        ("tags", s::list(s::string())),
        ("note?", s::one_of([s::string(), s::null()])),
        ("of", s::map(s::number())),
        ("at", s::any()),
        ("raw", s::bytes()),
        ("file", s::object()),
        ("ok", s::boolean()),
    ]));
    let (id, cents) = (order.field("id"), order.field("cents"));
    let run = context("run").field("id");

    let items = flow.items([1, 2, 3]);
    let objects = flow.objects("images", f::format("{}/", [&run]));
    let lines = flow.lines("logs", "2026/");
    let messages = flow.messages("clicks", 1000, 5 * second);

    let price = flow.call("shop/price", json!({ "sku": id, "five": "$5" })).effects([]);
    let pictures = flow.map(&objects, "images/resize").window(128).failures_max(9).failures_percent_max(1.5);
    let pictures = pictures.after(&price).after(&items);
    let item = context("item");
    let given = json!({ "at": item.field("index"), "tag": item.field("value"), "id": id });
    flow.map(order.field("tags"), "text/tag").input(given).named("indexed");
    flow.flat_map(&lines, "text/words");
    let errors = flow.filter(&lines, |line| f::matches(line, "*ERROR*"));
    let keyed = flow.key_by(&errors, |line: Expr| f::split(line, " ").at(0));
    let counts = flow.reduce(&keyed, "math/sum").by_key().associative().window(8);
    let joined =
        flow.join("left", (&pictures, |picture| picture.field("id")), (&messages, |message| message.field("the id")));

    flow.iterate(json!({ "weights": [0, 0] }), 500, "model/step")
        .until(|model| model.field("loss").lt(0.01) & context("round").gt(2))
        .finish_at_bound();
    flow.branch(&order)
        .case(cents.gt(100_000), "shop/review")
        .case(id.eq("x"), |_| {
            flow.fail("sold_out", f::format("no {}", [&id])).named("stop");
        })
        .otherwise(literal("fine"));
    flow.parallel(&order).branch("card", "risk/card").branch("address", |_| {
        flow.succeed(&id).named("end");
    });

    flow.ask("counter", &id, "add", 1).close_to(f::format("agent:counter/{}", [&id]));
    flow.tell("index", "images", "added", &pictures);
    flow.event(f::format("paid/{}", [&id]))
        .timeout(3600 * second)
        .catch(["timeout"], literal(()))
        .catch(["*"], |e: Expr| json!({ "was": e.field("error"), "id": id }));
    flow.sleep(60_000);
    flow.sleep_until("2030-01-31T12:00:00Z");
    flow.approval_of("ops", "release?");
    flow.put("reports", f::format("{}.json", [&run]), &counts);
    flow.publish("done", &joined);
    let retry = Retry::times(5).on(["unavailable"]).backoff(second / 5).rate(1.5).backoff_max(9 * second).jitter();
    flow.subflow("order", order.field("at").at(0))
        .title("another")
        .gives(s::record([("n", s::int())]))
        .hardware("gpu")
        .slo(Slo::new().budget(1))
        .retry(retry)
        .retry(Retry::times(1))
        .compensate("shop/undo");
    flow.pass(f::set(&order, "state", cents * 2 + f::split(&id, "-").at(0)));
    flow.output(json!({ "sum": counts, "skus": pictures.select("[*].sku") }));
    flow
}
