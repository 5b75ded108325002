//! What holds for any input: drawn at random, small enough that everything that can meet does meet.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{num::NonZeroU64, time::Duration};

use bytesize::ByteSize;
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use stride_ids::{Code, Name};
use stride_placement::{
    COPIES_MAX, Candidate, DatumId, DelayCost, Demand, Hardware, Holding, Input, Label, Labels, Link, Load, Node,
    NodeId, Origin, PAYS_MIN, Price, Rate, Reference, Request, Score, Verdict, json, lint, lint_plan, plan, rank,
    replicate, text,
};
use stride_sim::Chance;

const NODES: usize = 5;
const DATA: usize = 3;

fn node_id(i: usize) -> NodeId {
    NodeId(Name::new(&format!("n{i}")).unwrap())
}

fn datum_id(i: usize) -> DatumId {
    DatumId::new(&format!("data/{i}")).unwrap()
}

fn labels() -> impl Strategy<Value = Labels> {
    let all: Vec<Label> = ["region=eu", "region=us", "gdpr=yes"].iter().map(|l| l.parse().unwrap()).collect();
    subsequence(all, 0..=3).prop_map(|labels| labels.into_iter().collect())
}

fn hardware() -> impl Strategy<Value = Vec<Hardware>> {
    subsequence(["gpu", "nvme"].map(|h| Hardware(Name::new(h).unwrap())).to_vec(), 0..=2)
}

/// Ordinary numbers, and the ends of the scale.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..2_000_u64, 2 => 0..1_u64 << 40, 1 => Just(u64::MAX)]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![6 => number().prop_map(Duration::from_millis), 1 => Just(Duration::MAX)]
}

prop_compose! {
    fn node()(
        slots in prop_oneof![0..9_u32, Just(u32::MAX)], accepted_max in 0..40_u32, accepted in 0..20_u32, work in time(),
        rate in number(), waiting in number(), labels in labels(), hardware in hardware(), price in number(),
    ) -> Node {
        let link = Link { rate: Rate(rate), waiting: ByteSize(waiting) };
        let (load, hardware) = (Load { accepted, work }, hardware.into_iter().collect());
        Node { slots, accepted_max, load, link, labels, hardware, price: Price(price) }
    }
}

prop_compose! {
    fn input()(
        nodes in vec(node(), 0..=NODES),
        holdings in vec((0..NODES, 0..DATA, number(), number()), 0..12),
    ) -> Input {
        let mut input = Input::default();
        nodes.into_iter().enumerate().for_each(|(i, node)| input.set_node(node_id(i), node));
        for (node, datum, here, coming) in holdings {
            let holding = Holding { here: ByteSize(here), coming: ByteSize(coming) };
            input.set_holding(&datum_id(datum), &node_id(node), holding);
        }
        input
    }
}

prop_compose! {
    fn request()(
        reads in vec((0..DATA, number(), labels()), 0..4), hardware in hardware(), run in time(),
        cost in option::of(1..u64::MAX), origin in option::of((0..NODES, time())), home in option::of(0..NODES),
    ) -> Request {
        let reference = |(i, size, labels)| Reference { datum: datum_id(i), size: ByteSize(size), labels };
        Request {
            references: reads.into_iter().map(reference).collect(),
            hardware: hardware.into_iter().collect(),
            run,
            delay_cost: cost.and_then(NonZeroU64::new).map(DelayCost),
            origin: origin.map(|(node, hop)| Origin { node: node_id(node), hop }),
            home: home.map(node_id),
        }
    }
}

fn score_of(candidates: &[Candidate], id: &NodeId) -> Option<Score> {
    candidates.iter().find(|c| c.node == *id).and_then(|c| match &c.verdict {
        Verdict::Scored(score) => Some(*score),
        Verdict::Refused(_) => None,
    })
}

fn may_run(input: &Input, request: &Request, id: &NodeId) -> bool {
    let node = input.node(id).unwrap();
    let carried: Vec<_> = node.labels.iter().collect();
    request.references.iter().all(|r| r.labels.iter().all(|label| carried.contains(&label)))
        && request.hardware.iter().all(|h| node.hardware.contains(h))
        && node.load.accepted < node.accepted_max
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_keeps_to_labels_hardware_and_limits_and_a_refusal_names_a_reason_for_every_node(
        input in input(), request in request(), seed: u64,
    ) {
        match plan(&input, &request, &Chance::seeded(seed)) {
            Ok(plan) => {
                prop_assert!(may_run(&input, &request, plan.node()));
                prop_assert_eq!(score_of(plan.candidates(), plan.node()), Some(plan.score()));
                prop_assert_eq!(plan.candidates().len(), input.nodes().count());
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.refused().len(), input.nodes().count());
                prop_assert!(refusal.refused().iter().all(|(_, reason)| !reason.to_string().is_empty()));
                prop_assert!(matches!(refusal.code(), Code::Overloaded | Code::Unavailable | Code::CapabilityDenied));
            }
        }
    }

    #[test]
    fn no_copy_is_made_where_a_label_or_hardware_forbids_the_work_and_none_that_takes_longer_than_it_saves(
        input in input(), wanted in vec((0..DATA, number(), labels(), hardware(), time()), 0..4),
    ) {
        let demand = |(i, size, labels, hardware, waiting): (_, _, _, Vec<Hardware>, _)| {
            let hardware = hardware.into_iter().collect();
            Demand { datum: datum_id(i), size: ByteSize(size), labels, hardware, waiting }
        };
        let demands: Vec<Demand> = wanted.into_iter().map(demand).collect();
        let copies = replicate(&input, &demands);
        prop_assert!(copies.len() <= COPIES_MAX);
        for copy in &copies {
            let node = input.node(&copy.to).unwrap();
            let carried: Vec<_> = node.labels.iter().collect();
            let may_run = |d: &Demand| {
                d.labels.iter().all(|label| carried.contains(&label)) && d.hardware.is_subset(&node.hardware)
            };
            let asked = |d: &&Demand| d.datum == copy.datum && may_run(d);
            prop_assert!(demands.iter().any(|d| asked(&d)));
            prop_assert!(copy.saves > copy.takes.saturating_mul(PAYS_MIN));
            prop_assert_eq!(copies.iter().filter(|c| c.to == copy.to).count(), 1);
        }
    }

    #[test]
    fn a_home_is_taken_among_equals_and_never_before_a_better_one(input in input(), request in request(), home in 0..NODES) {
        let home = node_id(home);
        let best = |home| rank(&input, &Request { home, ..request.clone() }).into_iter().next();
        let (at_home, anywhere) = (best(Some(home.clone())), best(None));
        let scores = [&at_home, &anywhere].map(|best| best.as_ref().map(|best| best.verdict.clone()));
        if let [Some(Verdict::Scored(ours)), Some(Verdict::Scored(theirs))] = &scores {
            prop_assert_eq!((ours.total(), ours.here), (theirs.total(), theirs.here));
        }
        if let (Some(Verdict::Scored(best)), Some(score)) = (&scores[0], score_of(&rank(&input, &request), &home))
            && request.references.iter().any(|reference| reference.size.0 > 0)
            && (score.total(), score.here) == (best.total(), best.here)
        {
            prop_assert_eq!(at_home.map(|best| best.node), Some(home));
        }
    }

    #[test]
    fn a_node_that_holds_more_is_no_worse(
        input in input(), request in request(), node in 0..NODES, datum in 0..DATA, more in number(),
    ) {
        let (id, datum) = (node_id(node), datum_id(datum));
        let before = score_of(&rank(&input, &request), &id);
        let mut richer = input;
        let mut holding = richer.holding(&datum, &id);
        holding.here.0 = holding.here.0.saturating_add(more);
        richer.set_holding(&datum, &id, holding);
        if let Some(before) = before {
            let after = score_of(&rank(&richer, &request), &id).expect("holding more refuses nothing");
            prop_assert!(after.total() <= before.total());
        }
    }

    #[test]
    fn a_node_with_more_load_is_no_better(
        input in input(), request in request(), node in 0..NODES, accepted in 0..20_u32, work in time(), link in number(),
    ) {
        let id = node_id(node);
        let before = score_of(&rank(&input, &request), &id);
        let mut busier = input.clone();
        if let Some(node) = input.node(&id) {
            let load = Load { accepted: node.load.accepted + accepted, work: node.load.work.saturating_add(work) };
            busier.set_load(&id, load, ByteSize(node.link.waiting.0.saturating_add(link)));
        }
        match (before, score_of(&rank(&busier, &request), &id)) {
            (Some(before), Some(after)) => prop_assert!(after.total() >= before.total()),
            (None, after) => prop_assert_eq!(after, None),
            (Some(_), None) => {}
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_every_plan_can_be_explained(
        input in input(), request in request(), seed: u64,
    ) {
        let planned = plan(&input, &request, &Chance::seeded(seed));
        prop_assert_eq!(&planned, &plan(&input, &request, &Chance::seeded(seed)));
        let explained = text(&planned);
        let nodes = json(&planned).candidates.len();
        prop_assert!(input.nodes().all(|(id, _)| explained.contains(id.0.as_str())));
        prop_assert_eq!(nodes, input.nodes().count());
        lint(&input, &request);
        planned.iter().for_each(|plan| drop(lint_plan(plan)));
    }

    #[test]
    fn time_that_passes_makes_no_node_worse(
        input in input(), request in request(), steps in vec(time(), 1..5),
    ) {
        let before = rank(&input, &request);
        let mut later = input;
        steps.into_iter().for_each(|step| later.elapse(step));
        let after = rank(&later, &request);
        for candidate in &before {
            if let Some(before) = score_of(&before, &candidate.node) {
                let after = score_of(&after, &candidate.node).expect("time refuses nothing");
                prop_assert!(after.total() <= before.total());
            }
        }
    }

    #[test]
    fn what_was_placed_is_no_longer_sent_for(input in input(), request in request(), node in 0..NODES) {
        let id = node_id(node);
        let mut after = input.clone();
        after.assume(&request, &id);
        if let Some(node) = after.node(&id) {
            prop_assert_eq!(node.load.accepted, input.node(&id).unwrap().load.accepted + 1);
            prop_assert!(request.references.iter().all(|r| after.holding(&r.datum, &id).missing_of(r.size).0 == 0));
        } else {
            prop_assert_eq!(after, input);
        }
    }
}
