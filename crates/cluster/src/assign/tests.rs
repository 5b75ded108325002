//! What the assignment promises, on worlds at random and on large ones.

use proptest::prelude::*;
use stride_ids::{Epoch, Incarnation, Name};
use stride_sim::Clock;

use super::*;
use crate::{
    Labels,
    memory::samples::{name, spec},
    node::NodeRow,
    standing::standings,
    tables::Wanted,
};

mod labels;

/// Nodes with so many cores each, and cells with so many bytes each.
fn world(cores: &[u32], bytes: &[u64]) -> World {
    let mut world = World::default();
    for (nth, cores) in cores.iter().enumerate() {
        join(&mut world, nth, *cores);
    }
    world.cells = bytes.iter().map(|bytes| CellRow { bytes: *bytes, ..CellRow::default() }).collect();
    world
}

fn node(nth: usize) -> NodeName {
    NodeName(Name::new(&format!("n{nth:05}")).unwrap())
}

fn join(world: &mut World, nth: usize, cores: u32) {
    let mut spec = spec("n", Incarnation::of_bits(nth as u64 + 1));
    (spec.name, spec.cores) = (node(nth), cores);
    let row = NodeRow {
        spec,
        silent: std::time::Duration::ZERO,
        dead: false,
        draining: false,
        cells: 0,
        agents: 0,
        queue: 0,
        bytes: 0,
        deployed: 0,
    };
    world.nodes.insert(node(nth), row);
}

/// Takes what was decided, and says how many cells are to be moved.
fn apply(world: &mut World, changes: &[Change]) -> usize {
    for Change { cell, to, why } in changes {
        world.cells[usize::from(cell.0)].wanted = Some(Wanted { node: to.clone(), why: why.to_string() });
    }
    changes.len()
}

fn settle(world: &mut World) -> usize {
    let changes = assign(world, usize::MAX);
    let moved = apply(world, &changes);
    assert_eq!(assign(world, usize::MAX), [], "it has come to rest after one pass");
    moved
}

fn count(world: &World, nth: usize) -> usize {
    let name = node(nth);
    world.cells.iter().filter(|row| row.wanted.as_ref().is_some_and(|wanted| wanted.node == name)).count()
}

fn counts(world: &World) -> Vec<usize> {
    (0..world.nodes.len()).map(|nth| count(world, nth)).collect()
}

#[test]
fn cells_are_spread_by_cores() {
    let mut world = world(&[4, 4, 8], &[0; 64]);
    assert_eq!(settle(&mut world), 64);
    assert_eq!(counts(&world), [16, 16, 32]);
}

#[test]
fn what_a_node_owns_already_stays_there() {
    let mut world = world(&[4, 4], &[0; 8]);
    for (nth, row) in world.cells.iter_mut().enumerate() {
        (row.epoch, row.holder) = (Epoch(1), Some(Incarnation::of_bits(nth as u64 % 2 + 1)));
    }
    assert!(assign(&world, usize::MAX).iter().all(|change| change.why == Why::Owned));
    settle(&mut world);
    assert!((0..8).all(|cell| world.cells[cell].wanted.as_ref().unwrap().node == node(cell % 2)));
}

#[test]
fn who_joins_gets_its_share_and_nothing_else_moves() {
    let mut world = world(&[4; 10], &[0; 340]);
    settle(&mut world);
    join(&mut world, 10, 4);
    assert_eq!(settle(&mut world), 30, "an eleventh of 340, rounded down");
    assert!(counts(&world).iter().all(|count| (30..=31).contains(count)), "{:?}", counts(&world));
}

#[test]
fn who_leaves_drains_or_dies_loses_all_and_nothing_else_moves() {
    for change in 0..3 {
        let mut world = world(&[4; 5], &[0; 64]);
        settle(&mut world);
        let had = count(&world, 2);
        match change {
            0 => drop(world.nodes.remove(&node(2))),
            1 => world.nodes.get_mut(&node(2)).unwrap().draining = true,
            _ => world.nodes.get_mut(&node(2)).unwrap().dead = true,
        }
        let changes = assign(&world, usize::MAX);
        let drains = change == 1;
        assert!(changes.iter().all(|change| matches!(change.why, Why::Draining(_)) == drains), "{changes:?}");
        assert_eq!(settle(&mut world), had);
        assert_eq!(count(&world, 2), 0);
    }
}

#[test]
fn a_pin_is_kept_while_its_node_is_there_and_again_when_it_is_back() {
    let mut world = world(&[4, 4], &[0; 8]);
    settle(&mut world);
    for row in &mut world.cells[..7] {
        row.pin = Some(node(1));
    }
    settle(&mut world);
    assert!((0..7).all(|cell| world.cells[cell].wanted.as_ref().unwrap().node == node(1)), "however uneven it is");
    world.nodes.get_mut(&node(1)).unwrap().draining = true;
    settle(&mut world);
    assert_eq!(counts(&world), [8, 0]);
    world.nodes.get_mut(&node(1)).unwrap().draining = false;
    settle(&mut world);
    assert_eq!(counts(&world), [1, 7]);
    for row in &mut world.cells {
        row.pin = Some(name("nowhere"));
    }
    settle(&mut world);
    assert_eq!(counts(&world), [4, 4], "until a node is there, its cells go where they are needed");
}

#[test]
fn large_cells_count_for_more() {
    let mut bytes = vec![1 << 20; 16];
    bytes[..4].fill(1 << 30);
    let mut world = world(&[4; 4], &bytes);
    settle(&mut world);
    for nth in 0..4 {
        let large = world.cells[..4].iter().filter(|row| row.wanted.as_ref().unwrap().node == node(nth)).count();
        assert_eq!(large, 1, "each node has one of the four large ones");
    }
}

#[test]
fn small_changes_move_nothing() {
    let mut world = world(&[4; 3], &[1 << 20; 48]);
    settle(&mut world);
    for (nth, row) in world.cells.iter_mut().enumerate() {
        row.bytes += (nth as u64 % 7) << 20;
    }
    assert_eq!(assign(&world, usize::MAX), []);
    for row in &mut world.cells[..24] {
        row.bytes = 0;
    }
    assert_eq!(assign(&world, usize::MAX), [], "sizes that are not known");
}

/// How many of a node's cells are other ones than before.
fn left(before: &World, after: &World, nth: usize) -> usize {
    let has =
        |world: &World, cell: usize| world.cells[cell].wanted.as_ref().is_some_and(|wanted| wanted.node == node(nth));
    (0..before.cells.len()).filter(|cell| has(before, *cell) && !has(after, *cell)).count()
}

#[test]
fn the_neighbours_of_a_busy_cell_move_away_and_it_stays() {
    let mut world = world(&[4; 3], &[0; 48]);
    world.cells.iter_mut().for_each(|row| row.busy = 50);
    settle(&mut world);
    let home = world.cells[0].wanted.clone().unwrap().node;
    let nth = (0..3).find(|nth| node(*nth) == home).unwrap();
    // It keeps three of its node's four cores busy.
    world.cells[0].busy = 3_000;
    let before = world.clone();
    assert!(settle(&mut world) > 0);
    assert_eq!(world.cells[0].wanted.as_ref().unwrap().node, home);
    assert!(left(&before, &world, nth) >= 6, "{:?}", counts(&world));
    assert!((0..3).all(|other| other == nth || left(&before, &world, other) == 0), "only the busy one gives");
    world.cells[0].busy = 50;
    settle(&mut world);
    assert_eq!(counts(&world), [16; 3], "and they come back when it is not busy any more");
}

#[test]
fn work_counts_the_less_the_more_room_there_is_for_it() {
    let mut idle = world(&[16; 3], &[0; 48]);
    settle(&mut idle);
    idle.cells[0].busy = 900;
    assert_eq!(assign(&idle, usize::MAX), [], "not one of 48 cores");
}

#[test]
fn a_steady_load_moves_nothing_however_it_is_spread_and_neither_does_its_noise() {
    let mut world = world(&[4; 3], &[0; 1_024]);
    for (nth, row) in world.cells.iter_mut().enumerate() {
        row.busy = [0, 2, 9, 31][nth % 4];
    }
    settle(&mut world);
    let before = world.clone();
    let chance = stride_sim::Chance::seeded(5);
    for _ in 0..100 {
        for (row, was) in world.cells.iter_mut().zip(&before.cells) {
            row.busy = was.busy * (80 + chance.below(41) as u32) / 100;
        }
        assert_eq!(assign(&world, usize::MAX), []);
    }
}

#[test]
fn a_round_moves_no_more_than_it_may_and_those_that_follow_do_the_rest() {
    let mut world = world(&[4; 3], &[0; 300]);
    settle(&mut world);
    let first = |row: &&mut CellRow| row.wanted.as_ref().is_some_and(|wanted| wanted.node == node(0));
    world.cells.iter_mut().filter(first).for_each(|row| row.busy = 40);
    let mut rounds = Vec::new();
    loop {
        let moved = assign(&world, 16);
        if moved.is_empty() {
            break;
        }
        rounds.push(apply(&mut world, &moved));
    }
    assert!(rounds.len() > 1 && rounds.iter().all(|moved| *moved <= 16), "{rounds:?}");
    assert_eq!(assign(&world, usize::MAX), [], "together they come to the same rest");
    world.nodes.get_mut(&node(0)).unwrap().dead = true;
    let had = count(&world, 0);
    assert_eq!(assign(&world, 0).len(), had, "cells that nobody has are not counted");
}

#[test]
fn without_a_node_nothing_is_decided() {
    assert_eq!(assign(&world(&[], &[0; 4]), usize::MAX), []);
    let mut draining = world(&[4], &[0; 4]);
    draining.nodes.get_mut(&node(0)).unwrap().draining = true;
    assert_eq!(assign(&draining, usize::MAX), []);
}

/// What one node could decide for a cluster far larger than one database would carry.
#[test]
fn ten_thousand_nodes_are_assigned_in_a_moment() {
    let clock = Clock::real();
    for (nodes, cells) in [(10, 1_024), (10_000, 1_024), (10_000, 65_000)] {
        let cores: Vec<u32> = (0..nodes).map(|nth| 4 << (nth % 3)).collect();
        let mut world = world(&cores, &vec![1 << 20; cells]);
        let region = |nth: usize| labels::labels(&[("region", ["eu", "us", "asia"][nth % 3])]);
        world.nodes.values_mut().enumerate().for_each(|(nth, row)| row.spec.labels = region(nth).into_iter().collect());
        world.cells.iter_mut().enumerate().for_each(|(nth, row)| row.labels = region(nth / 2));
        let timed = |world: &mut World| {
            let began = clock.now();
            let changes = assign(world, usize::MAX);
            (apply(world, &changes), clock.now() - began)
        };
        let (first, all) = (timed(&mut world), timed(&mut world));
        world.nodes.get_mut(&node(3)).unwrap().dead = true;
        let death = timed(&mut world);
        eprintln!("{nodes} nodes, {cells} cells: first {first:?}, nothing to do {all:?}, a node died {death:?}");
        assert_eq!((first.0, all.0), (cells, 0));
        assert!(first.1.as_secs() < 20 && death.1.as_secs() < 20);
    }
}

#[derive(Clone, Debug)]
enum Event {
    Join(u32, u8),
    Die(usize),
    Drain(usize),
    Leave(usize),
    Return(usize),
    Grow(usize, u64),
    Work(usize, u32),
    Pin(usize, usize),
    Unpin(usize),
    Demand(usize, u8),
}

/// Some labels, also ones that contradict others or that nobody carries.
fn some_labels(which: u8) -> Labels {
    let all = [("region", "eu"), ("region", "us"), ("disk", "gold"), ("disk", "none")];
    let chosen = all.iter().enumerate().filter(|(bit, _)| which & (1 << bit) != 0);
    labels::labels(&chosen.map(|(_, pair)| *pair).collect::<Vec<_>>())
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..64u32, 0..8u8).prop_map(|(cores, labels)| Event::Join(cores, labels)),
        (0..12usize).prop_map(Event::Die),
        (0..12usize).prop_map(Event::Drain),
        (0..12usize).prop_map(Event::Leave),
        (0..12usize).prop_map(Event::Return),
        (0..64usize, 0..1u64 << 32).prop_map(|(cell, bytes)| Event::Grow(cell, bytes)),
        (0..64usize, 0..40_000u32).prop_map(|(cell, busy)| Event::Work(cell, busy)),
        (0..64usize, 0..12usize).prop_map(|(cell, node)| Event::Pin(cell, node)),
        (0..64usize).prop_map(Event::Unpin),
        (0..64usize, 0..16u8).prop_map(|(cell, labels)| Event::Demand(cell, labels)),
    ];
    prop::collection::vec(event, 1..24)
}

fn happen(world: &mut World, event: &Event) {
    let nodes = world.nodes.len().max(1);
    let mut with = |nth: usize, change: &dyn Fn(&mut NodeRow)| {
        if let Some(row) = world.nodes.values_mut().nth(nth % nodes) {
            change(row);
        }
    };
    match event {
        Event::Join(cores, labels) => {
            let nth =
                world.nodes.keys().next_back().map_or(0, |last| last.0.as_str()[1..].parse::<usize>().unwrap() + 1);
            join(world, nth, *cores);
            world.nodes.get_mut(&node(nth)).unwrap().spec.labels = some_labels(*labels).into_iter().collect();
        }
        Event::Die(nth) => with(*nth, &|row| row.dead = true),
        Event::Drain(nth) => with(*nth, &|row| row.draining = true),
        Event::Return(nth) => with(*nth, &|row| (row.dead, row.draining) = (false, false)),
        Event::Leave(nth) => {
            if let Some(name) = world.nodes.keys().nth(nth % nodes).cloned() {
                world.nodes.remove(&name);
            }
        }
        Event::Grow(cell, bytes) => world.cells[*cell].bytes = *bytes,
        Event::Work(cell, busy) => world.cells[*cell].busy = *busy,
        Event::Pin(cell, nth) => world.cells[*cell].pin = Some(node(*nth)),
        Event::Unpin(cell) => world.cells[*cell].pin = None,
        Event::Demand(cell, labels) => world.cells[*cell].labels = some_labels(*labels),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_happens_everything_is_owned_by_somebody_who_may_where_its_labels_are_and_it_comes_to_rest(events in events()) {
        let mut world = world(&[4, 8], &[1 << 20; 64]);
        for event in &events {
            happen(&mut world, event);
            let changes = assign(&world, usize::MAX);
            prop_assert_eq!(&changes, &assign(&world, usize::MAX), "the same world, the same answer");
            apply(&mut world, &changes);
            prop_assert_eq!(assign(&world, usize::MAX), vec![], "after {:?}", event);
            let open: BTreeMap<_, _> =
                world.nodes.values().filter(|node| node.is_open()).map(|node| (&node.spec.name, &node.spec)).collect();
            for row in world.cells.iter().filter(|_| !open.is_empty()) {
                let wanted = &row.wanted.as_ref().unwrap().node;
                prop_assert!(open.contains_key(wanted), "{wanted} is not open");
                let lacking = |spec: &&NodeSpec| spec.lacks(&row.labels).count();
                match row.pin.as_ref().filter(|pin| open.contains_key(pin)) {
                    Some(pin) => prop_assert_eq!(pin, wanted),
                    None => prop_assert_eq!(Some(lacking(&open[wanted])), open.values().map(lacking).min()),
                }
            }
        }
    }

    #[test]
    fn a_join_and_a_death_move_little_more_than_they_have_to(
        cores in prop::collection::vec(1..64u32, 2..12),
        joins in 1..64u32,
        cells in 64..512usize,
    ) {
        let mut world = world(&cores, &vec![1 << 20; cells]);
        settle(&mut world);
        let nth = cores.len();
        join(&mut world, nth, joins);
        let total: u32 = cores.iter().sum::<u32>() + joins;
        let share = cells * joins as usize / total as usize;
        let moved = settle(&mut world);
        prop_assert!(moved <= share + cores.len() + 1, "{} moved for a share of {}", moved, share);
        world.nodes.get_mut(&node(nth)).unwrap().dead = true;
        let had = count(&world, nth);
        let moved = settle(&mut world);
        prop_assert!(moved >= had && moved <= had + cores.len(), "{} moved of {}", moved, had);
    }
}

#[test]
fn each_node_stands_where_its_cells_put_it() {
    let mut world = world(&[4, 8], &[0; 30]);
    settle(&mut world);
    let before = standings(&world);
    assert_eq!(before.iter().map(|one| (one.cells, one.fill)).collect::<Vec<_>>(), [(10, Some(1.0)), (20, Some(1.0))]);
    let first = world.cells.iter().position(|row| row.wanted.as_ref().is_some_and(|wanted| wanted.node == node(0)));
    world.cells[first.unwrap()].bytes = 8 << 30;
    let grown = standings(&world);
    assert_eq!((grown[0].bytes, grown[1].bytes), (8 << 30, 0));
    assert!(grown[0].fill > Some(1.4) && grown[1].fill < Some(0.9), "{grown:?}");
    settle(&mut world);
    let settled = standings(&world);
    assert!(settled.iter().all(|one| one.fill.is_some_and(|fill| (0.9..=1.1).contains(&fill))), "{settled:?}");
    assert!(settled[0].cells < 10, "those around the large cell have gone elsewhere: {settled:?}");
    world.nodes.get_mut(&node(0)).unwrap().draining = true;
    assert_eq!((standings(&world)[0].is_open, standings(&world)[0].fill), (false, None));
}
