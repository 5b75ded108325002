//! What holds when a node fails: retry, timeout, catch, compensation; and where it should run.

use stride_ids::Name;

use super::{Checker, Found};
use crate::{
    ir::{Node, Op},
    limits::{RETRIES_MAX, TIME_MS_MAX},
    schema::Schema,
};

impl Checker<'_> {
    /// What is done instead or afterwards: what a `catch` gives, and what all of it may do.
    pub(super) fn policies(&mut self, at: &str, node: &Node, input: &Schema, result: &Schema, depth: usize) -> Found {
        for (index, retry) in node.retry.iter().enumerate() {
            let at = format!("{at}/retry/{index}");
            self.between(&format!("{at}/retries"), retry.retries, 0, RETRIES_MAX);
            self.between(&format!("{at}/backoff_ms"), retry.backoff_ms, 0, TIME_MS_MAX);
            self.between(&format!("{at}/rate"), retry.rate, 1.0, 100.0);
            self.errors(&at, &retry.errors);
        }
        if let Some(ms) = node.timeout_ms {
            self.between(&format!("{at}/timeout_ms"), ms, 1, TIME_MS_MAX);
            if matches!(node.op, Op::Pass(_) | Op::Fail(_) | Op::Succeed(_) | Op::Join(_)) {
                self.problem(&format!("{at}/timeout_ms"), "this operator takes no time", "remove the timeout");
            }
        }
        if let Some(expr) = &node.affinity {
            self.expr(&format!("{at}/affinity"), expr, input, &Schema::String);
        }
        if let Some(hardware) = &node.hardware
            && Name::new(hardware).is_err()
        {
            self.problem(
                &format!("{at}/hardware"),
                "this is no class of hardware",
                "name one that nodes have, such as `gpu`",
            );
        }
        let mut found = Vec::new();
        for (index, catch) in node.catch.iter().enumerate() {
            let at = format!("{at}/catch/{index}");
            self.errors(&at, &catch.errors);
            let caught = [("error", Schema::String), ("message", Schema::String), ("input", input.clone())];
            found.push(self.body(&format!("{at}/body"), &catch.body, &Schema::record(caught), depth));
        }
        let output = Schema::union(found.iter().map(|found| found.output.clone())).unwrap_or_default();
        if let Some(body) = &node.compensate {
            let done = Schema::record([("input", input.clone()), ("result", result.clone())]);
            found.push(self.body(&format!("{at}/compensate"), body, &done, depth));
        }
        Found { output, effects: found.into_iter().flat_map(|found| found.effects).collect() }
    }

    fn errors(&mut self, at: &str, errors: &[String]) {
        if errors.is_empty() {
            self.problem(&format!("{at}/errors"), "it fits no error", "name codes, or `*` for all");
        }
    }
}
