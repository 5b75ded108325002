//! The passes: each rewrites the plan, has a name, and can be switched off by it.

mod batch;
mod choose_hardware;
mod combine_before_shuffle;
mod fuse;
mod memoise;
mod place;
mod push_code_to_data;

use std::collections::{BTreeMap, BTreeSet};

use stride_placement::Input;

use super::{Plan, estimate};
use crate::{catalog::Function, check::nearest};

/// What passes may know beside the plan.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// Classes of hardware that there are, with their price. Empty: nothing is chosen.
    pub hardware: &'a [Hardware],
    /// The nodes, and what they hold. Without it nothing is placed before it runs.
    pub nodes: Option<&'a Input>,
}

/// A class of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Its name. Empty: the plain node.
    pub class: String,
    /// What an hour costs, in the unit of the nodes' prices.
    pub price: u64,
}

type Run = fn(&mut Plan, &BTreeMap<String, Function>, &Known<'_>);

/// Their order matters: what is fused can be pushed, what is pushed can be combined, and so on.
const ALL: [(&str, Run); 7] = [
    ("fuse", |plan, _, _| fuse::run(plan)),
    ("push_code_to_data", |plan, _, _| push_code_to_data::run(plan)),
    ("combine_before_shuffle", |plan, _, _| combine_before_shuffle::run(plan)),
    ("memoise", |plan, _, _| memoise::run(plan)),
    ("choose_hardware", choose_hardware::run),
    ("batch", |plan, functions, _| batch::run(plan, functions)),
    ("place", |plan, _, known| place::run(plan, known)),
];

/// The names of all passes, in their order.
pub const PASSES: [&str; 7] =
    ["fuse", "push_code_to_data", "combine_before_shuffle", "memoise", "choose_hardware", "batch", "place"];

/// Which passes are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes(BTreeSet<&'static str>);

impl Default for Passes {
    fn default() -> Self {
        Self::all()
    }
}

impl Passes {
    /// All.
    pub fn all() -> Self {
        Self(PASSES.into())
    }

    /// None: the plan does the program word by word.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// The same without one of them.
    pub fn without(mut self, name: &str) -> Result<Self, String> {
        self.0.remove(find(name)?);
        Ok(self)
    }

    /// The same with one of them.
    pub fn with(mut self, name: &str) -> Result<Self, String> {
        self.0.insert(find(name)?);
        Ok(self)
    }

    pub(super) fn run(
        &self,
        plan: &mut Plan,
        functions: &BTreeMap<String, Function>,
        known: &Known<'_>,
    ) -> Vec<String> {
        let mut ran = Vec::new();
        for (name, run) in ALL.iter().filter(|(name, _)| self.0.contains(name)) {
            estimate::fill(plan, functions);
            run(plan, functions, known);
            ran.push((*name).to_owned());
        }
        ran
    }
}

fn find(name: &str) -> Result<&'static str, String> {
    PASSES.into_iter().find(|known| *known == name).ok_or_else(|| {
        let hint = nearest(name, PASSES).map_or_else(|| PASSES.join(", "), |near| format!("did you mean `{near}`?"));
        format!("there is no pass `{name}`: {hint}")
    })
}
