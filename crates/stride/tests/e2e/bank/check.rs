//! The outside checker: whether what was asked and answered and what the statements say can both be true.

use std::collections::BTreeMap;

use serde::Deserialize;
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History},
    },
    specifications::Specification,
};

use super::{
    ACCOUNTS, DEPOSIT,
    clients::{Operation, Wish, pays_at_once},
};

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Line {
    pub(crate) payment: String,
    pub(crate) with: String,
    pub(crate) cents: i64,
}

/// By account: what it has, and its statement.
pub(crate) type Ledger = BTreeMap<String, (i64, Vec<Line>)>;

/// Everything that cannot be.
pub(crate) fn all(operations: &[Operation], ledger: &Ledger) -> Vec<String> {
    let mut broken = Vec::new();
    sums(ledger, &mut broken);
    payments(operations, ledger, &mut broken);
    order(ledger, &mut broken);
    numbers(operations, ledger, &mut broken);
    for account in ACCOUNTS.into_iter().filter(|account| pays_at_once(account)) {
        if !linearizable(operations, account) {
            broken.push(format!("the history of {account} is not linearizable"));
        }
    }
    broken
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
    for operation in operations.iter().filter(|operation| matches!(operation.wish, Wish::Pay { .. })) {
        let number = operation.answer.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let mut sent = ledger[operation.account].1.iter().filter(|line| line.cents < 0);
        if number.and_then(|number| sent.nth(number)).is_none_or(|line| line.payment != operation.id) {
            broken.push(format!("the statement does not agree with the answer: {operation:?}"));
        }
    }
}

/// What is known of an account's payments: that one left, with its number, or how many have.
#[derive(Clone, Debug)]
enum Access {
    Pay(Option<u64>),
    Count(Option<u64>),
}

/// How many payments have left an account.
struct Payments;

impl Specification for Payments {
    type State = u64;
    type Operation = Access;

    fn init() -> u64 {
        0
    }

    fn apply(operation: &Access, state: &u64) -> (bool, u64) {
        match operation {
            Access::Pay(number) => (*number == Some(state + 1), state + 1),
            Access::Count(number) => (*number == Some(*state), *state),
        }
    }
}

fn linearizable(operations: &[Operation], account: &str) -> bool {
    let mut events = Vec::new();
    for operation in operations.iter().filter(|operation| operation.account == account) {
        let access = match operation.wish {
            Wish::Pay { .. } => Access::Pay,
            Wish::Count => Access::Count,
            Wish::PayLater { .. } | Wish::PayTooMuch { .. } => continue,
        };
        let client = operation.client as usize;
        events.push((operation.called, (client, Action::Call(access(None)))));
        events.push((operation.answered, (client, Action::Response(access(operation.answer)))));
    }
    events.sort_by_key(|(at, _)| *at);
    let actions: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    actions.is_empty() || WGLChecker::<Payments>::is_linearizable(History::from_actions(actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(id: &str, to: &'static str, called: u64, answered: u64, answer: u64) -> Operation {
        let wish = Wish::Pay { to, cents: 5 };
        Operation { id: id.into(), client: called, account: "ann", wish, called, answered, answer: Some(answer) }
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

        // Each answer is right by itself, and yet the second payment was answered before the first was asked for.
        let late = [paid("1", "bob", 2, 3, 1), paid("2", "bob", 0, 1, 2)];
        finds(&late, &ledger, "not linearizable");
    }
}
