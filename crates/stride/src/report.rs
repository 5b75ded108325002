//! How a command ends badly: what happened, why, what next on stderr, and the exit status.

use std::{fmt, io, process::ExitCode};

use crate::client;

/// 1 the work failed, 2 wrong usage, 3 the node cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
}

/// What went wrong, in the three parts that a person needs.
#[derive(Debug)]
pub(crate) struct Trouble {
    status: Status,
    what: String,
    why: Option<String>,
    next: Option<String>,
}

impl Trouble {
    fn new(status: Status, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), why: None, next: None }
    }

    /// The work failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Status::Failed, what)
    }

    /// What has to be asked does not answer.
    pub(crate) fn unreachable(what: impl Into<String>) -> Self {
        Self::new(Status::Unreachable, what)
    }

    /// What was typed makes no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Status::Usage, what)
    }

    pub(crate) fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.why.iter().try_for_each(|why| write!(f, "\n  why:  {}", why.replace('\n', "\n        ")))?;
        self.next.iter().try_for_each(|next| write!(f, "\n  next: {next}"))
    }
}

impl std::error::Error for Trouble {}

/// The work failed and everything about it has been said.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(crate) struct Said;

/// Tells what went wrong and gives the exit status.
pub(crate) fn end(error: &anyhow::Error) -> ExitCode {
    if error.is::<Said>() {
        return ExitCode::from(Status::Failed as u8);
    }
    // Whoever reads our output has read enough, as `head` does.
    if error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let trouble = explain(error);
    eprintln!("error: {trouble}");
    ExitCode::from(trouble.status as u8)
}

fn explain(error: &anyhow::Error) -> Trouble {
    let copy =
        |t: &Trouble| Trouble { status: t.status, what: t.what.clone(), why: t.why.clone(), next: t.next.clone() };
    if let Some(trouble) = error.downcast_ref::<Trouble>() {
        return copy(trouble);
    }
    match error.downcast_ref::<client::Error>() {
        Some(client::Error::Unreachable { url, why }) => {
            let next = "start a node with `stride up`, or name a running one with --url or STRIDE_URL";
            Trouble::new(Status::Unreachable, format!("the node at {url} cannot be reached")).why(why).next(next)
        }
        Some(client::Error::Refused { code, detail, .. }) => {
            let what = Trouble::failed(format!("the node refused ({code})")).why(detail);
            match advice(code) {
                Some(next) => what.next(next),
                None => what,
            }
        }
        None => {
            let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
            let what = Trouble::failed(error.to_string());
            if causes.is_empty() { what } else { what.why(causes.join(": ")) }
        }
    }
}

/// What to do about a code. The node's message says what is wrong; this says where to turn.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "not_found" => {
            "`stride deployments` lists what can be called, `stride agents ls` the agents, `stride ls` the buckets"
        }
        "invalid_request" => "change the request; the same one would be refused again",
        "payload_too_large" => "send less, or split it over several calls",
        "guest_trap" => "`stride logs` shows what the component printed before it stopped; then fix and deploy it",
        "guest_error" => "the component refused this input; change the input or the component",
        "limit_memory" => "raise `memory` in stride.toml and deploy again, or give it less to do",
        "limit_time" => "raise `timeout` in stride.toml and deploy again, or give it less to do",
        "capability_denied" => "grant it under [capabilities] in stride.toml and deploy again",
        "reentrant_call" => "the agents ask each other in a circle; change one of them",
        "conflict" => "resolve what the reason names; a new request needs a new idempotency key",
        "overloaded" => "wait a moment and try again",
        "deadline_exceeded" => "allow more with --deadline; repeat an ask safely with the same --idempotency-key",
        "unavailable" => "try again later; the node's own output says why",
        "internal" => "the node's own output says more; please report it",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_contract_has_advice() {
        assert!(stride_ids::Code::ALL.iter().all(|code| advice(code.as_str()).is_some()));
    }

    #[test]
    fn a_report_says_what_why_and_next_and_names_the_code() {
        let refused =
            client::Error::Refused { code: "not_found".into(), detail: "no `shot`".into(), retry_after: None };
        let text = explain(&refused.into()).to_string();
        assert!(text.starts_with("the node refused (not_found)\n  why:  no `shot`\n  next: "), "{text}");
    }

    #[test]
    fn an_unreachable_node_has_a_status_of_its_own() {
        let gone = client::Error::Unreachable { url: "http://127.0.0.1:1".into(), why: "refused".into() };
        let trouble = explain(&gone.into());
        assert_eq!(trouble.status, Status::Unreachable);
        assert!(trouble.to_string().contains("stride up"));
    }

    #[test]
    fn causes_of_other_errors_are_told_once() {
        let error = anyhow::anyhow!("inner").context("middle").context("outer");
        assert_eq!(explain(&error).to_string(), "outer\n  why:  middle: inner");
    }
}
