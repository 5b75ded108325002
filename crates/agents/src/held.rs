//! What leaves a turn leaves against a receipt.

use stride_ids::{CellId, Payload, Seq};
use stride_journal::Receipt;

/// What a turn emits, held back until its record is durable.
///
/// The only way to the value is [`Held::release`], and the only source of a [`Receipt`] is the journal.
pub(crate) struct Held<T> {
    cell: CellId,
    seq: Seq,
    value: T,
}

impl<T> Held<T> {
    /// Holds `value` until everything up to `seq` of `cell` is durable.
    pub(crate) fn until(cell: CellId, seq: Seq, value: T) -> Self {
        Self { cell, seq, value }
    }

    /// What has to be durable first.
    pub(crate) fn needs(&self) -> Seq {
        self.seq
    }

    /// Whether this receipt is enough.
    pub(crate) fn opens_with(&self, receipt: &Receipt) -> bool {
        receipt.cell() == self.cell && receipt.seq() >= self.seq
    }

    /// Releases what was held.
    ///
    /// # Panics
    /// If the receipt is for something else: an effect would leave before it is durable.
    pub(crate) fn release(self, receipt: &Receipt) -> T {
        assert!(
            self.opens_with(receipt),
            "a receipt for {} {} does not open {} {}",
            receipt.cell(),
            receipt.seq(),
            self.cell,
            self.seq
        );
        self.value
    }
}

/// The reply of a turn, as it is held.
pub(crate) struct Emitted {
    pub(crate) payload: Payload,
    pub(crate) turn: u64,
    pub(crate) replayed: bool,
}

#[cfg(test)]
mod tests {
    use stride_journal::{Journal as _, memory::MemoryJournal};

    use super::*;

    #[tokio::test]
    async fn an_effect_is_held_until_a_receipt_of_its_cell_covers_it() {
        let journal = MemoryJournal::new();
        let epoch = journal.open_one(CellId(1)).unwrap().epoch;
        let first = journal.append(CellId(1), epoch, "r".into()).unwrap().await.unwrap();
        assert!(Held::until(CellId(1), Seq(1), ()).opens_with(&first));
        assert!(!Held::until(CellId(1), Seq(2), ()).opens_with(&first));
        assert!(!Held::until(CellId(0), Seq(1), ()).opens_with(&first));
    }
}
