//! What the agents `crate/NAME` remember.

use std::{collections::BTreeMap, process::Command, sync::Mutex, thread};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::node::Node;

/// How many questions are under way at a time.
const ASKERS: usize = 8;

/// One crate's totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) unparsed: u64,
    pub(crate) lines: u64,
    pub(crate) functions: u64,
    pub(crate) unsafe_blocks: u64,
    pub(crate) unsafe_fns: u64,
    pub(crate) unsafe_impls: u64,
}

/// The totals of every crate that the node knows, by name.
pub(crate) fn of(node: &Node) -> anyhow::Result<BTreeMap<String, Totals>> {
    let listed = output(node.stride().args(["agents", "ls", "crate", "--json"]))?;
    let Value::Array(agents) = listed else { bail!("agents ls did not answer with a list") };
    let names = agents.iter().map(|agent| agent["key"].as_str().map(str::to_owned).context("an agent without a key"));
    let names = Mutex::new(names.collect::<anyhow::Result<Vec<_>>>()?);
    let totals = Mutex::new(BTreeMap::new());
    let next = || names.lock().expect("nobody panics with the list").pop();
    let ask_all = || -> anyhow::Result<()> {
        while let Some(name) = next() {
            let answer = output(node.stride().args(["ask", &format!("crate/{name}"), "totals"]))?;
            let read = Totals::read(&answer).with_context(|| format!("the totals of {name}: {answer}"))?;
            totals.lock().expect("nobody panics with the totals").insert(name, read);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS).map(|_| scope.spawn(ask_all)).collect();
        askers.into_iter().try_for_each(|asker| asker.join().expect("an asker does not panic"))
    })?;
    Ok(totals.into_inner().expect("nobody panics with the totals"))
}

impl Totals {
    fn read(answer: &Value) -> anyhow::Result<Self> {
        let number = |field: &str| answer[field].as_u64().with_context(|| format!("{field} is missing"));
        Ok(Self {
            files: number("files")?,
            unparsed: number("unparsed")?,
            lines: number("lines")?,
            functions: number("functions")?,
            unsafe_blocks: number("unsafe_blocks")?,
            unsafe_fns: number("unsafe_fns")?,
            unsafe_impls: number("unsafe_impls")?,
        })
    }
}

/// The JSON that a command prints.
fn output(command: &mut Command) -> anyhow::Result<Value> {
    let output = command.output().context("cannot run stride")?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} did not print JSON"))
}
