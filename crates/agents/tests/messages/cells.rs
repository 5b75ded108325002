//! Cells that are lost, and agents that go into other cells.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cell_that_several_find_to_be_lost_at_the_same_time_is_given_up_once() {
    let world = World::new().await;
    for n in 0..16_000 {
        world.ask(&format!("t{n}"), "after", "3600000").await.unwrap();
    }
    assert_eq!(world.engine.stats().timers, 16_000);
    let (together, runtime) = (std::sync::Barrier::new(8), tokio::runtime::Handle::current());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _entered = runtime.enter();
                for cell in (0..8).map(CellId) {
                    together.wait();
                    world.engine.lose(cell);
                }
            });
        }
    });
    assert_eq!(world.engine.cells().len(), 0);
    // Were each of them to take its timers out of the count, it would be less than nothing.
    assert_eq!(world.engine.stats().timers, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_on_their_way_arrive_once_and_in_order_in_other_cells() {
    let expected: Vec<String> = (0..20).map(|n: u32| n.to_string()).collect();
    for into in [1, 3, 8, 64] {
        let world = World::new().await;
        let (near, far) = (agent("a").cell(8), agent("b").cell(8));
        assert_ne!(near, far);
        world.ask("a", "fan", "b").await.unwrap();
        // Sent and durable, but what takes them in is not.
        let world = world.resettled(into, &[far]).await;
        assert_eq!(world.engine.stats().leaving, 0, "they wait for their agent now");
        world.quiet().await;
        assert_eq!(world.all("b").await, expected.join(" "));
        // Taken in and handled: what the sender still has of them is not sent again.
        let world = world.resettled(8, &[]).await;
        world.quiet().await;
        assert_eq!(world.all("b").await, expected.join(" "));
        world.ask("a", "fan", "b").await.unwrap();
        world.quiet().await;
        assert_eq!(world.all("b").await, [expected.join(" "), expected.join(" ")].join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_tried_again_in_another_cell_asks_nothing_twice() {
    for into in [1, 3, 64] {
        let mut world = World::new().await;
        // Moving takes a minute of this clock: the turn fails here, there, and succeeds when it is back.
        let at = world.clock.timestamp() + 100_000;
        world.tell("a", "fail_twice", &at.to_string(), None).await.unwrap();
        for cells in [into, 8] {
            while world.engine.stats().failed == 0 {
                world.clock.sleep(Duration::from_millis(1)).await;
            }
            world = world.resettled(cells, &[]).await;
        }
        world.quiet().await;
        assert_eq!(
            (world.all("a").await, world.all("other").await),
            ("done".into(), "asked".into()),
            "in {into} cells"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn keys_timers_and_parked_messages_are_there_in_other_cells() {
    let world = World::new().await;
    let first = world.tell("a", "note", "x", Some("key")).await.unwrap();
    world.ask("timed", "after", "600000").await.unwrap();
    world.tell("bad", "fail", "", None).await.unwrap();
    while world.engine.stats().parked == 0 {
        world.clock.sleep(Duration::from_millis(10)).await;
    }
    let world = world.resettled(64, &[]).await;
    assert_eq!((world.engine.stats().parked, world.engine.stats().timers), (1, 1));
    let again = world.tell("a", "note", "x", Some("key")).await.unwrap();
    assert_eq!((again.replayed, again.message), (true, first.message));
    world.clock.sleep(Duration::from_secs(600)).await;
    world.quiet().await;
    assert_eq!((world.all("timed").await, world.all("a").await), ("once+0".into(), "x".into()));
    world.bodies.version.store(1, Ordering::Relaxed);
    world.engine.resume(&agent("bad")).await.unwrap();
    world.quiet().await;
    assert_eq!(world.all("bad").await, "never mended");
}

#[tokio::test(start_paused = true)]
async fn agents_that_are_close_to_something_share_its_cell_also_after_a_restart_and_in_other_cells() {
    let layout = Layout::from(8);
    let rule = "agent:room/{key.1}".parse().unwrap();
    layout.declare(&Name::default_tenant(), &[(Name::new("list").unwrap(), Some(rule))].into());
    let mut world = World::with(layout).await;
    for round in 0..3 {
        for (room, member) in (0..10).flat_map(|room| (0..3).map(move |member| (room, member))) {
            world.tell(&format!("{room}/{member}"), "pass", &format!("{room}/{}", member + 1), None).await.unwrap();
            world.ask(&format!("{room}/{member}"), "after", "1000").await.unwrap();
        }
        world.quiet().await;
        for room in 0..10 {
            let home = Address { kind: Name::new("room").unwrap(), ..agent(&room.to_string()) };
            for member in 1..3 {
                let key = format!("{room}/{member}");
                assert_eq!(world.engine.inspect(&agent(&key)).await.unwrap().cell, home.cell(world.layout.cells()));
                assert_eq!(world.all(&key).await.matches("passed").count(), round + 1, "{key}");
            }
        }
        let (tenant, kind) = (Name::default_tenant(), Name::new("list").unwrap());
        assert_eq!(world.engine.list(&tenant, &kind, None, 100).await.unwrap().len(), 40);
        world = match round {
            0 => world.restart_after(Duration::ZERO).await,
            _ => world.resettled(31, &[]).await,
        };
    }
    world.clock.sleep(Duration::from_secs(2)).await;
    world.quiet().await;
    assert!(world.all("3/1").await.contains("once+0"), "its timer came along");
}
