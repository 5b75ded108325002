//! A turn in progress: what it reads, and what it would write.
//!
//! Always true: nothing a turn writes is seen by anybody before the turn is committed, and what a turn emits stays
//! in a [`Held`] until the journal's receipt opens it.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use stride_ids::{Address, CellId, Payload, Seq};
use stride_journal::Receipt;
use stride_store::{RowKey, Store};

/// How much a turn may write, in bytes of keys and values: what fits into one journal record with room for the rest.
pub(crate) const TURN_BYTES_MAX: usize = 3 << 20;

/// The state that a turn starts from.
pub(crate) trait View: Send + Sync {
    fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error>;
    fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, stride_store::Error>;
}

impl View for Store {
    fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error> {
        Store::get(self, row)
    }

    fn scan_map(
        &self,
        agent: &Address,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, stride_store::Error> {
        Store::scan_map(self, agent, prefix, after, limit)
    }
}

/// Why a turn's access to its state was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// The method takes `&self`, so it must not write.
    #[error("a method that takes &self cannot write state; let it take &mut self")]
    ReadOnly,
    /// The turn writes more than fits into one record.
    #[error("one turn can write {max} bytes of state at most; spread the work over several turns")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The store could not answer.
    #[error("the state could not be read")]
    Store(#[from] stride_store::Error),
}

/// One message being handled by one agent.
pub struct Turn {
    address: Address,
    read_only: bool,
    view: Arc<dyn View>,
    typed: Option<Bytes>,
    map: BTreeMap<String, Option<Bytes>>,
    bytes: usize,
}

impl Turn {
    pub(crate) fn new(address: Address, read_only: bool, typed: Option<Bytes>, view: Arc<dyn View>) -> Self {
        Self { address, read_only, view, typed, map: BTreeMap::new(), bytes: 0 }
    }

    /// Whose turn it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The typed state, as this turn sees it.
    pub fn load(&self) -> Option<Bytes> {
        self.typed.clone()
    }

    /// Replaces the typed state.
    pub fn save(&mut self, bytes: Bytes) -> Result<(), TurnError> {
        self.charge(bytes.len())?;
        self.typed = Some(bytes);
        Ok(())
    }

    /// One entry of the keyed map, as this turn sees it.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, TurnError> {
        match self.map.get(key) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.view.get(&RowKey::Map(self.address.clone(), key.to_owned()))?),
        }
    }

    /// Sets one entry of the keyed map.
    pub fn set(&mut self, key: String, value: Bytes) -> Result<(), TurnError> {
        self.charge(key.len() + value.len())?;
        self.map.insert(key, Some(value));
        Ok(())
    }

    /// Deletes one entry of the keyed map; there may be none.
    pub fn delete(&mut self, key: String) -> Result<(), TurnError> {
        self.charge(key.len())?;
        self.map.insert(key, None);
        Ok(())
    }

    /// Entries whose key starts with `prefix` and comes after `after`, in order, `limit` at most.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, TurnError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut own = self
            .map
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        // What this turn deleted or replaced takes no place in the answer, so ask for that many more.
        let replaced = self.map.len();
        let stored = self.view.scan_map(&self.address, prefix, after, limit.saturating_add(replaced))?;
        let mut merged = Vec::new();
        for (key, value) in stored {
            while let Some((own_key, written)) = own.next_if(|(own_key, _)| **own_key < key) {
                merged.extend(written.clone().map(|value| (own_key.clone(), value)));
            }
            match own.next_if(|(own_key, _)| **own_key == key) {
                Some((_, written)) => merged.extend(written.clone().map(|value| (key, value))),
                None => merged.push((key, value)),
            }
            if merged.len() >= limit {
                break;
            }
        }
        merged.extend(own.filter_map(|(key, written)| written.clone().map(|value| (key.clone(), value))));
        merged.truncate(limit);
        Ok(merged)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TurnError> {
        if self.read_only {
            return Err(TurnError::ReadOnly);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > TURN_BYTES_MAX {
            return Err(TurnError::TooLarge { max: TURN_BYTES_MAX });
        }
        Ok(())
    }

    /// What the turn leaves behind if it is committed: the typed state and the changed entries.
    pub(crate) fn into_writes(self) -> (Option<Bytes>, BTreeMap<String, Option<Bytes>>) {
        (self.typed, self.map)
    }
}

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
    use stride_ids::{AgentKey, Epoch, Name};

    use super::*;

    struct Fixed(BTreeMap<String, Bytes>);

    impl View for Fixed {
        fn get(&self, row: &RowKey) -> Result<Option<Bytes>, stride_store::Error> {
            let RowKey::Map(_, key) = row else { return Ok(None) };
            Ok(self.0.get(key).cloned())
        }

        fn scan_map(
            &self,
            _: &Address,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Bytes)>, stride_store::Error> {
            let hit = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
            Ok(self.0.iter().filter(|(k, _)| hit(k)).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }

    fn turn(read_only: bool) -> Turn {
        let address = Address {
            tenant: Name::default_tenant(),
            kind: Name::new("ledger").unwrap(),
            key: AgentKey::new("l").unwrap(),
        };
        let stored = ["a1", "a2", "a3", "b1"].map(|k| (k.to_owned(), Bytes::from(k.to_uppercase())));
        Turn::new(address, read_only, Some("typed".into()), Arc::new(Fixed(stored.into())))
    }

    fn keys(page: Vec<(String, Bytes)>) -> Vec<String> {
        page.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_turn_sees_its_own_writes_over_the_stored_state() {
        let mut turn = turn(false);
        turn.set("a2".into(), "new".into()).unwrap();
        turn.delete("a1".into()).unwrap();
        turn.save("changed".into()).unwrap();
        assert_eq!(turn.get("a2").unwrap(), Some("new".into()));
        assert_eq!(turn.get("a1").unwrap(), None);
        assert_eq!(turn.get("a3").unwrap(), Some("A3".into()));
        assert_eq!(turn.load(), Some("changed".into()));
    }

    #[test]
    fn a_scan_merges_what_was_written_and_deleted_in_order() {
        let mut turn = turn(false);
        turn.set("a0".into(), "0".into()).unwrap();
        turn.set("a9".into(), "9".into()).unwrap();
        turn.set("c".into(), "c".into()).unwrap();
        turn.delete("a2".into()).unwrap();
        assert_eq!(keys(turn.scan("a", None, 10).unwrap()), ["a0", "a1", "a3", "a9"]);
        assert_eq!(keys(turn.scan("a", None, 2).unwrap()), ["a0", "a1"]);
        assert_eq!(keys(turn.scan("a", Some("a1"), 1).unwrap()), ["a3"]);
        assert_eq!(keys(turn.scan("", Some("a9"), 10).unwrap()), ["b1", "c"]);
        assert_eq!(keys(turn.scan("x", None, 10).unwrap()), [""; 0]);
    }

    #[test]
    fn a_read_only_turn_cannot_write() {
        let mut turn = turn(true);
        assert!(matches!(turn.set("k".into(), "v".into()), Err(TurnError::ReadOnly)));
        assert!(matches!(turn.delete("k".into()), Err(TurnError::ReadOnly)));
        assert!(matches!(turn.save("s".into()), Err(TurnError::ReadOnly)));
    }

    #[test]
    fn a_turn_cannot_write_more_than_one_record_holds() {
        let mut turn = turn(false);
        assert!(turn.set("k".into(), vec![0; TURN_BYTES_MAX - 1].into()).is_ok());
        assert!(matches!(turn.set("l".into(), "v".into()), Err(TurnError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn an_effect_is_held_until_a_receipt_of_its_cell_covers_it() {
        use stride_journal::{Journal, memory::MemoryJournal};
        let journal = MemoryJournal::new();
        let epoch: Epoch = journal.open(CellId(1)).unwrap().epoch;
        let first = journal.append(CellId(1), epoch, "r".into()).unwrap().await.unwrap();
        assert!(Held::until(CellId(1), Seq(1), ()).opens_with(&first));
        assert!(!Held::until(CellId(1), Seq(2), ()).opens_with(&first));
        assert!(!Held::until(CellId(0), Seq(1), ()).opens_with(&first));
    }
}
