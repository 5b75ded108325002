//! What looks wrong in an input or a plan. A finding is a hint for a person: planning goes on, and keeps to the labels,
//! whatever was found.

use std::{collections::BTreeSet, fmt, time::Duration};

use bytesize::ByteSize;

use crate::{
    id::{DatumId, Hardware, Label, NodeId},
    input::{Input, Node, Reference, Request},
    plan::Plan,
    score::{Candidate, Score, Verdict},
    time,
};

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is nowhere to run anything.
    NoNodes,
    /// A node runs nothing.
    NoSlots(NodeId),
    /// A node accepts less than it could run at once.
    AcceptsLessThanItRuns(NodeId),
    /// No data can come to a node.
    NoBandwidth(NodeId),
    /// A label is carried by no node, so its data may be nowhere.
    LabelNobodyCarries(Label),
    /// Each label of a datum is carried somewhere, but not all of them by one node.
    NobodyMayHold(DatumId),
    /// A node holds what it may not hold.
    HeldWhereForbidden {
        /// What it holds.
        datum: DatumId,
        /// Which node.
        node: NodeId,
        /// What the node does not carry.
        missing: Label,
    },
    /// A node says that it holds more of a datum than there is.
    HoldsMoreThanThereIs {
        /// What it holds.
        datum: DatumId,
        /// Which node.
        node: NodeId,
    },
    /// A request names a datum more than once.
    NamedTwice(DatumId),
    /// No node has the hardware that the work cannot run without.
    HardwareNobodyHas(Hardware),
    /// The plan moves everything that is referred to: no node that may run the work holds any of it.
    NothingHere(ByteSize),
    /// Wherever it runs, the work waits.
    WaitsEverywhere(Duration),
    /// Exploring: the score is worse than the best by this.
    Explores(Duration),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("no node is known"),
            Self::NoSlots(node) => write!(f, "{node} has no slots, so it runs nothing"),
            Self::AcceptsLessThanItRuns(node) => write!(f, "{node} accepts less than it has slots for"),
            Self::NoBandwidth(node) => write!(f, "{node} has no bandwidth, so it can only use what it holds"),
            Self::LabelNobodyCarries(label) => write!(f, "no node carries {label}"),
            Self::NobodyMayHold(datum) => write!(f, "no node carries all labels of {datum}"),
            Self::HeldWhereForbidden { datum, node, missing } => {
                write!(f, "{node} holds {datum} without carrying {missing}; delete that copy")
            }
            Self::HoldsMoreThanThereIs { datum, node } => write!(f, "{node} holds more of {datum} than is referred to"),
            Self::NamedTwice(datum) => write!(f, "{datum} is named more than once, and counted each time"),
            Self::HardwareNobodyHas(hardware) => write!(f, "no node has {hardware}"),
            Self::NothingHere(size) => write!(f, "no node that may run this holds any of its {size}"),
            Self::WaitsEverywhere(wait) => {
                write!(f, "every node that may run this is busy, for {} at least", time::millis(*wait))
            }
            Self::Explores(cost) => write!(f, "exploring, at a score that is {} worse", time::millis(*cost)),
        }
    }
}

/// What looks wrong in what is known, and in what is asked for.
pub fn lint(input: &Input, request: &Request) -> Vec<Finding> {
    let mut findings = Vec::new();
    if input.nodes().next().is_none() {
        return vec![Finding::NoNodes];
    }
    for (id, node) in input.nodes() {
        if node.slots == 0 {
            findings.push(Finding::NoSlots(id.clone()));
        } else if node.accepted_max < node.slots {
            findings.push(Finding::AcceptsLessThanItRuns(id.clone()));
        }
        if node.link.rate.0 == 0 {
            findings.push(Finding::NoBandwidth(id.clone()));
        }
    }
    for hardware in &request.hardware {
        if input.nodes().all(|(_, node)| !node.hardware.contains(hardware)) {
            findings.push(Finding::HardwareNobodyHas(hardware.clone()));
        }
    }
    let mut named = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for reference in &request.references {
        if named.insert(&reference.datum) {
            findings.extend(lint_reference(input, reference));
        } else if twice.insert(&reference.datum) {
            findings.push(Finding::NamedTwice(reference.datum.clone()));
        }
    }
    findings
}

fn lint_reference(input: &Input, reference: &Reference) -> Vec<Finding> {
    let uncarried = |label: &&Label| !input.nodes().any(|(_, node)| node.labels.iter().any(|l| l == *label));
    let mut findings: Vec<_> =
        reference.labels.iter().filter(uncarried).cloned().map(Finding::LabelNobodyCarries).collect();
    let forbidden = |node: &Node| reference.labels.missing_from(&node.labels).is_some();
    if findings.is_empty() && input.nodes().all(|(_, node)| forbidden(node)) {
        findings.push(Finding::NobodyMayHold(reference.datum.clone()));
    }
    for (id, holding) in input.holders(&reference.datum) {
        let missing = input.node(id).and_then(|node| reference.labels.missing_from(&node.labels));
        let (datum, node) = (reference.datum.clone(), id.clone());
        if let Some(missing) = missing {
            findings.push(Finding::HeldWhereForbidden { datum, node, missing: missing.clone() });
        } else if holding.here > reference.size {
            findings.push(Finding::HoldsMoreThanThereIs { datum, node });
        }
    }
    findings
}

/// What looks wrong in a plan.
pub fn lint_plan(plan: &Plan) -> Vec<Finding> {
    let scored = |candidate: &Candidate| match &candidate.verdict {
        Verdict::Scored(score) => Some(*score),
        Verdict::Refused(_) => None,
    };
    let scores: Vec<Score> = plan.candidates().iter().filter_map(scored).collect();
    let mut findings = Vec::new();
    if plan.referenced().0 > 0 && scores.iter().all(|score| score.here.0 == 0) {
        findings.push(Finding::NothingHere(plan.referenced()));
    }
    match scores.iter().map(|score| score.wait).min() {
        Some(wait) if wait > Duration::ZERO => findings.push(Finding::WaitsEverywhere(wait)),
        _ => {}
    }
    let best = scores.first().map_or(Duration::ZERO, Score::total);
    if plan.score().total() > best {
        findings.push(Finding::Explores(plan.score().total() - best));
    }
    findings
}
