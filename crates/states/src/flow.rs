//! From jumps to structure.
//!
//! A scope becomes a chain of nodes. Where ways part there is a `branch` (or a `catch`), and the chain goes on where they come together. States that lead back
//! to themselves are one `iterate`: its state is `{"at", "value"}`, and each round does the state that `at` names.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stride_flows::{
    Expr,
    ir::{AtBound, Body, Branch, Case, Graph, Iterate, Node, Op},
    limits::{GRAPH_DEPTH_MAX, NODES_MAX, ROUNDS_MAX},
};

use crate::{
    chain::Chain,
    reader::{Fields, Reader},
    scope::Scope,
};

/// What holds at the end of a part of a scope.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    /// Where it ends, because what follows stands behind it.
    pub(crate) stop: Option<&'a str>,
    /// Whether its value is the scope's. If not, a state that ends the scope has to say so.
    pub(crate) is_tail: bool,
    /// Whether it is one round of a loop, which gives where to go on.
    pub(crate) is_round: bool,
    /// How deep graphs are nested here.
    pub(crate) depth: usize,
}

impl Ends<'_> {
    pub(crate) fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl Reader<'_> {
    /// A machine, a branch or the processor of items.
    pub(crate) fn scope(&mut self, fields: &Fields<'_>, depth: usize) -> Option<Graph> {
        let scope = self.states(fields)?;
        let mut chain = Chain::new();
        self.follow(&scope, &mut chain, scope.start, Ends { stop: None, is_tail: true, is_round: false, depth });
        Some(chain.into_graph())
    }

    /// Translates from this state on, until the part ends.
    pub(crate) fn follow<'s>(&mut self, scope: &Scope<'s>, chain: &mut Chain, from: &'s str, ends: Ends<'s>) {
        let mut here = Some(from);
        while let Some(state) = here.filter(|state| ends.stop != Some(*state)) {
            self.translated += 1;
            if ends.depth > GRAPH_DEPTH_MAX || self.translated > NODES_MAX {
                let at = scope.fields(state).map(|fields| fields.place.clone()).unwrap_or_default();
                let what = format!("ways part more than {GRAPH_DEPTH_MAX} deep before this state, or too often");
                self.problem(&at, what, "let them come together earlier, or put a part into a machine of its own");
                return;
            }
            let cycle = scope.cycle(state);
            here = if cycle.is_empty() {
                self.state(scope, chain, state, ends)
            } else {
                self.cycle(scope, chain, state, &cycle, ends)
            };
        }
    }

    /// Where a state hands over to: to the next one, out of the round, or to the end of the scope.
    pub(crate) fn leave<'s>(
        &mut self,
        chain: &mut Chain,
        state: &str,
        next: Option<&'s str>,
        ends: Ends<'_>,
    ) -> Option<&'s str> {
        match next {
            Some(next) if ends.is_round => chain.pass(state, "-next", going_to(next, "$".into())),
            None if !ends.is_tail => chain.succeed(state),
            _ => return next,
        }
        None
    }

    /// Parts ways: a condition and a state for each, and the state if none holds. `value` is what is handed over.
    pub(crate) fn fork<'s>(
        &mut self,
        scope: &Scope<'s>,
        chain: &mut Chain,
        state: &'s str,
        ways: (Vec<(Expr, &'s str)>, Option<&'s str>),
        value: &Value,
        ends: Ends<'s>,
    ) -> Option<&'s str> {
        let (cases, otherwise) = ways;
        let targets: BTreeSet<&str> = cases.iter().map(|(_, to)| *to).chain(otherwise).collect();
        let join = if ends.is_round { None } else { scope.join(&targets, ends.stop) };
        let inner = join.map_or(ends, |_| Ends { stop: join, is_tail: false, ..ends }).deeper();
        let mut way = |to: &'s str| {
            if ends.is_round {
                return Body::Expr(going_to(to, value.clone()));
            }
            let mut chain = Chain::new();
            chain.pass(state, "-value", Expr::parse(value.clone()).unwrap_or_default());
            self.follow(scope, &mut chain, to, inner);
            chain.into_body()
        };
        let cases = cases.into_iter().map(|(when, to)| Case { when, body: way(to) }).collect();
        let otherwise = otherwise.map(way);
        chain.push(state, "", Node::new(Op::Branch(Branch { cases, otherwise })));
        join
    }

    fn cycle<'s>(
        &mut self,
        scope: &Scope<'s>,
        chain: &mut Chain,
        state: &'s str,
        cycle: &BTreeSet<&'s str>,
        ends: Ends<'s>,
    ) -> Option<&'s str> {
        let round = Ends { stop: None, is_tail: false, is_round: true, depth: ends.depth + 2 };
        let case = |member: &&'s str| {
            let mut chain = Chain::new();
            chain.pass(member, "-value", value_of_round());
            self.translated += 1;
            self.state(scope, &mut chain, member, round);
            Case { when: is_at([*member]), body: chain.into_body() }
        };
        let cases = cycle.iter().map(case).collect();
        let mut rounds = Chain::new();
        rounds.push(state, "", Node::new(Op::Branch(Branch { cases, otherwise: None })));
        let iterate = Iterate {
            state: going_to(state, "$".into()),
            body: rounds.into_body(),
            until: Some(
                Expr::parse(json!({ "$not": [is_at(cycle.iter().copied()).to_template()] })).unwrap_or_default(),
            ),
            rounds_max: ROUNDS_MAX,
            at_bound: AtBound::Fail,
        };
        chain.push(state, "-loop", Node::new(Op::Iterate(iterate)));
        let mut exits = scope.exits(cycle);
        let last = exits.pop()?;
        if exits.is_empty() {
            chain.pass(state, "-value", value_of_round());
            return Some(last);
        }
        let ways = exits.into_iter().map(|to| (is_at([to]), to)).collect();
        self.fork(scope, chain, state, (ways, Some(last)), &"$.value".into(), ends)
    }
}

/// What a round gives: where to go on, and with what. `value` is a template.
pub(crate) fn going_to(state: &str, value: Value) -> Expr {
    Expr::parse(json!({ "at": { "$literal": state }, "value": value })).unwrap_or_default()
}

fn value_of_round() -> Expr {
    Expr::path("$.value").unwrap_or_default()
}

fn is_at<'a>(states: impl IntoIterator<Item = &'a str>) -> Expr {
    let states: Vec<&str> = states.into_iter().collect();
    Expr::parse(json!({ "$in": ["$.at", { "$literal": states }] })).unwrap_or_default()
}
