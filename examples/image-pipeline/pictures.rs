//! A picture was written: make it small in three sizes side by side, put it into the index, and tell of it.

use serde_json::json;
use stride_flow::{Expr, Flow, Retry, functions as f, schema};

pub fn flow() -> Flow {
    let flow = Flow::new("pictures").title("A picture was written: resize, index, notify");
    let object = flow.input(schema::object()).field("$object");
    let (bucket, key) = (object.field("bucket"), object.field("key"));

    let sizes = flow
        .map([128, 512, 1024], |max: Expr| {
            flow.call("image-pipeline/resize", json!({ "bucket": bucket, "key": key, "max": max }))
                .close_to(f::format("object:{}/{}", [&bucket, &key]))
                .retry(Retry::times(3).on(["unavailable"]))
        })
        .named("sizes");
    let count = flow.ask("gallery", &bucket, "add", json!({ "key": key, "sizes": sizes })).named("index");
    flow.tell("visitor", "all", "notify", f::format("{} is picture {}", [&key, &count]));

    flow.output(json!({ "key": key, "sizes": sizes, "pictures": count }));
    flow
}

#[allow(dead_code, reason = "where this file is a part of a test, nobody prints")]
fn main() {
    flow().print();
}
