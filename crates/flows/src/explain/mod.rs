//! A plan for people: as text, as JSON, as a picture. The plan without passes is the logical one, with them the physical one.

mod describe;
mod svg;

use bytesize::ByteSize;
use serde_json::{Value, json};

pub use svg::svg;

use crate::plan::{Estimate, Measure, Measures, Node, Plan};
use describe::{does, from, notes};

/// One line for each node: what it does, with whose values, what that is expected to take and, after a run, what it took.
pub fn text(plan: &Plan, measured: Option<&Measures>) -> String {
    let passes = if plan.passes.is_empty() { "none".to_owned() } else { plan.passes.join(", ") };
    let mut text =
        format!("flow {}\n  passes  {passes}\n  between nodes  {}\n", plan.flow, bytes(plan.bytes_between()));
    for (index, graph) in plan.graphs.iter().enumerate().rev() {
        text += &if index == plan.root { "\nthe flow\n".to_owned() } else { format!("\ngraph {index}\n") };
        let rows: Vec<[String; 4]> = graph
            .nodes
            .iter()
            .map(|node| {
                let what = [does(node), notes(node)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
                [
                    node.name.to_string(),
                    what.join(", "),
                    from(graph, node),
                    numbers(&node.estimate, took(index, node, measured)),
                ]
            })
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        for row in &rows {
            let (a, b, c) = (width(0), width(1), width(2));
            let line = format!("  {:a$}  {:b$}  {:c$}  {}", row[0], row[1], row[2], row[3]);
            text += line.trim_end();
            text.push('\n');
        }
        if let Some(output) = graph.output {
            text += &format!("  = {}\n", describe::port(graph, output));
        }
    }
    text
}

/// The same for programs.
pub fn json(plan: &Plan, measured: Option<&Measures>) -> Value {
    let node = |index: usize, graph: &crate::plan::Graph, node: &Node| {
        json!({
            "name": node.name,
            "does": does(node),
            "notes": notes(node),
            "from": from(graph, node),
            "stands_for": node.stands_for,
            "pure": node.is_pure,
            "estimate": node.estimate,
            "measured": took(index, node, measured),
        })
    };
    let graph = |(index, graph): (usize, &crate::plan::Graph)| {
        let nodes: Vec<Value> = graph.nodes.iter().map(|n| node(index, graph, n)).collect();
        json!({ "graph": index, "nodes": nodes, "output": graph.output.map(|port| describe::port(graph, port)) })
    };
    json!({
        "flow": plan.flow,
        "plan": plan.id,
        "program": plan.program,
        "passes": plan.passes,
        "bytes_between": plan.bytes_between(),
        "root": plan.root,
        "graphs": plan.graphs.iter().enumerate().map(graph).collect::<Vec<_>>(),
    })
}

fn took<'a>(graph: usize, node: &Node, measured: Option<&'a Measures>) -> Option<&'a Measure> {
    measured?.get(&format!("{graph}/{}", node.name))
}

fn numbers(estimate: &Estimate, measured: Option<&Measure>) -> String {
    let Estimate { items, calls, bytes_out, micros, .. } = estimate;
    let mut parts = Vec::new();
    if *items > 1 {
        parts.push(format!("{items} items"));
    }
    if *calls > 0 {
        parts.push(called(*calls));
    }
    parts.push(bytes(*bytes_out));
    if *micros > 0 {
        parts.push(time(*micros));
    }
    let expected = parts.join(", ");
    match measured {
        None => expected,
        Some(Measure { calls, bytes_out, millis, .. }) => {
            format!(
                "{expected}; took {}, {}, {}",
                called(*calls),
                bytes(*bytes_out),
                time(millis.saturating_mul(1_000))
            )
        }
    }
}

fn called(calls: u64) -> String {
    format!("{calls} {}", if calls == 1 { "call" } else { "calls" })
}

fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}
