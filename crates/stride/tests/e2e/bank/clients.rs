//! Those who use the bank: each does one thing after another, and does it again under its key if no answer came.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use reqwest::StatusCode;
use stride_sim::{Chance, Clock};
use stride_torture::bank::Operation;

use crate::support::Node;

/// How much later a payment is made at most, if not at once.
const LATER_MAX: Duration = Duration::from_millis(100);

/// A node that is killed after so many answers.
pub(crate) struct Bank {
    pub(crate) node: Node,
    answers_left: AtomicU64,
}

impl Bank {
    pub(crate) fn open_until(node: Node, answers: u64) -> Self {
        let bank = Self { node, answers_left: AtomicU64::new(answers) };
        if answers == 0 {
            bank.node.send_signal("-KILL");
        }
        bank
    }

    fn answered(&self) {
        if self.answers_left.fetch_sub(1, SeqCst) == 1 {
            self.node.send_signal("-KILL");
        }
    }
}

pub(crate) struct Client {
    number: u64,
    chance: Chance,
    clock: Clock,
    done: Vec<Operation>,
    /// What has no answer yet.
    open: Option<Operation>,
}

impl Client {
    pub(crate) fn new(number: u64, seed: u64, clock: Clock) -> Self {
        Self { number, chance: Chance::seeded(seed), clock, done: Vec::new(), open: None }
    }

    /// Goes on until the node is gone.
    pub(crate) async fn work(&mut self, bank: &Bank) {
        while self.one(bank).await.is_some() {}
    }

    /// Gets the answer that is still open, and says all that was done.
    pub(crate) async fn finish(mut self, bank: &Bank) -> Vec<Operation> {
        if self.open.is_some() {
            assert!(self.one(bank).await.is_some(), "a node that nobody kills answers");
        }
        self.done
    }

    async fn one(&mut self, bank: &Bank) -> Option<()> {
        let mut operation = self.open.take().unwrap_or_else(|| self.wish());
        let answer = ask(&bank.node, &operation).await;
        let Some(answer) = answer else {
            self.open = Some(operation);
            return None;
        };
        operation.answer = answer;
        operation.answered = self.clock.now();
        self.done.push(operation);
        bank.answered();
        Some(())
    }

    fn wish(&self) -> Operation {
        let id = format!("{}-{}", self.number, self.done.len());
        Operation { called: self.clock.now(), ..Operation::draw(id, &self.chance, LATER_MAX) }
    }
}

/// The answer, or that it was refused; none at all if the node is gone.
async fn ask(node: &Node, operation: &Operation) -> Option<Option<u64>> {
    let (path, body) = operation.request();
    let response = node.post(&path, body).header("idempotency-key", &operation.id).send().await.ok()?;
    let status = response.status();
    let body = response.text().await.ok()?;
    let refused = operation.is_refused();
    let expected = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    assert_eq!(status, expected, "{operation:?}: {body}");
    Some(if refused { None } else { serde_json::from_str(&body).unwrap() })
}
