//! Cells whose agents' data demands labels.

use super::*;

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn region(value: &str) -> Labels {
    labels(&[("region", value)])
}

/// Nodes with four cores each in these regions, and cells that are spread over them.
fn regions(values: &[&str], cells: usize) -> World {
    let mut world = world(&vec![4; values.len()], &vec![0; cells]);
    for (nth, value) in values.iter().enumerate() {
        world.nodes.get_mut(&node(nth)).unwrap().spec.labels = region(value).into_iter().collect();
    }
    settle(&mut world);
    world
}

fn home(world: &World, cell: usize) -> NodeName {
    world.cells[cell].wanted.clone().unwrap().node
}

fn cells_of(world: &World, nth: usize) -> Vec<usize> {
    (0..world.cells.len()).filter(|cell| home(world, *cell) == node(nth)).collect()
}

fn demand(world: &mut World, cells: &[usize], labels: &Labels) {
    cells.iter().for_each(|cell| world.cells[*cell].labels = labels.clone());
}

#[test]
fn a_cell_goes_to_a_node_that_carries_what_it_demands_and_nothing_else_moves() {
    let mut world = regions(&["eu", "us", "us"], 48);
    let (there, astray) = (cells_of(&world, 0)[3], cells_of(&world, 2)[5]);
    demand(&mut world, &[there, astray], &region("eu"));
    let change = Change { cell: CellId(u16::try_from(astray).unwrap()), to: node(0), why: Why::Labels(node(2)) };
    assert_eq!(assign(&world, 16), [change], "though all nodes have the same");
    assert_eq!(assign(&world, 0), [], "it counts as a move");
    settle(&mut world);
    assert_eq!(counts(&world), [17, 16, 15]);
    demand(&mut world, &[there, astray], &Labels::new());
    assert_eq!(assign(&world, usize::MAX), [], "who demands nothing any more stays");
}

#[test]
fn a_cell_that_nobody_has_is_given_at_once_to_a_node_that_carries_what_it_demands() {
    let mut world = regions(&["eu", "us"], 16);
    world.cells.iter_mut().for_each(|row| (row.wanted, row.labels) = (None, region("us")));
    assert!(assign(&world, 0).iter().all(|change| change.to == node(1) && change.why == Why::Unassigned));
    settle(&mut world);
    assert_eq!(counts(&world), [0, 16]);
}

#[test]
fn what_no_node_carries_keeps_a_cell_from_nowhere_and_does_not_undo_the_rest() {
    let mut world = regions(&["eu", "us"], 16);
    demand(&mut world, &(0..8).collect::<Vec<_>>(), &region("mars"));
    assert_eq!(assign(&world, usize::MAX), []);
    join(&mut world, 2, 4);
    settle(&mut world);
    assert_eq!(counts(&world), [6, 5, 5], "it is spread as the others are");
    let astray = cells_of(&world, 2)[0];
    demand(&mut world, &[astray], &labels(&[("region", "eu"), ("region", "mars"), ("disk", "gold")]));
    settle(&mut world);
    assert_eq!(home(&world, astray), node(0), "the most that there is");
}

#[test]
fn a_cell_whose_agents_need_what_no_node_has_together_stays_where_some_of_them_are_served() {
    let mut world = regions(&["eu", "us", "asia"], 48);
    let some: Vec<usize> = (0..3).map(|nth| cells_of(&world, nth)[0]).collect();
    demand(&mut world, &some, &labels(&[("region", "eu"), ("region", "us")]));
    let changes = assign(&world, usize::MAX);
    assert_eq!(changes.iter().map(|change| usize::from(change.cell.0)).collect::<Vec<_>>(), some[2..]);
    settle(&mut world);
}

#[test]
fn a_cell_is_elsewhere_while_no_node_that_carries_its_labels_is_there_and_goes_back_when_one_is() {
    for drains in [true, false] {
        let mut world = regions(&["eu", "us"], 16);
        demand(&mut world, &[0, 1, 2], &region("eu"));
        settle(&mut world);
        let away = |world: &mut World, is| {
            let row = world.nodes.get_mut(&node(0)).unwrap();
            if drains { row.draining = is } else { row.dead = is }
        };
        away(&mut world, true);
        settle(&mut world);
        assert_eq!(counts(&world), [0, 16]);
        away(&mut world, false);
        settle(&mut world);
        assert!((0..3).all(|cell| home(&world, cell) == node(0)) && counts(&world) == [8, 8]);
    }
}

#[test]
fn a_pin_counts_for_more_than_labels() {
    let mut world = regions(&["eu", "us"], 16);
    let astray = cells_of(&world, 1)[0];
    world.cells[astray].pin = Some(node(1));
    demand(&mut world, &[astray], &region("eu"));
    assert_eq!(assign(&world, usize::MAX), []);
    world.cells[astray].pin = None;
    settle(&mut world);
    assert_eq!(home(&world, astray), node(0));
}

#[test]
fn cells_that_demand_the_same_are_evened_out_among_the_nodes_that_carry_it_and_so_are_the_others() {
    let mut world = regions(&["eu", "eu", "us", "us"], 64);
    let all: Vec<usize> = (0..64).collect();
    demand(&mut world, &all[..20], &region("eu"));
    settle(&mut world);
    assert_eq!(counts(&world), [16; 4], "others make room");
    demand(&mut world, &all[..40], &region("eu"));
    settle(&mut world);
    assert_eq!(counts(&world), [20, 20, 12, 12]);
    join(&mut world, 4, 4);
    world.nodes.get_mut(&node(4)).unwrap().spec.labels = region("eu").into_iter().collect();
    settle(&mut world);
    assert!(counts(&world).iter().all(|count| (12..=14).contains(count)), "{:?}", counts(&world));
}

#[test]
fn a_round_brings_no_more_cells_to_their_labels_than_it_may_and_those_that_follow_do_the_rest() {
    let mut world = regions(&["eu", "us"], 80);
    demand(&mut world, &(0..80).collect::<Vec<_>>(), &region("eu"));
    join(&mut world, 2, 4);
    world.nodes.get_mut(&node(2)).unwrap().spec.labels = region("eu").into_iter().collect();
    let mut rounds = Vec::new();
    loop {
        let changes = assign(&world, 16);
        if apply(&mut world, &changes) == 0 {
            break;
        }
        rounds.push((changes.len(), changes.iter().filter(|change| change.why == Why::Labels(node(1))).count()));
    }
    assert_eq!(rounds, [(16, 16), (16, 16), (8, 8)], "none is moved twice, and nothing else before they are there");
    assert_eq!(counts(&world), [40, 0, 40]);

    // Two who would have to give some to a third, and one of theirs that is astray.
    let mut world = regions(&["eu", "us"], 80);
    let astray = cells_of(&world, 1)[0];
    demand(&mut world, &[astray], &region("eu"));
    join(&mut world, 2, 4);
    let changes = assign(&world, 16);
    assert_eq!(changes.len(), 16);
    assert!(changes.iter().any(|change| usize::from(change.cell.0) == astray && change.why == Why::Labels(node(1))));
}

/// A region that has more than its share for good is no reason to move anything elsewhere.
#[test]
fn beside_a_full_region_a_steady_load_and_its_noise_move_nothing() {
    let mut world = regions(&["eu", "us", "us"], 900);
    demand(&mut world, &(0..600).collect::<Vec<_>>(), &region("eu"));
    world.cells.iter_mut().for_each(|row| row.busy = 30);
    settle(&mut world);
    assert_eq!(counts(&world), [600, 150, 150]);
    let chance = stride_sim::Chance::seeded(5);
    for _ in 0..100 {
        world.cells.iter_mut().for_each(|row| row.busy = 22 + chance.below(17) as u32);
        assert_eq!(assign(&world, usize::MAX), []);
    }
}
