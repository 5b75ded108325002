//! What happens when, and how long it takes.

use std::time::Duration;

use stride_cluster::{Cells as _, Ended, Error, NodeSpec, Reads, Tables as _, memory::Link};
use stride_ids::{CellId, Code};
use stride_sim::Chance;

use crate::town::{CELLS, Town, ms, name};

async fn town(nodes: &[&str]) -> Town {
    let mut town = Town::new(Chance::seeded(7));
    for node in nodes {
        town.start(node).await;
    }
    town.until_settled().await;
    town
}

const ALL: usize = CELLS as usize;

#[tokio::test(start_paused = true)]
async fn nodes_that_join_share_the_cells_and_then_nothing_moves_any_more() {
    let mut town = town(&["a"]).await;
    assert_eq!(town.answers("a"), ALL);
    town.start("b").await;
    town.start("c").await;
    town.until_settled().await;
    let at_rest = town.places();
    town.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(town.places(), at_rest);
    let map = town.tables.look().map();
    for node in town.nodes.values() {
        assert!(node.beat.map().cells == map.cells, "everybody knows where they are");
        assert_eq!(*node.engine.lost.lock(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_cells_of_a_node_that_is_killed_are_answered_for_within_three_seconds() {
    let mut longest = Duration::ZERO;
    // Whoever reconciles may be the one.
    for victim in ["a", "b", "c"] {
        for phase in 0..6 {
            let mut town = town(&["a", "b", "c"]).await;
            town.clock.sleep(ms(53 * phase)).await;
            town.kill(victim);
            let took = town.until("all cells are answered for", |town| town.answered() == ALL).await;
            longest = longest.max(took);
            town.until_settled().await;
        }
    }
    eprintln!("at most {longest:?} until all cells of a killed node were answered for");
    assert!(longest < Duration::from_secs(3), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_answers_nothing_before_others_have_its_cells_and_has_its_share_again_when_it_is_back() {
    for link in [Link::Cut, Link::Refused] {
        let town = town(&["a", "b", "c"]).await;
        town.node("b").way.set(link);
        let silent = town.until("it has stopped to answer", |town| town.answers("b") == 0).await;
        assert!(silent <= ms(1_500), "{silent:?}");
        let others = town.until("the others answer for all", |town| town.answers("a") + town.answers("c") == ALL).await;
        eprintln!("{link:?}: silent after {silent:?}, taken over {others:?} later");
        // That nobody answered in between for what another had is what the checker is for.
        town.node("b").way.set(Link::Up);
        town.until_settled().await;
        assert!(*town.node("b").engine.lost.lock() > 0, "it has given up what it had before it came back");
    }
}

/// A connection that is dead in one direction is soon dead in both, but not at once.
#[tokio::test(start_paused = true)]
async fn a_node_whose_answers_are_lost_stops_to_answer_and_loses_nothing() {
    let town = town(&["a", "b"]).await;
    let before = town.places();
    town.node("b").way.set(Link::Deaf);
    town.until("it has stopped to answer", |town| town.answers("b") == 0).await;
    town.clock.sleep(Duration::from_secs(10)).await;
    town.node("b").way.set(Link::Up);
    town.until_settled().await;
    assert_eq!(town.places(), before, "it was heard all the time");
}

/// A takeover that began before a node was declared dead, and ends after it has come back, is of what others have by then.
#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_when_a_node_is_declared_dead_is_given_up_before_it_answers_again() {
    for seed in 0..12 {
        let mut town = Town::new(Chance::seeded(seed));
        town.start("a").await;
        town.until_settled().await;
        town.start("b").await;
        *town.node("b").engine.slow.lock() = Duration::from_secs(12);
        let taken = |town: &Town| {
            let map = town.tables.look().map();
            map.cells.iter().any(|place| place.owner == Some(name("b")))
        };
        town.until("b has taken a cell over", taken).await;
        town.node("b").way.set(Link::Cut);
        town.until("a answers for all", |town| town.answers("a") == ALL).await;
        town.node("b").way.set(Link::Up);
        town.until_settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_are_away_for_a_minute_change_nothing() {
    for link in [Link::Cut, Link::Refused] {
        let town = town(&["a", "b", "c"]).await;
        let before = town.places();
        town.nodes.values().for_each(|node| node.way.set(link));
        town.until("nobody answers", |town| town.answered() == 0).await;
        town.clock.sleep(Duration::from_secs(60)).await;
        town.nodes.values().for_each(|node| node.way.set(Link::Up));
        let took = town.until_settled().await;
        town.clock.sleep(Duration::from_secs(10)).await;
        assert_eq!(town.places(), before, "nothing has changed hands");
        assert!(town.tables.look().nodes.values().all(|node| !node.dead));
        eprintln!("{link:?}: all answered again {took:?} after the tables were back");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_are_slow_change_nothing() {
    let town = town(&["a", "b", "c"]).await;
    let before = town.places();
    town.nodes.values().for_each(|node| node.way.set(Link::Slow(ms(150))));
    for _ in 0..6_000 {
        assert_eq!(town.answered(), ALL);
        town.clock.sleep(ms(10)).await;
    }
    assert_eq!(town.places(), before);
}

#[tokio::test(start_paused = true)]
async fn who_drains_gives_all_to_the_others_and_leaves() {
    let mut town = town(&["a", "b", "c"]).await;
    let before = town.clock.now();
    town.node("b").beat.drain(Duration::from_secs(30)).await;
    eprintln!("drained in {:?}", town.clock.now() - before);
    assert_eq!(town.node("b").beat.ended().await, Ended::Left);
    assert!(!town.tables.look().nodes.contains_key(&name("b")));
    assert!(!town.node("b").beat.lease().is_valid(town.clock.now()));
    assert_eq!(*town.node("b").engine.lost.lock(), 0, "nothing was taken from it");
    town.kill("b");
    let took = town.until_settled().await;
    assert!(took < ms(500), "a beat and a takeover, because nobody was nudged: {took:?}");
    // And the last one leaves with nobody to give anything to.
    town.node("a").beat.drain(Duration::from_secs(30)).await;
    town.kill("a");
    town.until_settled().await;
    town.node("c").beat.drain(Duration::from_secs(30)).await;
    let world = town.tables.look();
    assert!(world.nodes.is_empty() && world.cells.iter().all(|cell| cell.holder.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_name_belongs_to_one_node_and_the_same_directory_has_it_at_once() {
    let mut town = town(&["a"]).await;
    let refused = town.try_start(town.spec("a", Some("copy")), 1000).await;
    assert!(matches!(&refused, Err(Error::NameInUse { peer, .. }) if peer == "a:1"), "{refused:?}");
    town.start("b").await;
    town.until_settled().await;

    // Killed and started again on another machine: it waits until nobody can think any more that the first one lives.
    town.kill("b");
    let began = town.clock.now();
    town.start("b").await;
    assert!(town.clock.now() - began > ms(900), "{:?}", town.clock.now() - began);
    town.until_settled().await;

    town.kill("b");
    town.try_start(town.spec("b", Some("here")), 1000).await.unwrap();
    town.until_settled().await;
    town.kill("b");
    let began = town.clock.now();
    town.try_start(town.spec("b", Some("here")), 1000).await.unwrap();
    assert_eq!(town.clock.now() - began, Duration::ZERO, "whoever had the lock on that directory has ended");
    town.until_settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_name_was_taken_ends_and_answers_nothing() {
    let mut town = town(&["a", "b"]).await;
    let old = town.nodes.remove(&name("b")).unwrap();
    old.way.set(Link::Cut);
    town.start("b").await;
    old.way.set(Link::Up);
    assert_eq!(old.beat.ended().await, Ended::Replaced);
    assert!(!old.beat.lease().is_valid(Duration::ZERO));
    assert!(stride_cluster::Cells::owned(&*old.engine).is_empty());
    town.until_settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_cell_goes_where_somebody_asks_for_it_and_stays_there_until_that_is_taken_back() {
    let town = town(&["a", "b", "c"]).await;
    let (way, pinned) = (town.tables.way(), [CellId(0), CellId(1), CellId(2), CellId(3)]);
    way.pin(&pinned, &name("b")).await.unwrap();
    let there = |town: &Town| {
        let map = town.tables.look().map();
        pinned.iter().all(|cell| map.place(*cell).unwrap().owner == Some(name("b")))
    };
    town.until("the cells are at b", there).await;
    way.pin(&(0..CELLS).map(CellId).collect::<Vec<_>>(), &name("c")).await.unwrap();
    town.until("all cells are at c", |town| town.answers("c") == ALL).await;
    way.unpin(&(0..CELLS).map(CellId).collect::<Vec<_>>()).await.unwrap();
    town.until_settled().await;
}

/// One node in each of these regions.
async fn regions(nodes: &[(&str, &str)]) -> Town {
    let mut town = Town::new(Chance::seeded(7));
    for (node, region) in nodes {
        let spec = NodeSpec { labels: [("region".to_owned(), (*region).to_owned())].into(), ..town.spec(node, None) };
        town.try_start(spec, 1000).await.unwrap();
    }
    town.until_settled().await;
    town
}

/// Also if nobody uses that data for long, its new owner is killed before it has said anything, or that region is away meanwhile.
#[tokio::test(start_paused = true)]
async fn a_cell_goes_where_its_agents_may_reach_their_data_and_stays_there_whoever_owns_it_then() {
    let mut town = regions(&[("a", "us"), ("b", "us"), ("x", "eu"), ("y", "eu")]).await;
    let owner = |town: &Town, cell| town.tables.look().map().owner(cell).map(|node| node.spec.clone());
    let is_in = move |cell, region: &'static str| {
        move |town: &Town| owner(town, cell).is_some_and(|spec| spec.labels["region"] == region)
    };
    let (cell, _) = town.node("a").engine.owned()[0];
    let before = town.places();
    let eu = [("region".to_owned(), "eu".to_owned())].into();
    town.node("a").engine.labels.lock().insert(cell, eu);
    let took = town.until("it is where its data may be", is_in(cell, "eu")).await;
    assert!(took < Duration::from_secs(22), "two rounds, and a move: {took:?}");
    let there = town.places();
    let moved = before.iter().zip(&there).filter(|(before, there)| before != there);
    assert_eq!(moved.count(), 1, "nothing else has moved");
    town.clock.sleep(Duration::from_secs(120)).await;
    assert_eq!(town.places(), there);

    let first = owner(&town, cell).unwrap().name.to_string();
    let other = if first == "x" { "y" } else { "x" };
    town.kill(&first);
    town.until("the other one there has it", |town| {
        owner(town, cell).is_some_and(|spec| spec.name.to_string() == other)
    })
    .await;
    town.kill(other);
    town.until("somebody has it", is_in(cell, "us")).await;
    let spec = NodeSpec { labels: [("region".to_owned(), "eu".to_owned())].into(), ..town.spec("z", None) };
    town.try_start(spec, 1000).await.unwrap();
    town.until("it is where its data may be again", is_in(cell, "eu")).await;
}

#[tokio::test(start_paused = true)]
async fn a_nudge_makes_it_look_at_once() {
    let town = town(&["a", "b"]).await;
    let way = town.tables.way();
    let cell = CellId(
        (0..CELLS)
            .find(|cell| town.tables.look().map().place(CellId(*cell)).unwrap().owner == Some(name("a")))
            .unwrap(),
    );
    way.pin(&[cell], &name("b")).await.unwrap();
    *town.node("a").engine.slow.lock() = Duration::ZERO;
    *town.node("b").engine.slow.lock() = Duration::ZERO;
    let mut watch = town.node("b").beat.watch();
    let nudged = async {
        loop {
            town.nodes.values().for_each(|node| node.beat.look_now());
            watch.changed().await.unwrap();
            if watch.borrow().place(cell).unwrap().owner == Some(name("b")) {
                return;
            }
        }
    };
    let began = town.clock.now();
    town.clock.timeout(Duration::from_secs(5), nudged).await.unwrap();
    assert!(town.clock.now() - began < ms(300), "{:?}", town.clock.now() - began);
}

/// What a clock that is far too slow does to a node that is cut off: by its lease it would answer for what others have, and by the
/// word of the database it does not.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_too_slow_makes_leased_reads_stale_and_strict_ones_not() {
    let mut stale = 0;
    for seed in 0..20 {
        let mut town = Town::without_checker(Chance::seeded(seed));
        town.start("a").await;
        // Half as fast as the database's: the lease allows for a fifth.
        town.try_start(town.spec("b", None), 500).await.unwrap();
        town.until_settled().await;
        let held = town.node("b").engine.owned();
        town.node("b").way.set(Link::Cut);
        town.until("a answers for all", |town| town.answers("a") == ALL).await;
        town.node("b").way.set(Link::Up);
        for (cell, epoch) in held {
            stale += usize::from(town.reads("b", Reads::Leased).confirm(cell, epoch).await.is_ok());
            let strict = town.reads("b", Reads::Strict).confirm(cell, epoch).await;
            assert_eq!(strict.unwrap_err().code, Code::Unavailable, "seed {seed}: a stale read");
        }
        town.until_settled().await;
        for (cell, epoch) in town.node("b").engine.owned() {
            town.reads("b", Reads::Strict).confirm(cell, epoch).await.unwrap();
        }
    }
    assert!(stale > 0, "the clock was not too slow for a lease, so this shows nothing");
}

#[tokio::test(start_paused = true)]
async fn strict_reads_that_come_together_share_a_question_and_each_gets_its_own_answer() {
    let town = town(&["a", "b"]).await;
    town.node("a").way.set(Link::Slow(ms(10)));
    let reads = town.reads("a", Reads::Strict);
    let (mine, theirs) = (town.node("a").engine.owned(), town.node("b").engine.owned());
    let began = town.clock.now();
    let all = mine.iter().map(|read| (read, true)).chain(theirs.iter().map(|read| (read, false)));
    let answers = all.map(async |((cell, epoch), ours)| (reads.confirm(*cell, *epoch).await.is_ok(), ours));
    for (answered, ours) in futures::future::join_all(answers).await {
        assert_eq!(answered, ours);
    }
    let took = town.clock.now() - began;
    assert!(took <= ms(25), "{ALL} reads in two questions at most, and they took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn strict_reads_are_refused_while_the_database_is_away() {
    let town = town(&["a"]).await;
    let (cell, epoch) = town.node("a").engine.owned()[0];
    town.node("a").way.set(Link::Refused);
    let refused = town.reads("a", Reads::Strict).confirm(cell, epoch).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    town.reads("a", Reads::Leased).confirm(cell, epoch).await.unwrap();
}
