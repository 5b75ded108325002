//! Triggers that hear of objects.

use std::time::Duration;

use serde_json::json;

use crate::world::{tells, with, world};

#[tokio::test(start_paused = true)]
async fn an_object_that_is_written_or_removed_is_told_to_those_whose_prefix_and_suffix_match() {
    let world = world().await;
    let source = json!({"objects": "images/in/", "suffix": ".jpg"});
    let any = tells("any", source.clone(), "any");
    let written = tells("written", with(source.clone(), json!({"on": "written"})), "written");
    let removed = tells("removed", with(source, json!({"on": "removed"})), "removed");
    // The bucket is not there yet.
    world.deploy(1, &[any, written, removed]).await;
    for key in ["in/a.jpg", "in/a.png", "out/a.jpg"] {
        world.put(&format!("images/{key}")).await;
        world.delete(&format!("images/{key}")).await;
    }
    let any = world.heard("any", 2).await;
    assert_eq!((&any[0]["key"], &any[0]["bytes"]), (&json!("in/a.jpg"), &json!(5)));
    assert_eq!(any[1], json!({"bucket": "images", "key": "in/a.jpg", "version": 2}));
    assert_eq!(world.heard("written", 1).await, any[..1]);
    assert_eq!(world.heard("removed", 1).await, any[1..]);
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_a_bucket_do_not_keep_it_from_being_removed_and_go_on_when_it_is_made_again() {
    let world = world().await;
    let event = json!({"objects": "images", "input": "$"});
    world
        .deploy(
            1,
            &[
                tells("one", event.clone(), "a"),
                with(json!({"name": "two", "flow": "order"}), json!({"objects": "images"})),
            ],
        )
        .await;
    let bucket = stride_ids::BucketName::new("images").unwrap();
    for _ in 0..2 {
        world.put("images/a").await;
        world.delete("images/a").await;
        world.objects.sweep_if_needed().await.unwrap();
        assert!(world.objects.remove_bucket(&crate::world::tenant(), &bucket).await.unwrap());
        world.clock.sleep(Duration::from_millis(5)).await;
    }
    let mut ids: Vec<_> = world.heard("a", 4).await.iter().map(|event| event["id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4, "versions begin anew, and the events are others all the same");
    // Four runs, and each was started once.
    world.until(async || world.counts("two").await.0 == 4).await;
    assert_eq!(
        world.engine.list(&crate::world::tenant(), &crate::world::name("flow"), None, 9).await.unwrap().len(),
        5
    );
    world.deploy(2, &[]).await;
    world.put("images/b").await;
    assert_eq!(world.heard("a", 4).await.len(), 4);
}
