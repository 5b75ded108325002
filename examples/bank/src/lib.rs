//! Accounts that pay each other, now or later.
//!
//! A payment is two turns: one takes the money out of an account and tells the other, one takes it in there. The message
//! is part of the first turn's commit and takes effect exactly once, so money is neither lost nor made, whatever dies
//! when. While the message is on its way, the money is in neither account.

use std::time::Duration;

use stride::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Account {
    cents: u64,
    /// How many payments have left.
    payments: u64,
    /// How many entries the statement has.
    entries: u64,
}

/// Money on its way to another account.
#[derive(Serialize, Deserialize)]
struct Payment {
    /// Whoever pays chooses it; the statements of both accounts carry it.
    id: String,
    to: String,
    cents: u32,
    #[serde(default)]
    memo: String,
}

/// One line of a statement.
#[derive(Serialize, Deserialize)]
struct Entry {
    payment: String,
    /// The other account.
    with: String,
    /// What came in; negative for what left.
    cents: i64,
    memo: String,
}

#[stride::agent]
impl Account {
    fn balance(&self) -> u64 {
        self.cents
    }

    /// How many payments have left.
    fn payments(&self) -> u64 {
        self.payments
    }

    /// What another account has.
    fn balance_of(&self, other: String) -> Result<u64, Failure> {
        stride::agent("account", other).ask("balance", &())
    }

    /// Cash comes in.
    fn deposit(&mut self, cents: u32) -> u64 {
        self.cents += u64::from(cents);
        self.cents
    }

    /// Pays another account; the answer is which payment of this account it was.
    fn pay(&mut self, payment: Payment) -> Result<u64, Failure> {
        let Some(left) = self.cents.checked_sub(payment.cents.into()) else {
            let message = format!("the account has {} cents and cannot pay {}", self.cents, payment.cents);
            return Err(Failure::new(Code::GuestError, message));
        };
        self.cents = left;
        self.payments += 1;
        self.enter(&payment.id, &payment.to, -i64::from(payment.cents), &payment.memo)?;
        let from = stride::Agent::current().map_or_else(String::new, |this| this.key().to_owned());
        stride::agent("account", payment.to.as_str()).tell("receive", &(from, payment))?;
        Ok(self.payments)
    }

    /// Pays when the time has come; a payment of the same name that is still to come is replaced.
    fn pay_later(&mut self, milliseconds: u64, payment: Payment) -> Result<(), Failure> {
        timer::set(&payment.id, timer::after(Duration::from_millis(milliseconds)), "pay", &payment)
    }

    /// What `pay` of another account tells this one.
    fn receive(&mut self, from: String, payment: Payment) -> Result<(), Failure> {
        self.cents += u64::from(payment.cents);
        self.enter(&payment.id, &from, payment.cents.into(), &payment.memo)
    }

    /// The statement, page by page: the lines from this one on.
    fn statement(&self, from: u64) -> Result<Vec<Entry>, Failure> {
        const PAGE: u64 = 1_000;
        (from..self.entries.min(from + PAGE)).filter_map(|n| state::get(&line(n)).transpose()).collect()
    }
}

impl Account {
    /// Adds a line to the statement. It is in the keyed map, so that a turn of an old account costs no more than one of
    /// a new one.
    fn enter(&mut self, payment: &str, with: &str, cents: i64, memo: &str) -> Result<(), Failure> {
        let entry = Entry { payment: payment.into(), with: with.into(), cents, memo: memo.into() };
        state::set(&line(self.entries), &entry)?;
        self.entries += 1;
        Ok(())
    }
}

fn line(n: u64) -> String {
    format!("entry/{n:010}")
}
