//! The plan: one of the candidates, and everything that was known when it was chosen.
//!
//! Always true: the chosen node is one that has a score. A refusal has a reason for every node.

use std::fmt;

use bytesize::ByteSize;
use stride_ids::Code;
use stride_sim::Chance;

use crate::{
    id::NodeId,
    input::{Input, Request},
    score::{Candidate, Reason, Score, Verdict, rank},
};

/// How many of a thousand plans try another node than the best, so that what is known of it is not all that ever will be.
pub const EXPLORE_PER_MILLE: u64 = 5;

/// Why the node was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Its score is the lowest.
    Lowest,
    /// It is the better of two that were drawn, so that exploring does not send work to the longest queue.
    Explored,
}

/// Where the work runs, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    chosen: usize,
    score: Score,
    choice: Choice,
    candidates: Vec<Candidate>,
    referenced: ByteSize,
}

impl Plan {
    /// Where the work runs.
    pub fn node(&self) -> &NodeId {
        &self.candidates[self.chosen].node
    }

    /// The score of that node.
    pub fn score(&self) -> Score {
        self.score
    }

    /// Why it was chosen.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// All nodes, the best first, the refused ones last.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The bytes that the request refers to.
    pub fn referenced(&self) -> ByteSize {
        self.referenced
    }
}

/// No node may take the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    refused: Vec<(NodeId, Reason)>,
    referenced: ByteSize,
}

impl Refusal {
    /// Every node, with the reason why not there. Empty if no node is known.
    pub fn refused(&self) -> &[(NodeId, Reason)] {
        &self.refused
    }

    /// The bytes that the request refers to.
    pub fn referenced(&self) -> ByteSize {
        self.referenced
    }

    /// What the caller should do: wait, if a node is merely full; change labels, if they alone are in the way.
    pub fn code(&self) -> Code {
        let mut reasons = self.refused.iter().map(|(_, reason)| reason);
        if reasons.clone().any(|reason| matches!(reason, Reason::Full { .. })) {
            return Code::Overloaded;
        }
        let forbidden = !self.refused.is_empty() && reasons.all(|reason| matches!(reason, Reason::Label { .. }));
        if forbidden { Code::CapabilityDenied } else { Code::Unavailable }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refused.as_slice() {
            [] => f.write_str("no node is known"),
            [(node, reason)] => write!(f, "no node may take this: {node} {reason}"),
            [(node, reason), rest @ ..] => {
                write!(f, "none of {} nodes may take this: {node} {reason}; {} more", rest.len() + 1, rest.len())
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Decides where the work runs: the best candidate, or, for a small share, another one.
pub fn plan(input: &Input, request: &Request, chance: &Chance) -> Result<Plan, Refusal> {
    let referenced = ByteSize(request.references.iter().fold(0, |sum, r| sum.saturating_add(r.size.0)));
    let candidates = rank(input, request);
    let scored = candidates.iter().take_while(|c| matches!(c.verdict, Verdict::Scored(_))).count();
    let (chosen, choice) = if scored > 1 && chance.hits(EXPLORE_PER_MILLE) {
        let draw = || chance.below(scored as u64) as usize;
        (draw().min(draw()), Choice::Explored)
    } else {
        (0, Choice::Lowest)
    };
    let score = match candidates.get(chosen) {
        Some(Candidate { verdict: Verdict::Scored(score), .. }) => *score,
        _ => return Err(Refusal { refused: candidates.into_iter().filter_map(reason).collect(), referenced }),
    };
    Ok(Plan { chosen, score, choice, candidates, referenced })
}

fn reason(candidate: Candidate) -> Option<(NodeId, Reason)> {
    match candidate.verdict {
        Verdict::Refused(reason) => Some((candidate.node, reason)),
        Verdict::Scored(_) => None,
    }
}
