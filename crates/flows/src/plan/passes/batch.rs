//! `batch`: small pure calls over items travel together, as many as take about ten milliseconds.
//!
//! Only what is pure, since a call whose answer is lost is made again as a whole.

use std::collections::BTreeMap;

use crate::{
    catalog::Function,
    plan::{Body, Does, Items, Plan, Stage, Work, estimate},
};

const MICROS: u64 = 10_000;
const ITEMS_MAX: u64 = 64;

pub(super) fn run(plan: &mut Plan, functions: &BTreeMap<String, Function>) {
    for node in plan.graphs.iter_mut().flat_map(|graph| &mut graph.nodes).filter(|node| node.is_pure) {
        if let Work::Each(each) = &mut node.work
            && let (Body::Chain(stages), Items::Expr(_)) = (&each.body, &each.items)
        {
            let micros: u64 = stages.iter().map(|stage| of(stage, functions, node.placing.class())).sum();
            let batch = (MICROS / micros.max(1)).clamp(1, ITEMS_MAX.min(u64::from(each.window)));
            each.batch = u32::try_from(batch).unwrap_or(1);
        }
    }
}

fn of(stage: &Stage, functions: &BTreeMap<String, Function>, hardware: Option<&str>) -> u64 {
    match &stage.does {
        // What nobody has measured may be small; the window still bounds what is in flight.
        Does::Function { name, .. } => match functions.get(name) {
            Some(function) if !function.micros.is_empty() => estimate::micros(function, hardware),
            _ => MICROS / ITEMS_MAX,
        },
        Does::Expr(_) | Does::Lines => 0,
    }
}
