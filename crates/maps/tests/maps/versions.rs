//! One map, one version: whatever is deployed while it runs.

use serde_json::{Value, json};
use stride_ids::Code;
use stride_maps::State;

use crate::world::{World, is_done, tenant, world};

const ITEMS: u64 = 20;

async fn with_objects(world: &World) {
    for n in 0..ITEMS {
        world.put(&format!("data/in/{n:02}"), n.to_string()).await;
    }
    world.functions.slow.lock().push("3".to_owned());
}

fn versions(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["result"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_deployment_in_the_midst_of_a_map_changes_nothing_for_it() {
    let world = world().await;
    with_objects(&world).await;
    let id = world.begin(json!({"function": "f/version", "over": "data/in/", "reduce": "f/version"})).await;
    assert_eq!(world.status(&id).await.version.as_deref(), Some("v1"));
    world.wait_for(&id, ITEMS - 1).await;
    *world.functions.version.lock() = "v2";
    world.functions.let_go.send_replace(true);
    // The reduction as well, which begins after the deployment.
    assert_eq!(versions(&world.results(&id).await), ["v1"; ITEMS as usize + 1]);
    let (lines, status) = world.run(json!({"function": "f/version", "over": "data/in/"})).await;
    assert_eq!((versions(&lines), status.version.as_deref()), (vec!["v2"; ITEMS as usize], Some("v2")));
}

#[test]
fn a_map_goes_on_after_a_restart_in_its_version_and_fails_if_that_is_gone() {
    let life = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for is_gone in [false, true] {
        let first = life();
        let (world, id) = first.block_on(async {
            let world = world().await;
            with_objects(&world).await;
            let id = world.begin(json!({"function": "f/version", "over": "data/in/"})).await;
            world.wait_for(&id, ITEMS - 1).await;
            (world, id)
        });
        drop(first);
        life().block_on(async {
            let world = world.restarted().await;
            *world.functions.version.lock() = "v2";
            *world.functions.gone.lock() = is_gone.then_some("v1");
            world.maps.take_up([tenant()]).await.unwrap();
            let lines = world.results(&id).await;
            let status = world.status(&id).await;
            if is_gone {
                let State::Failed(cause) = &status.state else { panic!("{status:?}") };
                assert!(cause.code == Code::NotFound && cause.message.contains("v1"), "{cause}");
                assert_eq!(status.done, ITEMS - 1);
            } else {
                assert_eq!(versions(&lines), ["v1"; ITEMS as usize]);
                assert!(is_done(&status), "{status:?}");
            }
        });
    }
}
