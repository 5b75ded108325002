//! `choose_hardware`: the cheapest class that keeps the promise, or the fastest if none does; the plain node unless another is a fifth better, for measured times differ by themselves.
//! What a node asks for stays, and what is chosen is a preference: a class that is gone or busy holds nothing up.

use std::collections::BTreeMap;

use super::{Hardware, Known};
use crate::{
    catalog::Function,
    plan::{Body, Does, Node, Plan, Stage, Work},
};

pub(super) fn run(plan: &mut Plan, functions: &BTreeMap<String, Function>, known: &Known<'_>) {
    for node in plan.graphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
        if node.placing.hardware.is_none() {
            node.placing.prefers = choose(node, functions, known.hardware).filter(|class| !class.is_empty());
        }
    }
}

fn choose(node: &Node, functions: &BTreeMap<String, Function>, classes: &[Hardware]) -> Option<String> {
    let stages: &[Stage] = match &node.work {
        Work::Chain(stages) => stages,
        Work::Each(each) => match &each.body {
            Body::Chain(stages) => stages,
            Body::Graph(_) => return None,
        },
        _ => return None,
    };
    // A class counts if it is known of every function of the step how long it takes there.
    let micros = |class: &str| {
        let on = |stage: &Stage| match &stage.does {
            Does::Function { name, .. } => {
                functions.get(name)?.micros.iter().find(|(on, _)| on == class).map(|(_, micros)| *micros)
            }
            Does::Expr(_) | Does::Lines => Some(0),
        };
        stages.iter().map(on).try_fold(0_u64, |sum, micros| Some(sum.saturating_add(micros?)))
    };
    let timed = classes.iter().filter_map(|class| Some((class, micros(&class.class)?)));
    let limit = node.placing.slo.as_ref().and_then(|slo| slo.p99_ms).map(|ms| ms.saturating_mul(1_000));
    let keeps = |micros: u64| limit.is_none_or(|limit| micros <= limit);
    let cost = |class: &Hardware, micros: u64| u128::from(class.price) * u128::from(micros);
    // Whether it breaks the promise, then what it costs, then how long it takes.
    let rank = |(class, micros): &(&Hardware, u64)| match keeps(*micros) {
        true => (false, cost(class, *micros), *micros),
        false => (true, u128::from(*micros), *micros),
    };
    let timed: Vec<_> = timed.collect();
    let best = timed.iter().min_by_key(|timed| rank(timed))?;
    let is_better = |plain: &(&Hardware, u64)| {
        let (of_plain, of_best) = (rank(plain), rank(best));
        let much = |plain: u128, best: u128| best.saturating_mul(5) <= plain.saturating_mul(4);
        of_plain.0 != of_best.0
            || if of_plain.1 == 0 { much(of_plain.2.into(), of_best.2.into()) } else { much(of_plain.1, of_best.1) }
    };
    let plain = timed.iter().find(|(class, _)| class.class.is_empty());
    plain.is_none_or(is_better).then(|| best.0.class.clone())
}
