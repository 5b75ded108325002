//! Nodes one behind the other, each with the value of the one before.

use std::collections::BTreeMap;

use stride_flows::{
    Expr, NodeName,
    ir::{Body, Graph, In, Node, Op, Pass, Succeed},
};

pub(crate) struct Chain {
    nodes: BTreeMap<NodeName, Node>,
    /// Whose value comes next.
    pub(crate) last: NodeName,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self { nodes: BTreeMap::new(), last: NodeName::input() }
    }

    /// Adds a node for this state. It takes the value of the last one unless it says itself what it takes.
    pub(crate) fn push(&mut self, state: &str, suffix: &str, mut node: Node) {
        if node.input.is_none() {
            node.input = In::One(self.last.clone());
        }
        node.title = Some(state.to_owned());
        let name = self.free(state, suffix);
        self.nodes.insert(name.clone(), node);
        self.last = name;
    }

    /// Adds a value that is built.
    pub(crate) fn pass(&mut self, state: &str, suffix: &str, value: Expr) {
        if !value.is_input() {
            self.push(state, suffix, Node::new(Op::Pass(Pass { value })));
        }
    }

    /// Ends the whole scope with the last value.
    pub(crate) fn succeed(&mut self, state: &str) {
        self.push(state, "-end", Node::new(Op::Succeed(Succeed { value: Expr::default() })));
    }

    /// The only node there is.
    pub(crate) fn into_only(self) -> Result<Node, Self> {
        if self.nodes.len() != 1 {
            return Err(self);
        }
        let last = self.last;
        self.nodes.into_values().next().ok_or_else(|| Self { nodes: BTreeMap::new(), last })
    }

    pub(crate) fn into_graph(self) -> Graph {
        Graph { nodes: self.nodes, output: Some(self.last), ..Graph::default() }
    }

    pub(crate) fn into_body(self) -> Body {
        if self.nodes.is_empty() { Body::Expr(Expr::default()) } else { Body::Graph(self.into_graph()) }
    }

    /// A name of a node that nobody has yet, as like the state's as may be.
    fn free(&self, state: &str, suffix: &str) -> NodeName {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let plain: String = state.chars().take(40).map(|c| if is_part(c) { c } else { '-' }).collect();
        let base = format!("{}{suffix}", if plain.is_empty() { "state" } else { &plain });
        let tries = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
        let mut names = tries.filter_map(|name| NodeName::new(&name).ok());
        names.find(|name| !name.is_input() && !self.nodes.contains_key(name)).unwrap_or_else(NodeName::input)
    }
}
