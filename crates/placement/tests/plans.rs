//! What scenarios cannot say: about many plans, and about data for programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use bytesize::ByteSize;
use stride_ids::Name;
use stride_placement::{
    Choice, DatumId, EXPLORE_PER_MILLE, Holding, Input, Labels, Link, Load, Node, NodeId, Price, Rate, Reference,
    Request, json, plan, rank,
};
use stride_sim::Chance;

fn node(i: usize) -> NodeId {
    NodeId(Name::new(&format!("n{i}")).unwrap())
}

fn idle(nodes: usize) -> Input {
    let mut input = Input::default();
    for i in 0..nodes {
        let idle = Node {
            slots: 4,
            accepted_max: 100,
            load: Load::default(),
            link: Link { rate: Rate(ByteSize::kib(512_000).0), waiting: ByteSize(0) },
            labels: Labels::default(),
            hardware: Default::default(),
            price: Price(0),
        };
        input.set_node(node(i), idle);
    }
    input
}

fn reads(datum: &str) -> Request {
    let datum = DatumId::new(datum).unwrap();
    Request {
        references: vec![Reference { datum, size: ByteSize::mib(1), labels: Labels::default() }],
        ..Request::default()
    }
}

#[test]
fn among_equals_every_datum_has_its_own_node_and_all_planners_take_the_same() {
    let input = idle(10);
    let mut firsts = BTreeMap::<NodeId, u32>::new();
    for i in 0..1_000 {
        let request = reads(&format!("data/{i}"));
        let first = rank(&input, &request)[0].node.clone();
        assert_eq!(first, rank(&input.clone(), &request)[0].node);
        *firsts.entry(first).or_default() += 1;
    }
    assert!(firsts.len() == 10 && firsts.values().all(|n| (60..150).contains(n)), "{firsts:?}");
}

#[test]
fn the_share_that_explores_is_small_and_never_nothing() {
    let (input, request, chance) = (idle(10), reads("data/1"), Chance::seeded(1));
    let mut explored = 0;
    for _ in 0..20_000 {
        explored += u64::from(plan(&input, &request, &chance).unwrap().choice() == Choice::Explored);
    }
    let expected = 20 * EXPLORE_PER_MILLE;
    assert!((expected / 2..expected * 2).contains(&explored), "{explored}");
}

#[test]
fn a_plan_as_data_has_the_parts_of_every_score() {
    let mut input = idle(2);
    let request = reads("data/1");
    let (holder, other) = (node(1), node(0));
    let half = Holding { here: ByteSize::kib(512), coming: ByteSize(0) };
    input.set_holding(&request.references[0].datum, &holder, half);
    let mut full = input.node(&other).unwrap().clone();
    full.accepted_max = 0;
    input.set_node(other, full);
    let explained = json(&plan(&input, &request, &Chance::seeded(1)));
    let expected = serde_json::json!({
        "node": "n1", "choice": "lowest", "referenced_bytes": 1_048_576,
        "candidates": [
            { "node": "n1", "score_ms": 1.0, "fetch_ms": 1.0, "wait_ms": 0.0, "price_ms": 0.0, "here_bytes": 524_288 },
            { "node": "n0", "refused": "full", "because": "full: 0 accepted" },
        ],
    });
    assert_eq!(serde_json::to_value(explained).unwrap(), expected);
}

#[test]
fn a_node_that_is_gone_holds_nothing_and_none_that_is_unknown_does() {
    let (mut input, request) = (idle(1), reads("data/1"));
    let (datum, known, unknown) = (&request.references[0].datum, node(0), node(1));
    let whole = Holding { here: ByteSize::mib(1), coming: ByteSize(0) };
    input.set_holding(datum, &known, whole);
    input.set_holding(datum, &unknown, whole);
    input.assume_copy(datum, ByteSize::mib(1), &unknown);
    assert_eq!(input.holders(datum).collect::<Vec<_>>(), [(&known, whole)]);
    input.remove_node(&known);
    assert_eq!(input, Input::default());
}
