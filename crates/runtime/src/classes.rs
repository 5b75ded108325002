//! Classes of hardware, as far as nodes differ in them: what they cost, and how long functions run on each.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use stride_placement::{Hardware, Price};

use crate::{
    functions::{Function, Functions},
    others::Ran,
};

/// Of how many functions one report tells how long they run.
const RAN_MAX: usize = 256;

impl Functions {
    /// How long functions run on this node that ran since this was asked last.
    pub fn ran(&self) -> Vec<Ran> {
        let gates = self.gates.read();
        let news = gates.iter().filter(|(_, gate)| gate.has_run());
        let ran = news.map(|(((tenant, component, function), _), gate)| Ran {
            tenant: tenant.clone(),
            function: format!("{component}/{function}"),
            run: gate.own_run(),
        });
        ran.take(RAN_MAX).collect()
    }

    /// How long a function runs on each class of hardware, in the mean of the nodes that have it and where it ran. The empty class is
    /// any node.
    pub fn runs_by_class(&self, function: &Function) -> Vec<(String, Duration)> {
        let name = function.to_string();
        let own = Some(self.gate(function).own_run()).filter(|run| !run.is_zero());
        let own = self.registry.host().here().ok().zip(own).map(|(here, run)| (here.site.hardware.clone(), run));
        let others = self.others.get().map(|others| others.ran(&function.component.tenant, &name));
        means(own.into_iter().chain(others.into_iter().flatten()))
    }

    /// The classes of hardware that some nodes have and others do not, with the mean price of those that do; the empty class is any node. None if
    /// all nodes are the same.
    pub fn classes(&self) -> Vec<(String, Price)> {
        let Ok(here) = self.registry.host().here() else { return Vec::new() };
        let known = self.known(&here, &[], u32::MAX, &BTreeSet::new());
        let nodes = || known.nodes().map(|(_, node)| node);
        let of = |class: Option<&Hardware>| {
            let with = nodes().filter(|node| class.is_none_or(|class| node.hardware.contains(class)));
            let prices: Vec<u64> = with.map(|node| node.price.0).collect();
            (prices.len(), Price(prices.iter().sum::<u64>() / prices.len().max(1) as u64))
        };
        let (count, price) = of(None);
        let classes: BTreeSet<&Hardware> = nodes().flat_map(|node| &node.hardware).collect();
        let some = classes.into_iter().map(|class| (class, of(Some(class)))).filter(|(_, (with, _))| *with < count);
        let mut all: Vec<_> = some.map(|(class, (_, price))| (class.0.to_string(), price)).collect();
        if !all.is_empty() {
            all.push((String::new(), price));
        }
        all
    }
}

/// The mean of each class, and under the empty name that of all.
fn means(runs: impl Iterator<Item = (BTreeSet<Hardware>, Duration)>) -> Vec<(String, Duration)> {
    let mut sums: BTreeMap<String, (Duration, u32)> = BTreeMap::new();
    for (classes, run) in runs {
        for class in classes.iter().map(|class| class.0.to_string()).chain([String::new()]) {
            let (sum, count) = sums.entry(class).or_default();
            (*sum, *count) = (sum.saturating_add(run), *count + 1);
        }
    }
    sums.into_iter().map(|(class, (sum, count))| (class, sum / count)).collect()
}
