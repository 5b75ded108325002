//! What an order process works with: functions that take money and give it back, agents that keep stock, payments and notices.
//!
//! The process itself is a flow, `order.json`. A function may be called again when a node dies before its answer is stored, so the agents do nothing twice for an order.

use std::collections::BTreeMap;

use stride::prelude::*;

#[cfg(test)]
mod tests;

const TILL: &str = "eu";

fn refuse(message: String) -> Failure {
    Failure::new(Code::GuestError, message)
}

/// What somebody pays.
#[derive(Clone, Serialize, Deserialize)]
struct Payment {
    order: String,
    cents: u32,
}

impl Payment {
    fn check(&self) -> Result<(), Failure> {
        if self.cents == 0 { Err(refuse(format!("order {} costs nothing", self.order))) } else { Ok(()) }
    }
}

/// Takes the money for an order. The answer is the number of the receipt.
#[stride::function]
fn pay(payment: Payment) -> Result<u32, Failure> {
    payment.check()?;
    stride::agent("till", TILL).ask("charge", &payment)
}

/// What compensation gets: what the step got, and what it gave.
#[derive(Serialize, Deserialize)]
struct Undo {
    input: Order,
    result: u32,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: String,
}

/// Gives the money back.
#[stride::function]
fn refund(undo: Undo) -> Result<(), Failure> {
    stride::agent("till", TILL).ask("refund", &(undo.input.id, undo.result))
}

/// Payments by receipt.
#[derive(Default, Serialize, Deserialize)]
struct Till {
    payments: Vec<Booked>,
}

#[derive(Serialize, Deserialize)]
struct Booked {
    payment: Payment,
    is_refunded: bool,
}

#[stride::agent]
impl Till {
    /// Takes the money, once for an order.
    fn charge(&mut self, payment: Payment) -> u32 {
        let known = self.payments.iter().position(|booked| booked.payment.order == payment.order);
        let at = known.unwrap_or(self.payments.len());
        if at == self.payments.len() {
            self.payments.push(Booked { payment, is_refunded: false });
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn refund(&mut self, order: String, receipt: u32) -> Result<(), Failure> {
        let booked = self.payments.get_mut(receipt as usize).filter(|booked| booked.payment.order == order);
        booked.ok_or_else(|| refuse(format!("receipt {receipt} is not of order {order}")))?.is_refunded = true;
        Ok(())
    }

    /// What is in the till.
    fn cents(&self) -> u64 {
        self.payments.iter().filter(|booked| !booked.is_refunded).map(|booked| u64::from(booked.payment.cents)).sum()
    }

    /// How many payments there were, those that were given back included.
    fn payments(&self) -> usize {
        self.payments.len()
    }
}

/// What is in stock, and what is put aside for orders.
#[derive(Default, Serialize, Deserialize)]
struct Warehouse {
    stock: BTreeMap<String, u32>,
    held: BTreeMap<String, Hold>,
    parcels: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Hold {
    order: String,
    item: String,
    count: u32,
}

#[derive(Serialize, Deserialize)]
struct Shipment {
    order: String,
    receipt: u32,
}

#[stride::agent]
impl Warehouse {
    /// Goods come in.
    fn fill(&mut self, item: String, count: u32) -> u32 {
        let stock = self.stock.entry(item).or_default();
        *stock += count;
        *stock
    }

    /// Puts goods aside, once for an order.
    fn hold(&mut self, hold: Hold) -> Result<u32, Failure> {
        let stock = self.stock.entry(hold.item.clone()).or_default();
        if !self.held.contains_key(&hold.order) {
            let left = stock.checked_sub(hold.count);
            *stock = left.ok_or_else(|| refuse(format!("of {} there are only {stock}", hold.item)))?;
            self.held.insert(hold.order.clone(), hold);
        }
        Ok(*stock)
    }

    /// Puts them back.
    fn release(&mut self, order: String) {
        if let Some(hold) = self.held.remove(&order) {
            *self.stock.entry(hold.item).or_default() += hold.count;
        }
    }

    /// Sends what is held for an order. The answer is the number of the parcel.
    fn ship(&mut self, shipment: Shipment) -> Result<usize, Failure> {
        let Shipment { order, .. } = shipment;
        if let Some(sent) = self.parcels.iter().position(|sent| *sent == order) {
            return Ok(sent);
        }
        let held = self.held.remove(&order);
        let hold = held.ok_or_else(|| refuse(format!("nothing is held for order {order}")))?;
        if hold.item == "glass" {
            return Err(refuse("glass is broken on the way to the parcel".into()));
        }
        self.parcels.push(order);
        Ok(self.parcels.len() - 1)
    }

    fn left(&self, item: String) -> u32 {
        self.stock.get(&item).copied().unwrap_or_default()
    }

    fn parcels(&self) -> usize {
        self.parcels.len()
    }
}

/// What somebody is told.
#[derive(Default, Serialize, Deserialize)]
struct Customer {
    notices: Vec<Notice>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Notice {
    order: String,
    parcel: usize,
}

#[stride::agent]
impl Customer {
    fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn notices(&self) -> Vec<Notice> {
        self.notices.clone()
    }
}
