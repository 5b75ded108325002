//! A bank, as its clients see it: what was asked and answered, and what the statements say in the end; and whether both can be true.
//!
//! Its guest is `examples/bank`. A payment is a turn, a message and, if it is for later, a timer; each carries an id, so whatever is
//! lost or happens twice shows.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_sim::Chance;

use crate::linear::{self, Access, Call, Counter};

/// Who has an account.
pub const ACCOUNTS: [&str; 6] = ["ann", "bob", "cid", "dot", "eve", "fay"];
/// What every account begins with, in cents.
pub const DEPOSIT: u32 = 1_000_000_000;

/// What somebody wants of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Wish {
    /// To pay somebody.
    Pay {
        /// Whom.
        to: &'static str,
        /// How much.
        cents: u32,
    },
    /// The same a little later, by a timer.
    PayLater {
        /// Whom.
        to: &'static str,
        /// How much.
        cents: u32,
        /// How much later.
        milliseconds: u64,
    },
    /// More than anybody has.
    PayTooMuch {
        /// Whom.
        to: &'static str,
    },
    /// How many payments have left.
    Count,
}

/// One thing that was wished for, from the first time it was asked until its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Under which it is asked, again and again until it is answered, and which the statements carry.
    pub id: String,
    /// Whose account.
    pub account: &'static str,
    /// What was wished for.
    pub wish: Wish,
    /// When it was asked for the first time.
    pub called: Duration,
    /// When it was answered.
    pub answered: Duration,
    /// None if it was refused.
    pub answer: Option<u64>,
}

impl Operation {
    /// Something to wish for. Half of the accounts pay at once, the other half within `later_max`, so that how often the first have paid is
    /// known to who asked.
    pub fn draw(id: String, chance: &Chance, later_max: Duration) -> Self {
        let any = || ACCOUNTS[usize::try_from(chance.below(ACCOUNTS.len() as u64)).unwrap_or_default()];
        let (account, to) = (any(), any());
        let cents = 1 + u32::try_from(chance.below(500)).unwrap_or_default();
        let later_max = u64::try_from(later_max.as_millis()).unwrap_or(u64::MAX);
        let wish = match chance.below(10) {
            0 => Wish::PayTooMuch { to },
            1 | 2 => Wish::Count,
            _ if pays_at_once(account) => Wish::Pay { to, cents },
            _ => Wish::PayLater { to, cents, milliseconds: chance.below(later_max) },
        };
        Self { id, account, wish, called: Duration::ZERO, answered: Duration::ZERO, answer: None }
    }

    /// The path and the body with which it is asked for.
    pub fn request(&self) -> (String, String) {
        let payment = |to: &str, cents: u32| json!({"id": self.id, "to": to, "cents": cents});
        let (method, body) = match &self.wish {
            Wish::Pay { to, cents } => ("pay", payment(to, *cents)),
            Wish::PayLater { to, cents, milliseconds } => ("pay_later", json!([milliseconds, payment(to, *cents)])),
            Wish::PayTooMuch { to } => ("pay", payment(to, u32::MAX)),
            Wish::Count => ("payments", Value::Null),
        };
        (format!("/v1/agents/account/{}/{method}", self.account), body.to_string())
    }

    /// Whether the bank has to refuse it.
    pub fn is_refused(&self) -> bool {
        matches!(self.wish, Wish::PayTooMuch { .. })
    }
}

fn pays_at_once(account: &str) -> bool {
    ACCOUNTS.iter().position(|name| *name == account).is_some_and(|n| n % 2 == 0)
}

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The id of the payment.
    pub payment: String,
    /// The other account.
    pub with: String,
    /// What came in; negative for what left.
    pub cents: i64,
}

/// By account: what it has, and its statement.
pub type Ledger = BTreeMap<String, (i64, Vec<Line>)>;

/// Everything that cannot be.
pub fn all(operations: &[Operation], ledger: &Ledger) -> Vec<String> {
    let mut broken = Vec::new();
    sums(ledger, &mut broken);
    payments(operations, ledger, &mut broken);
    order(ledger, &mut broken);
    numbers(operations, ledger, &mut broken);
    for account in ACCOUNTS.into_iter().filter(|account| pays_at_once(account)) {
        if let Err(refused) = linear::check(0, &payments_made(operations, account)) {
            broken.push(format!("the history of {account} is {refused}"));
        }
    }
    broken
}

/// What a client saw of the statements while it went on: lines, and when it saw each.
pub type Seen = BTreeMap<String, Vec<(Line, Duration)>>;

/// A timer that fired too early, or a line that somebody has seen and that is not there any more.
pub fn watched(operations: &[Operation], seen: &Seen, ledger: &Ledger, broken: &mut Vec<String>) {
    let due: HashMap<&str, Duration> = operations
        .iter()
        .filter_map(|operation| match operation.wish {
            // The node counts from when it takes the turn, in milliseconds.
            Wish::PayLater { milliseconds, .. } => {
                Some((operation.id.as_str(), operation.called + Duration::from_millis(milliseconds.saturating_sub(1))))
            }
            _ => None,
        })
        .collect();
    for (account, lines) in seen {
        for (line, at) in lines {
            if due.get(line.payment.as_str()).is_some_and(|due| at < due) {
                broken.push(format!("payment {} left {account} by a timer that fired too early", line.payment));
            }
        }
        let stated = ledger.get(account).map_or(&[][..], |(_, lines)| lines);
        if !stated.iter().zip(lines).all(|(stated, (seen, _))| stated == seen) || stated.len() < lines.len() {
            broken.push(format!("the statement of {account} does not begin with what was seen of it"));
        }
    }
}

/// No money was lost or made, and every account has what its statement says.
fn sums(ledger: &Ledger, broken: &mut Vec<String>) {
    let begun = i64::from(DEPOSIT);
    let sum: i64 = ledger.values().map(|(balance, _)| balance - begun).sum();
    if sum != 0 {
        broken.push(format!("{sum} cents were made out of nothing or lost"));
    }
    for (account, (balance, lines)) in ledger {
        let stated = begun + lines.iter().map(|line| line.cents).sum::<i64>();
        if *balance != stated {
            broken.push(format!("{account} has {balance} and its statement says {stated}"));
        }
    }
}

/// What was acknowledged left one account once and reached the other once; nothing else did.
fn payments(operations: &[Operation], ledger: &Ledger, broken: &mut Vec<String>) {
    let mut expected: Vec<(&str, Line)> = Vec::new();
    for Operation { id, account, wish, .. } in operations {
        if let Wish::Pay { to, cents } | Wish::PayLater { to, cents, .. } = wish {
            let line = |with: &str, cents| Line { payment: id.clone(), with: with.to_owned(), cents };
            expected.push((account, line(to, -i64::from(*cents))));
            expected.push((to, line(account, i64::from(*cents))));
        }
    }
    let mut counts: BTreeMap<_, i64> = BTreeMap::new();
    for (account, line) in &expected {
        *counts.entry((*account, line.payment.as_str(), line.with.as_str(), line.cents)).or_default() -= 1;
    }
    for (account, (_, lines)) in ledger {
        for line in lines {
            *counts.entry((account, &line.payment, &line.with, line.cents)).or_default() += 1;
        }
    }
    for ((account, payment, with, cents), surplus) in counts.into_iter().filter(|(_, surplus)| *surplus != 0) {
        broken.push(format!("{account} has {surplus:+} lines of payment {payment} of {cents} with {with}"));
    }
}

/// What one account pays another arrives in the order in which it left.
fn order(ledger: &Ledger, broken: &mut Vec<String>) {
    for (from, (_, sent)) in ledger {
        for (to, (_, received)) in ledger {
            let left = sent.iter().filter(|line| line.with == *to && line.cents < 0);
            let arrived = received.iter().filter(|line| line.with == *from && line.cents > 0);
            if !left.map(|line| &line.payment).eq(arrived.map(|line| &line.payment)) {
                broken.push(format!("what {from} paid {to} arrived in another order"));
            }
        }
    }
}

/// The answer to a payment says which one of its account it was, and the statement agrees.
fn numbers(operations: &[Operation], ledger: &Ledger, broken: &mut Vec<String>) {
    let sent: HashMap<&str, Vec<&str>> = ledger
        .iter()
        .map(|(account, (_, lines))| {
            let sent = lines.iter().filter(|line| line.cents < 0);
            (account.as_str(), sent.map(|line| line.payment.as_str()).collect())
        })
        .collect();
    for operation in operations.iter().filter(|operation| matches!(operation.wish, Wish::Pay { .. })) {
        let number = operation.answer.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let stated = number.and_then(|number| sent.get(operation.account)?.get(number).copied());
        if stated != Some(operation.id.as_str()) {
            broken.push(format!("the statement does not agree with the answer: {operation:?}"));
        }
    }
}

/// How many payments have left an account is a counter, which payments add to.
fn payments_made(operations: &[Operation], account: &str) -> Vec<Call<Counter>> {
    let of_account = operations.iter().filter(|operation| operation.account == account);
    let calls = of_account.filter_map(|operation| {
        let op = match operation.wish {
            Wish::Pay { .. } => Access::Add,
            Wish::Count => Access::Get,
            Wish::PayLater { .. } | Wish::PayTooMuch { .. } => return None,
        };
        Some(Call { op, called: operation.called, answered: Some((operation.answered, operation.answer?)) })
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(id: &str, to: &'static str, called: u64, answered: u64, answer: u64) -> Operation {
        let wish = Wish::Pay { to, cents: 5 };
        let [called, answered] = [called, answered].map(Duration::from_millis);
        Operation { id: id.into(), account: "ann", wish, called, answered, answer: Some(answer) }
    }

    /// Ann paid Bob twice, one after the other.
    fn sound() -> (Vec<Operation>, Ledger) {
        let line = |payment: &str, with: &str, cents| Line { payment: payment.into(), with: with.into(), cents };
        let begun = i64::from(DEPOSIT);
        let mut ledger: Ledger = ACCOUNTS.map(|account| (account.to_owned(), (begun, Vec::new()))).into();
        ledger.insert("ann".into(), (begun - 10, vec![line("1", "bob", -5), line("2", "bob", -5)]));
        ledger.insert("bob".into(), (begun + 10, vec![line("1", "ann", 5), line("2", "ann", 5)]));
        (vec![paid("1", "bob", 0, 1, 1), paid("2", "bob", 2, 3, 2)], ledger)
    }

    #[track_caller]
    fn finds(operations: &[Operation], ledger: &Ledger, expected: &str) {
        let broken = all(operations, ledger);
        assert!(broken.iter().any(|line| line.contains(expected)), "{broken:?} without `{expected}`");
    }

    #[test]
    fn what_is_sound_passes_and_every_kind_of_harm_is_found() {
        let (operations, ledger) = sound();
        assert_eq!(all(&operations, &ledger), Vec::<String>::new());

        let mut lost = ledger.clone();
        lost.get_mut("bob").unwrap().1.pop();
        finds(&operations, &lost, "bob has -1 lines of payment 2");
        finds(&operations, &lost, "its statement says");

        let mut doubled = ledger.clone();
        let (balance, lines) = doubled.get_mut("bob").unwrap();
        *balance += 5;
        lines.push(lines[1].clone());
        finds(&operations, &doubled, "5 cents were made");
        finds(&operations, &doubled, "bob has +1 lines of payment 2");

        let mut swapped = ledger.clone();
        swapped.get_mut("bob").unwrap().1.swap(0, 1);
        finds(&operations, &swapped, "in another order");

        finds(&operations[..1], &ledger, "+1 lines of payment 2");

        let mut numbered = operations;
        numbered[1].answer = Some(1);
        finds(&numbered, &ledger, "does not agree with the answer");
        finds(&numbered, &ledger, "not linearizable");

        let seen = |lines: &[Line]| -> Seen {
            let at = Duration::from_millis(9);
            [("bob".to_owned(), lines.iter().map(|line| (line.clone(), at)).collect())].into()
        };
        let mut broken = Vec::new();
        watched(&numbered, &seen(&ledger["bob"].1), &ledger, &mut broken);
        assert_eq!(broken, Vec::<String>::new());
        watched(&numbered, &seen(&ledger["bob"].1[1..]), &ledger, &mut broken);
        assert!(broken[0].contains("does not begin with"), "{broken:?}");
        let timer = |milliseconds| {
            let wish = Wish::PayLater { to: "bob", cents: 5, milliseconds };
            let mut broken = Vec::new();
            watched(&[Operation { wish, ..paid("1", "bob", 0, 1, 1) }], &seen(&ledger["bob"].1), &ledger, &mut broken);
            broken.len()
        };
        assert_eq!((timer(9), timer(11)), (0, 1));

        // Each answer is right by itself, and yet the second payment was answered before the first was asked for.
        let late = [paid("1", "bob", 2, 3, 1), paid("2", "bob", 0, 1, 2)];
        finds(&late, &ledger, "not linearizable");
    }
}
