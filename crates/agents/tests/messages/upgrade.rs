//! New code.

use super::*;

#[tokio::test(start_paused = true)]
async fn new_code_takes_over_with_a_migration_and_code_that_cannot_is_refused() {
    let world = World::new().await;
    world.ask("a", "note", "x").await.unwrap();
    world.bodies.version.store(1, Ordering::Relaxed);
    // A method that only reads sees the migrated state and commits nothing, so the migration is still to be done.
    assert_eq!(world.all("a").await, "x (0->1)");
    assert_eq!(world.all("a").await, "x (0->1)");
    assert_eq!(world.engine.inspect(&agent("a")).await.unwrap().version.as_deref(), Some("0"));
    world.ask("a", "note", "y").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y");
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("a", "note", "z").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y z");
    let status = world.engine.inspect(&agent("a")).await.unwrap();
    assert_eq!((status.version.as_deref(), status.refused.as_deref()), (Some("1"), Some("2")));
    let refusal = world.engine.refusal(&Name::default_tenant(), &Name::new("list").unwrap(), "2").unwrap();
    assert_eq!((refusal.agents, refusal.cause.message.as_str()), (1, "version 2 cannot migrate"));
    // It is known, and counted once, however many turns follow and also after a restart.
    world.ask("a", "note", "w").await.unwrap();
    let world = world.restart_after(Duration::from_secs(1)).await;
    world.ask("a", "note", "v").await.unwrap();
    let refused = |world: &World| world.engine.refusal(&Name::default_tenant(), &Name::new("list").unwrap(), "2");
    assert_eq!(refused(&world), Some(refusal.clone()));
    assert_eq!(world.all("a").await, "x (0->1) y z w v");
    // An agent that is removed refuses nothing any more.
    world.bodies.version.store(1, Ordering::Relaxed);
    world.ask("b", "note", "x").await.unwrap();
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("b", "note", "y").await.unwrap();
    assert_eq!(refused(&world).unwrap().agents, 2);
    world.engine.remove(&agent("b")).await.unwrap();
    assert_eq!(refused(&world), Some(refusal));
    // A later version is tried again.
    world.bodies.version.store(3, Ordering::Relaxed);
    world.ask("a", "note", "!").await.unwrap();
    assert_eq!(world.all("a").await, "x (0->1) y z w v (1->3) !");
    assert_eq!(refused(&world), None);
    assert_eq!(world.engine.inspect(&agent("a")).await.unwrap().refused, None);
    // An agent that begins on a version has nothing to go back to, and nothing to migrate.
    world.bodies.version.store(2, Ordering::Relaxed);
    world.ask("new", "note", "x").await.unwrap();
    assert_eq!(world.all("new").await, "x");
}
