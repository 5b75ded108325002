//! A plan as a picture: nodes in layers, each behind those it needs, one block for each graph.

use super::{bytes, describe::does, numbers, took};
use crate::plan::{Graph, Measures, Plan, Port};

const BOX: (usize, usize) = (260, 58);
const GAP: (usize, usize) = (24, 40);
const MARGIN: usize = 20;

/// The picture as the text of an SVG file.
pub fn svg(plan: &Plan, measured: Option<&Measures>) -> String {
    let (mut body, mut top, mut right) = (String::new(), MARGIN, BOX.0);
    for (index, graph) in plan.graphs.iter().enumerate().rev() {
        let title = if index == plan.root { plan.flow.to_string() } else { format!("graph {index}") };
        body += &format!("<text x=\"{MARGIN}\" y=\"{}\" class=\"title\">{}</text>\n", top + 12, escaped(&title));
        top += 28;
        let places = places(graph, top);
        for (node, (x, y)) in graph.nodes.iter().zip(&places) {
            for (port, is_order) in node
                .inputs
                .ports()
                .into_iter()
                .map(|port| (port, false))
                .chain(node.after.iter().map(|port| (*port, true)))
            {
                if let Port::Node(at) = port {
                    let label = if is_order { String::new() } else { bytes(graph.nodes[at].estimate.bytes_out) };
                    body += &edge(places[at], (*x, *y), is_order, &label);
                }
            }
        }
        for (node, (x, y)) in graph.nodes.iter().zip(&places) {
            let class = if node.is_pure { "pure" } else { "effect" };
            body += &format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\" class=\"{class}\"/>\n",
                BOX.0, BOX.1
            );
            let lines = [node.name.to_string(), does(node), numbers(&node.estimate, took(index, node, measured))];
            for (line, text) in lines.iter().enumerate() {
                let class = if line == 0 { "name" } else { "small" };
                let y = y + 16 + line * 17;
                body +=
                    &format!("<text x=\"{}\" y=\"{y}\" class=\"{class}\">{}</text>\n", x + 8, escaped(&short(text)));
            }
            right = right.max(x + BOX.0);
        }
        top = places.iter().map(|(_, y)| y + BOX.1).max().unwrap_or(top) + GAP.1;
    }
    let (width, height) = (right + MARGIN, top + MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>text{{font:12px sans-serif;fill:#222}}.title,.name{{font-weight:bold}}.small{{font-size:11px}}\
         rect{{stroke:#555}}.pure{{fill:#e8f4ea}}.effect{{fill:#fdf0dd}}path{{fill:none;stroke:#777}}.order{{stroke-dasharray:4 3}}</style>\n\
         {body}</svg>\n"
    )
}

/// Where each node's box is: its layer is one behind the last of those it needs.
fn places(graph: &Graph, top: usize) -> Vec<(usize, usize)> {
    let mut layers: Vec<usize> = Vec::new();
    let mut filled: Vec<usize> = Vec::new();
    let mut places = Vec::new();
    for node in &graph.nodes {
        let layer_of = |port: &Port| match port {
            Port::Node(at) => layers.get(*at).map_or(0, |layer| layer + 1),
            Port::Input => 0,
        };
        let layer = node.inputs.ports().iter().chain(&node.after).map(layer_of).max().unwrap_or_default();
        layers.push(layer);
        filled.resize(filled.len().max(layer + 1), 0);
        places.push((MARGIN + filled[layer] * (BOX.0 + GAP.0), top + layer * (BOX.1 + GAP.1)));
        filled[layer] += 1;
    }
    places
}

fn edge(from: (usize, usize), to: (usize, usize), is_order: bool, label: &str) -> String {
    let (x1, y1, x2, y2) = (from.0 + BOX.0 / 2, from.1 + BOX.1, to.0 + BOX.0 / 2, to.1);
    let middle = usize::midpoint(y1, y2);
    let class = if is_order { " class=\"order\"" } else { "" };
    let path = format!("<path{class} d=\"M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}\"/>\n");
    path + &format!(
        "<text x=\"{}\" y=\"{}\" class=\"small\">{}</text>\n",
        usize::midpoint(x1, x2) + 4,
        middle + 4,
        escaped(label)
    )
}

fn short(text: &str) -> String {
    if text.chars().count() <= 42 { text.to_owned() } else { text.chars().take(41).chain(['…']).collect() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
