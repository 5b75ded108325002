//! What `stride explain` prints: the chosen node, every candidate with the parts of its score, and why the others were refused.
//! As text for people, and as plain data that serialises for programs; both say the same.

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    plan::{Choice, Plan, Refusal},
    score::{Candidate, Reason, Verdict},
    time::millis,
};

/// A plan, or a refusal, as programs read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Where the work runs. Nowhere, if it was refused.
    pub node: Option<String>,
    /// Why there: `lowest` or `explored`; or `refused`.
    pub choice: &'static str,
    /// The bytes that the request refers to.
    pub referenced_bytes: u64,
    /// All nodes, the best first, the refused ones last.
    pub candidates: Vec<Line>,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// The work may run there.
    Scored {
        /// Which node.
        node: String,
        /// The sum of the three parts.
        score_ms: f64,
        /// Moving bytes.
        fetch_ms: f64,
        /// Waiting for a slot.
        wait_ms: f64,
        /// The price, as time.
        price_ms: f64,
        /// What it holds of the bytes that are referred to.
        here_bytes: u64,
    },
    /// It may not.
    Refused {
        /// Which node.
        node: String,
        /// Which reason, for programs.
        refused: &'static str,
        /// The same, for people.
        because: String,
    },
}

/// A plan as data.
pub fn json(plan: &Result<Plan, Refusal>) -> Explanation {
    match plan {
        Ok(plan) => Explanation {
            node: Some(plan.node().to_string()),
            choice: match plan.choice() {
                Choice::Lowest => "lowest",
                Choice::Explored => "explored",
            },
            referenced_bytes: plan.referenced().0,
            candidates: plan.candidates().iter().map(line).collect(),
        },
        Err(refusal) => Explanation {
            node: None,
            choice: "refused",
            referenced_bytes: refusal.referenced().0,
            candidates: refusal.refused().iter().map(|(node, reason)| refused(node.to_string(), reason)).collect(),
        },
    }
}

fn line(candidate: &Candidate) -> Line {
    let node = candidate.node.to_string();
    match &candidate.verdict {
        Verdict::Scored(score) => {
            let [score_ms, fetch_ms, wait_ms, price_ms] =
                [score.total(), score.fetch, score.wait, score.price].map(|time| time.as_secs_f64() * 1e3);
            Line::Scored { node, score_ms, fetch_ms, wait_ms, price_ms, here_bytes: score.here.0 }
        }
        Verdict::Refused(reason) => refused(node, reason),
    }
}

fn refused(node: String, reason: &Reason) -> Line {
    let kind = match reason {
        Reason::Label { .. } => "label",
        Reason::Hardware { .. } => "hardware",
        Reason::NoSlots => "no_slots",
        Reason::NoLink => "no_link",
        Reason::Full { .. } => "full",
    };
    Line::Refused { node, refused: kind, because: reason.to_string() }
}

/// A plan as a line that says what was decided, and a table that says why.
pub fn text(plan: &Result<Plan, Refusal>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["NODE", "SCORE", "= FETCH", "+ WAIT", "+ PRICE", "HERE", ""]);
    let said = match plan {
        Ok(plan) => {
            for candidate in plan.candidates() {
                table.add_row(row(plan, candidate));
            }
            let why = match plan.choice() {
                Choice::Lowest => "the lowest score",
                Choice::Explored => "drawn to explore",
            };
            format!("runs on {}: {why}", plan.node())
        }
        Err(refusal) => {
            for (node, reason) in refusal.refused() {
                table.add_row([node.to_string(), refused_cell(reason)]);
            }
            table.set_header(["NODE", ""]);
            format!("refused ({}): {refusal}", refusal.code())
        }
    };
    let mut lines = vec![said];
    if table.row_iter().next().is_some() {
        lines.extend(table.lines().map(|line| line.trim().to_owned()));
    }
    lines.join("\n")
}

fn row(plan: &Plan, candidate: &Candidate) -> Vec<String> {
    let node = candidate.node.to_string();
    match &candidate.verdict {
        Verdict::Scored(score) => {
            let here = if plan.referenced().0 == 0 {
                String::new()
            } else {
                format!("{} of {}", score.here, plan.referenced())
            };
            let note = if candidate.node == *plan.node() { "chosen" } else { "" };
            let [total, fetch, wait, price] = [score.total(), score.fetch, score.wait, score.price].map(millis);
            vec![node, total, fetch, wait, price, here, note.to_owned()]
        }
        Verdict::Refused(reason) => {
            let mut row = vec![String::new(); 7];
            row[0] = node;
            row[6] = refused_cell(reason);
            row
        }
    }
}

fn refused_cell(reason: &Reason) -> String {
    format!("refused: {reason}")
}
