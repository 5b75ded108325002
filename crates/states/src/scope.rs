//! A scope: the states of a machine, of a branch or of an item, and where they lead.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::reader::{Fields, Reader};

/// How many states a scope may have: what follows from where they lead is found by looking at all pairs.
const STATES_MAX: usize = 1_000;

pub(crate) struct Scope<'a> {
    pub(crate) start: &'a str,
    states: BTreeMap<&'a str, Fields<'a>>,
    /// What each state leads to, errors included.
    next: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// All that can be reached from each, and all that can be without an error.
    reach: BTreeMap<&'a str, BTreeSet<&'a str>>,
    smooth: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Scope<'a> {
    pub(crate) fn fields(&self, state: &str) -> Option<&Fields<'a>> {
        self.states.get(state)
    }

    /// The states that lead to this one and that it leads to. Empty: it is in no loop.
    pub(crate) fn cycle(&self, state: &str) -> BTreeSet<&'a str> {
        let back = |other: &&&str| self.reach.get(**other).is_some_and(|reach| reach.contains(state));
        self.reach.get(state).into_iter().flatten().filter(back).copied().collect()
    }

    /// Where a loop leads out to.
    pub(crate) fn exits(&self, cycle: &BTreeSet<&'a str>) -> Vec<&'a str> {
        let next: BTreeSet<&str> = cycle.iter().filter_map(|state| self.next.get(state)).flatten().copied().collect();
        next.difference(cycle).copied().collect()
    }

    /// Where several ways come together again, which stands behind them: the first state that two of them lead to; else the way that leads to where
    /// the part ends, or that is longer than the others.
    pub(crate) fn join(&self, ways: &BTreeSet<&'a str>, stop: Option<&str>) -> Option<&'a str> {
        let after = |way: &&'a str| self.smooth.get(way).into_iter().flatten().copied().chain([*way]);
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for state in ways.iter().flat_map(|way| after(way).collect::<BTreeSet<_>>()) {
            *count.entry(state).or_default() += 1;
        }
        let shared: Vec<&str> = count.iter().filter(|(_, count)| **count > 1).map(|(state, _)| *state).collect();
        // The first of them leads to most.
        if let Some(first) = shared.into_iter().max_by_key(|state| self.smooth.get(state).map_or(0, BTreeSet::len)) {
            return Some(first);
        }
        if let Some(way) = ways.iter().find(|way| after(way).any(|state| Some(state) == stop)) {
            return Some(way);
        }
        let len = |way: &&&'a str| self.smooth.get(**way).map_or(0, BTreeSet::len);
        let longest = ways.iter().max_by_key(len)?;
        let is_only = ways.iter().filter(|way| len(way) == len(&longest)).count() == 1;
        is_only.then_some(*longest)
    }
}

impl Reader<'_> {
    /// `StartAt` and `States`, if they are in order.
    pub(crate) fn states<'v>(&mut self, fields: &Fields<'v>) -> Option<Scope<'v>> {
        let start = self.needed_text(fields, "StartAt");
        let place = fields.at("States");
        let all = self.needed(fields, "States").and_then(|states| self.fields(states, place.clone()))?;
        if all.map.len() > STATES_MAX {
            let what = format!("{} states are too many", all.map.len());
            self.problem(&place, what, format!("take {STATES_MAX} at most, and put a part into a machine of its own"));
            return None;
        }
        let mut states = BTreeMap::new();
        let (mut next, mut smooth) = (BTreeMap::new(), BTreeMap::new());
        for (name, state) in all.map {
            let Some(state) = self.fields(state, all.at(name)) else { continue };
            let (ways, caught) = (ways(&state), caught(&state));
            for (at, target) in ways.iter().chain(&caught) {
                if !all.map.contains_key(*target) {
                    self.problem(
                        &format!("{}{at}", state.place),
                        format!("there is no state `{target}`"),
                        "name one of this scope",
                    );
                }
            }
            let targets = |ways: &[(String, &'v str)]| ways.iter().map(|(_, to)| *to).collect::<BTreeSet<_>>();
            smooth.insert(name.as_str(), targets(&ways));
            next.insert(name.as_str(), &targets(&ways) | &targets(&caught));
            states.insert(name.as_str(), state);
        }
        let start = start?;
        if !states.contains_key(start) {
            self.problem(&fields.at("StartAt"), format!("there is no state `{start}`"), "name one of this scope");
            return None;
        }
        let reach = closure(&next);
        for name in states.keys().filter(|name| **name != start && !reach[start].contains(*name)) {
            self.problem(&all.at(name), "nothing leads to this state", "remove it, or lead to it");
        }
        Some(Scope { start, states, next, reach, smooth: closure(&smooth) })
    }
}

/// Where a state leads to unless it fails, with the place below the state.
fn ways<'a>(state: &Fields<'a>) -> Vec<(String, &'a str)> {
    let mut found = Vec::new();
    for name in ["Next", "Default"] {
        found.extend(state.get(name).and_then(Value::as_str).map(|to| (format!("/{name}"), to)));
    }
    found.extend(listed(state, "Choices"));
    found
}

fn caught<'a>(state: &Fields<'a>) -> Vec<(String, &'a str)> {
    listed(state, "Catch")
}

fn listed<'a>(state: &Fields<'a>, name: &str) -> Vec<(String, &'a str)> {
    let rules = state.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let to = |(index, rule): (usize, &'a Value)| Some((format!("/{name}/{index}/Next"), rule.get("Next")?.as_str()?));
    rules.iter().enumerate().filter_map(to).collect()
}

/// All that can be reached from each in one step or more.
fn closure<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let from = |start: &&'a str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut left = vec![*start];
        while let Some(state) = left.pop() {
            left.extend(next.get(state).into_iter().flatten().copied().filter(|to| seen.insert(to)));
        }
        (*start, seen)
    };
    next.keys().map(from).collect()
}
