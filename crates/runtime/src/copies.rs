//! Copies ahead of work: what much work waits for on this node is fetched by others as well, so that the work which comes next finds it there.
//!
//! Always true: what only one piece of work reads is not copied, because work that waits stays where it waits; what was ordered is not ordered
//! again until it is there or [`AGAIN_AFTER`] has passed.
//! Not here: which copies pay (see `placement`), and how they are made (see `warming`), where labels are looked at again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future::join_all;
use parking_lot::Mutex;
use stride_data::{PIECES_MAX, Piece};
use stride_ids::{Failure, ObjectName};
use stride_maps::Input;
use stride_placement::{Copy, DatumId, Demand, Hardware, Input as Known, Labels, NodeId, Reference, replicate};

use crate::{
    explain::Datum,
    functions::Functions,
    gate::Gate,
    others::Others,
    placing::{HOP_BYTES, objects_of},
};

/// From how many pieces of work on that wait for an object it is hot.
const HOT_MIN: u32 = 2;
/// Of how many objects it is looked up where they are: those that most work waits for.
const HOT_MAX: usize = 64;
/// How long a node that was asked for a copy has time for it. After that it has refused, or others come first there.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a call reads, and what a node has to be for the call.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reads {
    pub(crate) objects: BTreeSet<ObjectName>,
    pub(crate) labels: Labels,
    pub(crate) hardware: BTreeSet<Hardware>,
}

impl Reads {
    /// Of a call that gets this and names these objects.
    pub(crate) fn of<'a>(
        input: &Input,
        named: &[ObjectName],
        labels: impl Iterator<Item = &'a Labels>,
        hardware: BTreeSet<Hardware>,
    ) -> Self {
        let part = match input {
            Input::Part(part) => Some(&part.object),
            Input::Payload(_) => None,
        };
        let objects = named.iter().chain(part).cloned().collect();
        Self { objects, labels: labels.flat_map(Labels::iter).cloned().collect(), hardware }
    }
}

/// An object, and the work that waits to read it and needs these of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hot {
    object: ObjectName,
    labels: Labels,
    hardware: BTreeSet<Hardware>,
    waiting: Duration,
}

impl Hot {
    /// The same as placement knows it. The object's own labels may have changed since the work came.
    fn demand(&self, Reference { datum, size, labels }: &Reference) -> Demand {
        Demand {
            datum: datum.clone(),
            size: *size,
            labels: self.labels.iter().chain(labels.iter()).cloned().collect(),
            hardware: self.hardware.clone(),
            waiting: self.waiting,
        }
    }
}

/// What is hot of all that waits, the hottest first: what is read, by how many pieces of work, and how long each of them runs.
fn hottest(waiting: impl IntoIterator<Item = (Reads, u32, Duration)>) -> Vec<Hot> {
    let mut sums: BTreeMap<(ObjectName, Labels, BTreeSet<Hardware>), (u32, Duration)> = BTreeMap::new();
    for (Reads { objects, labels, hardware }, works, run) in waiting {
        for object in objects {
            let (count, sum) = sums.entry((object, labels.clone(), hardware.clone())).or_default();
            *count = count.saturating_add(works);
            *sum = sum.saturating_add(run.saturating_mul(works));
        }
    }
    // Of work that never ran nobody knows how long it will wait.
    let sums = sums.into_iter().filter(|(_, (count, waiting))| *count >= HOT_MIN && !waiting.is_zero());
    let hot = |((object, labels, hardware), (_, waiting))| Hot { object, labels, hardware, waiting };
    let mut all: Vec<Hot> = sums.map(hot).collect();
    all.sort_by_key(|hot| Reverse(hot.waiting));
    all.truncate(HOT_MAX);
    all
}

/// What this node has ordered.
#[derive(Default)]
pub(crate) struct Copies {
    orders: Mutex<Orders>,
    ordered: AtomicU64,
}

impl Copies {
    /// How many copies were ordered.
    pub(crate) fn ordered(&self) -> u64 {
        self.ordered.load(Ordering::Relaxed)
    }
}

/// What was ordered a short time ago, where, and when.
#[derive(Default)]
struct Orders(BTreeMap<(DatumId, NodeId), Duration>);

impl Orders {
    /// The copies to order now.
    fn next(&mut self, mut known: Known, demands: &[Demand], here: &NodeId, now: Duration) -> Vec<Copy> {
        self.0.retain(|_, at| now.saturating_sub(*at) < AGAIN_AFTER);
        for Demand { datum, size, .. } in demands {
            // The work that waits here brings its bytes here by itself.
            let coming = self.0.keys().filter(|(ordered, _)| ordered == datum).map(|(_, to)| to).chain([here]);
            coming.for_each(|node| known.assume_copy(datum, *size, node));
        }
        let copies = replicate(&known, demands);
        self.0.extend(copies.iter().map(|copy| ((copy.datum.clone(), copy.to.clone()), now)));
        copies
    }
}

impl Functions {
    /// Has other nodes fetch what much work waits for here, if that pays. To be called now and then.
    ///
    /// # Errors
    /// If it cannot be looked up what there is of the objects.
    pub async fn copy_ahead(&self) -> Result<(), Failure> {
        let Some(others) = self.others.get().filter(|others| others.count() > 0) else { return Ok(()) };
        let here = self.registry.host().here()?;
        let (mut hot, mut data) = (Vec::new(), Vec::new());
        for one in hottest(self.waiting_to_read()) {
            let found = objects_of(&here, slice::from_ref(&one.object)).await?.pop();
            // Less comes in the time that a call takes to another node.
            if let Some(datum) = found.filter(|datum| datum.reference.size.0 > HOP_BYTES) {
                hot.push(one);
                data.push(datum);
            }
        }
        let demands: Vec<Demand> = hot.iter().zip(&data).map(|(hot, datum)| hot.demand(&datum.reference)).collect();
        if demands.is_empty() {
            return Ok(());
        }
        let known = self.known(&here, &data, self.load().1, &BTreeSet::new());
        let now = self.registry.host().clock.now();
        let copies = self.copies.orders.lock().next(known, &demands, &here.site.node, now);
        let found = |copy: &Copy| hot.iter().zip(&data).find(|(_, datum)| datum.reference.datum == copy.datum);
        let orders = copies.iter().filter_map(|copy| Some((found(copy)?, copy)));
        join_all(orders.map(|((hot, datum), copy)| self.order(others, copy, &hot.object, datum))).await;
        Ok(())
    }

    /// What the calls read that wait on this node, how many of them, and how long each of them runs.
    fn waiting_to_read(&self) -> Vec<(Reads, u32, Duration)> {
        let gates = self.gates.read();
        let each = |gate: &Gate| {
            let run = gate.mean_run();
            gate.waiting_to_read().into_iter().map(move |(reads, works)| (reads, works, run))
        };
        gates.values().flat_map(|gate| each(gate)).collect()
    }

    /// A node that cannot be asked is no failure: whoever runs there brings the bytes.
    async fn order(&self, others: &Others, Copy { to, takes, saves, .. }: &Copy, object: &ObjectName, datum: &Datum) {
        let piece = |chunk| Piece { object: object.clone(), chunk };
        let pieces = others.missing(to, datum).into_iter().take(PIECES_MAX).map(piece).collect();
        match others.elsewhere.warm(to, pieces).await {
            Ok(()) => {
                self.copies.ordered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%object, %to, ?takes, ?saves, "a node was asked to fetch what much work waits for here");
            }
            Err(failure) => tracing::debug!(%object, %to, %failure, "a node was not asked for a copy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use stride_ids::{BucketName, Name, ObjectKey};
    use stride_placement::{Holding, Link, Load, Node, Price, Rate};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SIZE: ByteSize = ByteSize(1 << 20);

    fn object(key: &str) -> ObjectName {
        let (bucket, key) = (BucketName::new("data").unwrap(), ObjectKey::new(key).unwrap());
        ObjectName { tenant: Name::default_tenant(), bucket, key }
    }

    fn labels(label: &str) -> Labels {
        [label.parse().unwrap()].into_iter().collect()
    }

    fn reads(keys: &[&str], labels: Labels) -> Reads {
        Reads { objects: keys.iter().map(|key| object(key)).collect(), labels, hardware: BTreeSet::new() }
    }

    fn node(name: &str) -> NodeId {
        NodeId(Name::new(name).unwrap())
    }

    fn datum() -> DatumId {
        DatumId::new("hot").unwrap()
    }

    /// Node `a` has the datum and a minute of work, and the others have nothing to do.
    fn known(others: &[&str]) -> Known {
        let mut known = Known::default();
        for name in [&["a"], others].concat() {
            let load = if name == "a" { Load { accepted: 60, work: 60 * SECOND } } else { Load::default() };
            let link = Link { rate: Rate(125_000_000), waiting: ByteSize(0) };
            let (labels, hardware, price) = (labels("region=eu"), BTreeSet::new(), Price(0));
            known.set_node(node(name), Node { slots: 2, accepted_max: 100, load, link, labels, hardware, price });
        }
        known.set_holding(&datum(), &node("a"), Holding { here: SIZE, coming: ByteSize(0) });
        known
    }

    fn demand(labels: Labels) -> Demand {
        Demand { datum: datum(), size: SIZE, labels, hardware: BTreeSet::new(), waiting: 40 * SECOND }
    }

    fn targets(copies: &[Copy]) -> Vec<String> {
        copies.iter().map(|copy| copy.to.to_string()).collect()
    }

    #[test]
    fn what_waits_is_summed_up_by_what_it_reads_and_what_it_needs_of_a_node_and_the_hottest_comes_first() {
        let (eu, none) = (labels("region=eu"), Labels::default());
        let hot = hottest([
            (reads(&["x", "y"], none.clone()), 3, SECOND),
            (reads(&["y"], none.clone()), 2, 2 * SECOND),
            (reads(&["y"], eu.clone()), 2, SECOND),
            (reads(&["alone"], none.clone()), 1, 60 * SECOND),
            (reads(&["never ran"], none.clone()), 9, Duration::ZERO),
            (reads(&[], none.clone()), 9, SECOND),
        ]);
        let found: Vec<_> = hot.iter().map(|hot| (hot.object.key.as_str(), hot.labels.clone(), hot.waiting)).collect();
        assert_eq!(found, [("y", none.clone(), 7 * SECOND), ("x", none, 3 * SECOND), ("y", eu, 2 * SECOND)]);
        let many = (0..100).map(|n| (reads(&[&n.to_string()], Labels::default()), 2 + n, SECOND));
        let hot = hottest(many);
        assert_eq!((hot.len(), hot[0].object.clone()), (HOT_MAX, object("99")));
    }

    #[test]
    fn a_demand_has_the_labels_of_the_work_and_those_of_the_object() {
        let hot = hottest([(reads(&["x"], labels("gdpr=yes")), 2, SECOND)]);
        let demand = hot[0].demand(&Reference { datum: datum(), size: SIZE, labels: labels("region=eu") });
        let found: Vec<String> = demand.labels.iter().map(ToString::to_string).collect();
        assert_eq!(
            (found, demand.size, demand.waiting),
            (vec!["gdpr=yes".into(), "region=eu".into()], SIZE, 2 * SECOND)
        );
    }

    #[test]
    fn a_copy_is_ordered_once_and_again_only_if_it_is_not_there_in_time() {
        let (mut orders, demands, here) = (Orders::default(), [demand(Labels::default())], node("a"));
        assert_eq!(targets(&orders.next(known(&["b"]), &demands, &here, SECOND)), ["b"]);
        assert_eq!(targets(&orders.next(known(&["b"]), &demands, &here, 2 * SECOND)), [""; 0]);
        assert_eq!(targets(&orders.next(known(&["b", "c"]), &demands, &here, 3 * SECOND)), ["c"], "another node");
        assert_eq!(targets(&orders.next(known(&["b", "c"]), &demands, &here, SECOND + AGAIN_AFTER)), ["b"]);
        let mut there = known(&["b"]);
        there.set_holding(&datum(), &node("b"), Holding { here: SIZE, coming: ByteSize(0) });
        assert_eq!(targets(&Orders::default().next(there, &demands, &here, SECOND)), [""; 0], "it is there");
    }

    #[test]
    fn nothing_is_ordered_where_labels_forbid_it_for_nobody_else_and_without_demand() {
        let (mut orders, here) = (Orders::default(), node("a"));
        let lacking = [demand(labels("region=us"))];
        assert_eq!(targets(&orders.next(known(&["b"]), &lacking, &here, SECOND)), [""; 0]);
        assert_eq!(targets(&orders.next(known(&["b"]), &[demand(labels("region=eu"))], &here, SECOND)), ["b"]);
        let mut orders = Orders::default();
        assert_eq!(targets(&orders.next(known(&[]), &[demand(Labels::default())], &here, SECOND)), [""; 0]);
        assert_eq!(targets(&orders.next(known(&["b"]), &[], &here, SECOND)), [""; 0]);
        // Work that waits where its data is not yet brings it there, and nobody is asked to do the same.
        assert_eq!(targets(&orders.next(known(&["b"]), &[demand(Labels::default())], &node("b"), SECOND)), [""; 0]);
    }
}
