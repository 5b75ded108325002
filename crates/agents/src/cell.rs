//! One cell as its owner sees it: the epoch it writes with, what is durable, the agents that are awake, and the messages
//! that wait in it or to leave it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use parking_lot::Mutex;
use stride_ids::{Address, CellId, Epoch, MessageId, Seq};
use stride_journal::{Journal, Receipt};

use crate::{
    cells::Gate,
    held::Held,
    inbox::Inbox,
    lane::Lane,
    message::Envelope,
    pace::Pace,
    slot::{Resident, Slot},
};

pub(crate) struct Cell {
    pub(crate) id: CellId,
    pub(crate) epoch: Epoch,
    /// How long taking it over took.
    pub(crate) recovered_in: std::time::Duration,
    /// Who may begin something in it.
    pub(crate) gate: Gate,
    /// Held while the cell is given up: several find out at the same time that another node has it, and one of them is enough.
    pub(crate) leaving: Mutex<()>,
    /// Up to where a snapshot has it, and since when.
    pub(crate) kept: Mutex<Kept>,
    /// Held while a record is ordered and its writes are staged, so that both happen in the same order.
    pub(crate) tail: Mutex<Tail>,
    /// The newest receipt of this cell.
    receipt: Mutex<Receipt>,
    awake: Mutex<HashMap<Address, Arc<Slot>>>,
    /// The messages that wait, by agent; only agents for which some do. Never held while another lock is taken.
    pub(crate) inboxes: Mutex<HashMap<Address, Inbox>>,
    /// The messages for other cells, in order. Never held while another lock is taken.
    pub(crate) outbox: Mutex<VecDeque<Held<(MessageId, Envelope)>>>,
    /// Held while messages are handed to other cells, so that their order is kept. Taken before any tail.
    pub(crate) delivering: Mutex<()>,
    /// The messages that other cells have accepted: once that is durable there, they can be forgotten here.
    pub(crate) accepted: Mutex<Vec<AcceptedElsewhere>>,
    /// The messages that are durable where they were sent, and are still to be forgotten here.
    pub(crate) delivered: Mutex<Vec<MessageId>>,
    /// The messages that are on their way to other cells, by cell. Never held while another lock is taken.
    pub(crate) lanes: Mutex<HashMap<CellId, Lane>>,
    /// A task is bringing everything to disk.
    pub(crate) flushed: AtomicBool,
    /// When its timers are looked at next.
    pub(crate) timers_at: AtomicU64,
    /// How busy its turns are.
    pub(crate) pace: Mutex<Pace>,
}

/// How much of a cell is in a snapshot.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) seq: Seq,
    /// When that was found, on the engine's clock.
    pub(crate) at: std::time::Duration,
}

/// The end of a cell's journal as it is ordered, durable or not.
pub(crate) struct Tail {
    pub(crate) last: Seq,
    /// The last message that was taken from each other cell.
    pub(crate) received: HashMap<CellId, MessageId>,
    /// Nothing is ordered any more: the cell is on its way to another owner.
    pub(crate) closed: bool,
}

/// Messages that are in another cell of this engine with its record `seq`, written in that epoch.
pub(crate) struct AcceptedElsewhere {
    pub(crate) cell: CellId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) ids: Vec<MessageId>,
}

/// What waits in a cell when it is taken over.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) received: HashMap<CellId, MessageId>,
    pub(crate) inboxes: HashMap<Address, Inbox>,
    pub(crate) outbox: VecDeque<Held<(MessageId, Envelope)>>,
}

impl Cell {
    pub(crate) fn new(id: CellId, epoch: Epoch, receipt: Receipt, waiting: Waiting) -> Self {
        let Waiting { received, inboxes, outbox } = waiting;
        Self {
            id,
            epoch,
            recovered_in: std::time::Duration::ZERO,
            gate: Gate::default(),
            leaving: Mutex::default(),
            kept: Mutex::default(),
            tail: Mutex::new(Tail { last: receipt.seq(), received, closed: false }),
            receipt: Mutex::new(receipt),
            awake: Mutex::default(),
            inboxes: Mutex::new(inboxes),
            outbox: Mutex::new(outbox),
            delivering: Mutex::default(),
            accepted: Mutex::default(),
            delivered: Mutex::default(),
            lanes: Mutex::default(),
            flushed: AtomicBool::new(false),
            timers_at: AtomicU64::new(u64::MAX),
            pace: Mutex::default(),
        }
    }

    /// How many durable records no snapshot has.
    pub(crate) fn unkept(&self) -> u64 {
        self.receipt().seq().0.saturating_sub(self.kept.lock().seq.0)
    }

    /// Notes that another cell of this engine has messages of this one with its record `seq`.
    pub(crate) fn note_accepted(&self, to: &Self, seq: Seq, ids: impl Iterator<Item = MessageId>) {
        let there = AcceptedElsewhere { cell: to.id, epoch: to.epoch, seq, ids: ids.collect() };
        if !there.ids.is_empty() {
            self.accepted.lock().push(there);
        }
    }

    /// Drops what is in memory of its agents, and the messages that wait for them or leave them.
    pub(crate) fn forget_all(&self) {
        let awake = std::mem::take(&mut *self.awake.lock());
        self.inboxes.lock().clear();
        self.outbox.lock().clear();
        self.lanes.lock().clear();
        drop(awake);
    }

    /// Whether nothing is ordered in it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.tail.lock().closed
    }

    /// The newest receipt.
    pub(crate) fn receipt(&self) -> Receipt {
        *self.receipt.lock()
    }

    /// A receipt that covers `seq`, waiting for it if need be.
    pub(crate) async fn settled(&self, journal: &dyn Journal, seq: Seq) -> Result<Receipt, stride_journal::Error> {
        let newest = self.receipt();
        if newest.seq() >= seq {
            return Ok(newest);
        }
        let receipt = journal.settled(self.id, self.epoch, seq).await?;
        self.note(receipt);
        Ok(receipt)
    }

    /// Remembers the newest receipt.
    pub(crate) fn note(&self, receipt: Receipt) {
        let mut newest = self.receipt.lock();
        if receipt.seq() > newest.seq() {
            *newest = receipt;
        }
    }

    /// The slot of an agent, which is awake for as long as the guard lives or a body is in memory.
    pub(crate) fn wake<'a>(&'a self, address: &'a Address) -> Awake<'a> {
        Awake { slot: Some(self.slot(address)), cell: self, address }
    }

    fn slot(&self, address: &Address) -> Arc<Slot> {
        let mut awake = self.awake.lock();
        if let Some(slot) = awake.get(address) {
            return slot.clone();
        }
        // Whatever put the agent to sleep may not be durable yet, so what it reads now depends on all of the cell.
        let slot = Arc::new(Slot::new(Resident::asleep_since(self.tail.lock().last)));
        awake.insert(address.clone(), slot.clone());
        slot
    }

    /// The slot of an agent if it is awake.
    pub(crate) fn find<'a>(&'a self, address: &'a Address) -> Option<Awake<'a>> {
        let slot = self.awake.lock().get(address).cloned()?;
        Some(Awake { slot: Some(slot), cell: self, address })
    }

    /// Forgets an agent that has no body in memory and that nobody holds or waits for.
    fn forget_if_asleep(&self, address: &Address) {
        let mut awake = self.awake.lock();
        // New holders come only through this map, so a count of one cannot rise while it is locked.
        let asleep =
            |slot: &Arc<Slot>| Arc::strong_count(slot) == 1 && slot.try_change().is_some_and(|it| !it.has_bodies());
        if awake.get(address).is_some_and(asleep) {
            awake.remove(address);
        }
    }
}

/// Keeps an agent's slot while somebody needs it.
pub(crate) struct Awake<'a> {
    /// Always there until the guard is dropped.
    slot: Option<Arc<Slot>>,
    cell: &'a Cell,
    address: &'a Address,
}

impl std::ops::Deref for Awake<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.slot.as_ref().expect("only drop takes it")
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.slot = None;
        self.cell.forget_if_asleep(self.address);
    }
}
