//! What a node has to do so that the world becomes as it is wanted. Pure, and the same every time: what was done in the meantime
//! is refused by the epochs that go with it.

use std::collections::{BTreeMap, BTreeSet};

use stride_ids::{CellId, DatabaseId, Epoch, Incarnation};

use crate::{NodeName, World};

/// What to do with which cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// To take over, at the epoch at which nobody who lives has them.
    pub(crate) acquire: Vec<(CellId, Epoch)>,
    /// To give up, and who is to have them then.
    pub(crate) release: Vec<(CellId, Option<NodeName>)>,
    /// To bring to another database, and to keep.
    pub(crate) rehome: Vec<(CellId, DatabaseId)>,
    /// Somebody else has them.
    pub(crate) lose: Vec<CellId>,
}

/// Compares the tables with what the engine owns. `busy` cells are being acquired or released already.
pub(crate) fn steps(
    world: &World,
    me: Incarnation,
    owned: &[(CellId, Epoch)],
    busy: &BTreeSet<CellId>,
    draining: bool,
) -> Steps {
    let owned: BTreeMap<CellId, Epoch> = owned.iter().copied().collect();
    let living: BTreeMap<Incarnation, &NodeName> =
        world.nodes.values().filter(|node| !node.dead).map(|node| (node.spec.incarnation, &node.spec.name)).collect();
    let my_name = living.get(&me).copied();
    let others = world.nodes.values().any(|node| node.is_open() && node.spec.incarnation != me);
    let mut steps = Steps::default();
    for (cell, row) in (0u16..).map(CellId).zip(&world.cells) {
        let wanted = row.wanted.as_ref().map(|wanted| &wanted.node);
        let wanted_here = wanted.is_some() && wanted == my_name;
        match owned.get(&cell) {
            Some(epoch) if row.epoch > *epoch => steps.lose.push(cell),
            _ if busy.contains(&cell) => {}
            Some(_) if draining && !others => steps.release.push((cell, None)),
            Some(_) if !wanted_here => {
                // Whoever is to have it has to be there, or nobody would answer for it.
                let next = wanted.and_then(|name| world.nodes.get(name)).filter(|node| node.is_open());
                if let Some(next) = next {
                    steps.release.push((cell, Some(next.spec.name.clone())));
                }
            }
            // Who drains gives it to somebody who does that.
            Some(_) => {
                let to = row.moves_to.filter(|to| *to != row.database && !draining);
                steps.rehome.extend(to.map(|to| (cell, to)));
            }
            None => {
                let holder = row.holder.filter(|holder| living.contains_key(holder));
                // What the tables say is ours and the engine does not have, nobody else would take.
                let ours = holder == Some(me) && !draining;
                if ours || (holder.is_none() && wanted_here && !draining) {
                    steps.acquire.push((cell, row.epoch));
                }
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::samples::{me, other, world},
        tables::Wanted,
    };

    const CELL: CellId = CellId(0);

    fn with(holder: Option<Incarnation>, epoch: u64, wanted: Option<&str>) -> World {
        let mut world = world(&["me", "other"], 1);
        let row = &mut world.cells[0];
        row.epoch = Epoch(epoch);
        row.holder = holder;
        row.wanted = wanted.map(|name| Wanted { node: crate::memory::samples::name(name), why: String::new() });
        world
    }

    fn of(world: &World, owned: Option<u64>) -> Steps {
        let owned: Vec<_> = owned.map(|epoch| (CELL, Epoch(epoch))).into_iter().collect();
        steps(world, me(), &owned, &BTreeSet::new(), false)
    }

    fn acquire(epoch: u64) -> Steps {
        Steps { acquire: vec![(CELL, Epoch(epoch))], ..Steps::default() }
    }

    #[test]
    fn a_free_cell_that_is_wanted_here_is_acquired_at_the_epoch_that_was_seen() {
        assert_eq!(of(&with(None, 4, Some("me")), None), acquire(4));
        assert_eq!(
            of(&with(Some(Incarnation::of_bits(99)), 4, Some("me")), None),
            acquire(4),
            "of a node that is gone"
        );
        for not in [with(Some(other()), 4, Some("me")), with(None, 4, Some("other")), with(None, 4, None)] {
            assert_eq!(of(&not, None), Steps::default());
        }
        let mut dead = with(Some(other()), 4, Some("me"));
        dead.nodes.values_mut().filter(|node| node.spec.incarnation == other()).for_each(|node| node.dead = true);
        assert_eq!(of(&dead, None), acquire(4));
    }

    #[test]
    fn what_the_tables_say_is_ours_and_is_not_is_acquired_wherever_it_is_wanted() {
        assert_eq!(of(&with(Some(me()), 4, Some("other")), None), acquire(4));
    }

    #[test]
    fn a_cell_that_is_wanted_elsewhere_is_released_only_to_somebody_who_is_there() {
        let world = with(Some(me()), 4, Some("other"));
        let released = Steps { release: vec![(CELL, Some(crate::memory::samples::name("other")))], ..Steps::default() };
        assert_eq!(of(&world, Some(4)), released);
        for (wanted, dead) in [("other", true), ("nowhere", false)] {
            let mut world = with(Some(me()), 4, Some(wanted));
            world.nodes.values_mut().filter(|node| node.spec.incarnation == other()).for_each(|node| node.dead = dead);
            assert_eq!(of(&world, Some(4)), Steps::default(), "{wanted}");
        }
    }

    #[test]
    fn a_cell_with_a_newer_epoch_than_ours_is_lost_and_one_that_we_have_taken_since_is_not() {
        let lost = Steps { lose: vec![CELL], ..Steps::default() };
        assert_eq!(of(&with(Some(other()), 5, Some("other")), Some(4)), lost);
        assert_eq!(of(&with(Some(other()), 4, Some("me")), Some(5)), Steps::default());
    }

    #[test]
    fn a_tail_is_brought_elsewhere_by_the_owner_who_is_to_keep_the_cell() {
        let moves = Steps { rehome: vec![(CELL, DatabaseId(1))], ..Steps::default() };
        let mut here = with(Some(me()), 4, Some("me"));
        here.cells[0].moves_to = Some(DatabaseId(1));
        assert_eq!(of(&here, Some(4)), moves);
        assert_eq!(steps(&here, me(), &[(CELL, Epoch(4))], &BTreeSet::from([CELL]), false), Steps::default(), "busy");
        assert_eq!(steps(&here, me(), &[(CELL, Epoch(4))], &BTreeSet::new(), true), Steps::default(), "draining");
        let mut there = with(Some(me()), 4, Some("other"));
        there.cells[0].moves_to = Some(DatabaseId(1));
        assert_eq!(of(&there, Some(4)).rehome, [], "the next owner does it");
        here.cells[0].database = DatabaseId(1);
        assert_eq!(of(&here, Some(4)), Steps::default(), "it is there");
        here.cells[0].holder = None;
        assert_eq!(of(&here, None), acquire(4), "nobody has it");
    }

    #[test]
    fn what_is_being_moved_is_left_alone_unless_it_is_lost() {
        let busy = BTreeSet::from([CELL]);
        let world = with(Some(me()), 4, Some("other"));
        assert_eq!(steps(&world, me(), &[(CELL, Epoch(4))], &busy, false), Steps::default());
        assert_eq!(steps(&world, me(), &[(CELL, Epoch(3))], &busy, false).lose, [CELL]);
    }

    #[test]
    fn who_drains_and_is_alone_gives_its_cells_to_nobody() {
        let mut world = with(Some(me()), 4, Some("me"));
        let owned = [(CELL, Epoch(4))];
        assert_eq!(
            steps(&world, me(), &owned, &BTreeSet::new(), true),
            Steps::default(),
            "others will be told to take it"
        );
        world.nodes.retain(|_, node| node.spec.incarnation == me());
        assert_eq!(steps(&world, me(), &owned, &BTreeSet::new(), true).release, [(CELL, None)]);
        world.cells[0].holder = None;
        assert_eq!(steps(&world, me(), &[], &BTreeSet::new(), true), Steps::default(), "and takes none");
    }
}
