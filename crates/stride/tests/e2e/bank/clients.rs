//! Those who use the bank: each does one thing after another, and does it again under its key if no answer came.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use stride_sim::Chance;

use super::ACCOUNTS;
use crate::support::Node;

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

/// What somebody wants of the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Pay {
        to: &'static str,
        cents: u32,
    },
    /// The same a little later, by a timer.
    PayLater {
        to: &'static str,
        cents: u32,
        milliseconds: u64,
    },
    /// More than anybody has.
    PayTooMuch {
        to: &'static str,
    },
    /// How many payments have left.
    Count,
}

/// One thing that was wished for, from the first time it was asked until its answer.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) client: u64,
    pub(crate) account: &'static str,
    pub(crate) wish: Wish,
    /// Two moments of one count of moments.
    pub(crate) called: u64,
    pub(crate) answered: u64,
    /// None if it was refused.
    pub(crate) answer: Option<u64>,
}

/// Half of the accounts pay at once, the other half later, so that how often the first have paid is known to who asked.
pub(crate) fn pays_at_once(account: &str) -> bool {
    ACCOUNTS.iter().position(|name| *name == account).is_some_and(|n| n % 2 == 0)
}

pub(crate) struct Client {
    number: u64,
    chance: Chance,
    moments: Arc<AtomicU64>,
    done: Vec<Operation>,
    /// What has no answer yet.
    open: Option<Operation>,
}

impl Client {
    pub(crate) fn new(number: u64, seed: u64, moments: Arc<AtomicU64>) -> Self {
        Self { number, chance: Chance::seeded(seed), moments, done: Vec::new(), open: None }
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
        operation.answered = self.moments.fetch_add(1, SeqCst);
        self.done.push(operation);
        bank.answered();
        Some(())
    }

    fn wish(&self) -> Operation {
        let any = || ACCOUNTS[self.chance.below(ACCOUNTS.len() as u64) as usize];
        let (account, to) = (any(), any());
        let cents = 1 + self.chance.below(500) as u32;
        let wish = match self.chance.below(10) {
            0 => Wish::PayTooMuch { to },
            1 | 2 => Wish::Count,
            _ if pays_at_once(account) => Wish::Pay { to, cents },
            _ => Wish::PayLater { to, cents, milliseconds: self.chance.below(100) },
        };
        Operation {
            id: format!("{}-{}", self.number, self.done.len()),
            client: self.number,
            account,
            wish,
            called: self.moments.fetch_add(1, SeqCst),
            answered: 0,
            answer: None,
        }
    }
}

/// The answer, or that it was refused; none at all if the node is gone.
async fn ask(node: &Node, operation: &Operation) -> Option<Option<u64>> {
    let id = &operation.id;
    let payment = |to: &str, cents: u32| json!({"id": id, "to": to, "cents": cents});
    let (method, body) = match &operation.wish {
        Wish::Pay { to, cents } => ("pay", payment(to, *cents)),
        Wish::PayLater { to, cents, milliseconds } => ("pay_later", json!([milliseconds, payment(to, *cents)])),
        Wish::PayTooMuch { to } => ("pay", payment(to, u32::MAX)),
        Wish::Count => ("payments", Value::Null),
    };
    let request = node.post(&format!("/v1/agents/account/{}/{method}", operation.account), body.to_string());
    let response = request.header("idempotency-key", id).send().await.ok()?;
    let status = response.status();
    let body = response.text().await.ok()?;
    let refused = matches!(operation.wish, Wish::PayTooMuch { .. });
    let expected = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    assert_eq!(status, expected, "{operation:?}: {body}");
    Some(if refused { None } else { serde_json::from_str(&body).unwrap() })
}
