//! `place`: steps that name the object they are close to are planned onto a node before they run, by the same rules as every other work (design 0005).
//! What is known only when it runs is placed then.

use std::time::Duration;

use bytesize::ByteSize;
use stride_ids::Name;
use stride_placement::{DatumId, Hardware, Input, Labels, Reference, Request, Verdict, rank};

use super::Known;
use crate::{
    expr::Expr,
    plan::{Node, Plan},
};

pub(super) fn run(plan: &mut Plan, known: &Known<'_>) {
    let Some(nodes) = known.nodes else { return };
    // What is placed counts as load for what comes after it.
    let mut nodes = nodes.clone();
    for node in plan.graphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
        node.placing.node = place(node, &mut nodes);
    }
}

fn place(node: &Node, nodes: &mut Input) -> Option<String> {
    let Some(Expr::Literal(affinity)) = &node.placing.affinity else { return None };
    let datum = DatumId::new(affinity.as_str()?.strip_prefix("object:")?).ok()?;
    let size = nodes.holders(&datum).map(|(_, holding)| holding.here).max().unwrap_or(ByteSize(node.estimate.bytes_in));
    let hardware = node.placing.hardware.as_deref().and_then(|class| Name::new(class).ok()).map(Hardware);
    let request = Request {
        references: vec![Reference { datum, size, labels: Labels::default() }],
        hardware: hardware.into_iter().collect(),
        run: Duration::from_micros(node.estimate.micros),
        delay_cost: None,
        origin: None,
        home: None,
    };
    let best = rank(nodes, &request).into_iter().find(|candidate| matches!(candidate.verdict, Verdict::Scored(_)))?;
    nodes.assume(&request, &best.node);
    Some(best.node.to_string())
}
