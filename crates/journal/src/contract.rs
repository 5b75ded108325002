//! The tests that every backend passes, as functions, so that each backend runs the same ones.
//!
//! Each takes a [`Backend`] with nothing in it and panics where the contract is broken. They need no particular
//! executor; run them on Tokio and on a plain one.

use std::sync::Arc;

use bytes::Bytes;
use stride_ids::{CellId, Epoch, Seq};

use crate::{Error, Journal, Record};

/// What the suite needs of a backend.
pub trait Backend {
    /// Opens the journal; when it was dropped before, again, with what it acknowledged.
    fn open(&self) -> Arc<dyn Journal>;
}

const A: CellId = CellId(1);
const B: CellId = CellId(2);

fn record(text: impl std::fmt::Display) -> Bytes {
    Bytes::from(text.to_string().into_bytes())
}

fn texts(records: &[Record]) -> Vec<(u64, String)> {
    records.iter().map(|r| (r.seq.0, String::from_utf8_lossy(&r.bytes).into_owned())).collect()
}

/// Runs every test, each on a backend of its own.
pub async fn all<B: Backend>(fresh: impl Fn() -> B) {
    records_come_back_in_the_order_of_appends(&fresh()).await;
    a_receipt_names_its_record(&fresh()).await;
    cells_do_not_mix(&fresh()).await;
    a_takeover_fences_the_owner_before(&fresh()).await;
    cells_are_taken_over_together_in_the_order_asked_for(&fresh()).await;
    a_cell_is_taken_over_at_an_epoch_or_not_at_all(&fresh()).await;
    a_released_cell_takes_nothing_more_and_has_all_that_it_had(&fresh()).await;
    only_the_owner_releases(&fresh()).await;
    replay_begins_behind_what_is_asked_for(&fresh()).await;
    truncated_records_are_a_gap_and_not_silence(&fresh()).await;
    a_dropped_pending_is_committed_all_the_same(&fresh()).await;
    an_unhurried_record_comes_with_the_next_of_any_cell_and_when_asked_for(&fresh()).await;
    a_record_over_the_limit_is_refused_and_the_next_is_taken(&fresh()).await;
    settled_waits_for_exactly_what_was_ordered(&fresh()).await;
    what_was_acknowledged_survives_reopening(&fresh()).await;
    epochs_only_rise(&fresh()).await;
    an_empty_record_is_a_record(&fresh()).await;
}

/// Appends without waiting in between; the order of calls is the order of records.
pub async fn records_come_back_in_the_order_of_appends(backend: &dyn Backend) {
    let journal = backend.open();
    let opened = journal.open_one(A).expect("open");
    assert_eq!(opened.last, Seq::ZERO);
    let pending: Vec<_> = (1..=100).map(|n| journal.append(A, opened.epoch, record(n)).expect("append")).collect();
    for (nth, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.seq(), Seq(nth as u64 + 1));
        pending.await.expect("commit");
    }
    let expected: Vec<_> = (1..=100).map(|n| (n, n.to_string())).collect();
    assert_eq!(texts(&journal.replay(A, Seq::ZERO).expect("replay")), expected);
}

/// Nobody hurries, and nothing is forgotten.
pub async fn an_unhurried_record_comes_with_the_next_of_any_cell_and_when_asked_for(backend: &dyn Backend) {
    let journal = backend.open();
    let (a, b) = (journal.open_one(A).expect("open").epoch, journal.open_one(B).expect("open").epoch);
    journal.append(A, a, record("first")).expect("append").unhurried();
    journal.append(B, b, record("b")).expect("append").await.expect("commit");
    let first = texts(&journal.replay(A, Seq::ZERO).expect("replay"));
    assert_eq!(first, [(1, "first".to_owned())]);
    journal.append(A, a, record("second")).expect("append").unhurried();
    journal.settled(A, a, Seq(2)).await.expect("settled");
    assert_eq!(journal.replay(A, Seq(1)).expect("replay").len(), 1);
    journal.append(A, a, record("third")).expect("append").unhurried();
    drop(journal);
    // Whoever closes the journal waits for what is queued.
    let journal = backend.open();
    assert_eq!(journal.open_one(A).expect("open").last, Seq(3));
}

/// The receipt is the proof, so it must say for what.
pub async fn a_receipt_names_its_record(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    let pending = journal.append(A, epoch, record("x")).expect("append");
    let receipt = pending.await.expect("commit");
    assert_eq!((receipt.cell(), receipt.epoch(), receipt.seq()), (A, epoch, Seq(1)));
}

/// Cells share a log and nothing else.
pub async fn cells_do_not_mix(backend: &dyn Backend) {
    let journal = backend.open();
    let (a, b) = (journal.open_one(A).expect("open").epoch, journal.open_one(B).expect("open").epoch);
    for n in 0..10 {
        let (cell, epoch) = if n % 3 == 0 { (A, a) } else { (B, b) };
        journal.append(cell, epoch, record(n)).expect("append").await.expect("commit");
    }
    let of =
        |cell| texts(&journal.replay(cell, Seq::ZERO).expect("replay")).into_iter().map(|(_, t)| t).collect::<Vec<_>>();
    assert_eq!(of(A).join(""), "0369");
    assert_eq!(of(B).join(""), "124578");
}

/// One owner: the older epoch can neither append nor wait, and what it ordered before the takeover stays.
pub async fn a_takeover_fences_the_owner_before(backend: &dyn Backend) {
    let journal = backend.open();
    let old = journal.open_one(A).expect("open").epoch;
    let before = journal.append(A, old, record("old")).expect("append");
    let new = journal.open_one(A).expect("open again");
    assert!(new.epoch > old);
    assert_eq!(new.last, Seq(1), "a takeover reports what was ordered before it");
    let fenced = Error::Fenced { cell: A, epoch: old, current: new.epoch };
    assert_eq!(journal.append(A, old, record("late")).map(|p| p.seq()), Err(fenced.clone()));
    assert_eq!(journal.settled(A, old, Seq(1)).await, Err(fenced));
    assert_eq!(before.await.map(|r| r.seq()), Ok(Seq(1)), "it was ordered before the takeover");
    journal.append(A, new.epoch, record("new")).expect("append").await.expect("commit");
    let both = texts(&journal.replay(A, Seq::ZERO).expect("replay"));
    assert_eq!(both, [(1, "old".into()), (2, "new".into())]);
}

/// One call for many cells says of each what it found.
pub async fn cells_are_taken_over_together_in_the_order_asked_for(backend: &dyn Backend) {
    let journal = backend.open();
    let before = journal.open(&[A, B]).expect("open");
    for n in 0..3 {
        journal.append(B, before[1].epoch, record(n)).expect("append").await.expect("commit");
    }
    let after = journal.open(&[B, A]).expect("open again");
    assert_eq!((after[0].last, after[1].last), (Seq(3), Seq::ZERO));
    assert!(after[0].epoch > before[1].epoch && after[1].epoch > before[0].epoch);
    for (cell, old) in [(A, before[0].epoch), (B, before[1].epoch)] {
        assert!(matches!(journal.append(cell, old, record("late")).map(|p| p.seq()), Err(Error::Fenced { .. })));
    }
    assert_eq!(journal.open(&[]).expect("open nothing"), []);
}

/// Who decided on an older epoch comes too late, and costs the owner nothing.
pub async fn a_cell_is_taken_over_at_an_epoch_or_not_at_all(backend: &dyn Backend) {
    let journal = backend.open();
    let (a, b) = (journal.open_one(A).expect("open").epoch, journal.open_one(B).expect("open").epoch);
    journal.append(A, a, record("first")).expect("append").unhurried();
    let opened = journal.open_at(&[(B, Epoch(b.0 - 1)), (A, a)]).expect("open");
    assert_eq!(opened[0], None, "somebody has it since");
    let new = opened[1].expect("nobody has taken it since");
    assert!(new.epoch > a);
    assert_eq!(new.last, Seq(1));
    journal.append(B, b, record("not taken")).expect("append").await.expect("commit");
    journal.append(A, new.epoch, record("second")).expect("append").await.expect("commit");
    assert_eq!(journal.open_at(&[(A, a)]).expect("open"), [None]);
    journal.append(A, new.epoch, record("third")).expect("append").await.expect("commit");
    journal.release(A, new.epoch).expect("release");
    let released = Epoch(new.epoch.0 + 1);
    assert!(journal.open_at(&[(A, released)]).expect("open")[0].is_some(), "a release raises the epoch by one");
}

/// The last thing that an owner does: nobody has to be asked any more, and nothing is missing for the next one.
pub async fn a_released_cell_takes_nothing_more_and_has_all_that_it_had(backend: &dyn Backend) {
    let journal = backend.open();
    let (a, b) = (journal.open_one(A).expect("open").epoch, journal.open_one(B).expect("open").epoch);
    let waited_for = journal.append(A, a, record("waited for")).expect("append");
    journal.append(A, a, record("not waited for")).expect("append").unhurried();
    journal.release(A, a).expect("release");
    assert_eq!(waited_for.await.map(|r| r.seq()), Ok(Seq(1)), "it was ordered before");
    assert_eq!(journal.replay(A, Seq::ZERO).expect("replay").len(), 2, "released means durable");
    let refused = journal.append(A, a, record("late")).map(|p| p.seq());
    assert!(
        matches!(refused, Err(Error::Fenced { cell: A, epoch, current }) if epoch == a && current > a),
        "{refused:?}"
    );
    assert!(matches!(journal.settled(A, a, Seq(1)).await, Err(Error::Fenced { .. })));
    journal.append(B, b, record("another cell")).expect("append").await.expect("commit");
    let again = journal.open_one(A).expect("open again");
    assert!(again.epoch > a);
    assert_eq!(again.last, Seq(2));
    journal.append(A, again.epoch, record("third")).expect("append").await.expect("commit");
    drop(journal);
    let journal = backend.open();
    assert_eq!(journal.open_one(A).expect("open").last, Seq(3));
}

/// The fence holds for giving up as well.
pub async fn only_the_owner_releases(backend: &dyn Backend) {
    let journal = backend.open();
    let old = journal.open_one(A).expect("open").epoch;
    let new = journal.open_one(A).expect("open again").epoch;
    assert_eq!(journal.release(A, old), Err(Error::Fenced { cell: A, epoch: old, current: new }));
    journal.append(A, new, record("still owned")).expect("append").await.expect("commit");
    journal.release(A, new).expect("release");
    assert!(matches!(journal.release(A, new), Err(Error::Fenced { .. })), "once is enough");
}

/// A store that holds a position asks for what is behind it.
pub async fn replay_begins_behind_what_is_asked_for(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    for n in 1..=5 {
        journal.append(A, epoch, record(n)).expect("append").await.expect("commit");
    }
    assert_eq!(texts(&journal.replay(A, Seq(3)).expect("replay")), [(4, "4".into()), (5, "5".into())]);
    assert_eq!(journal.replay(A, Seq(5)).expect("replay"), []);
    assert_eq!(journal.replay(B, Seq::ZERO).expect("replay of a cell without records"), []);
}

/// What was given up is never passed over.
pub async fn truncated_records_are_a_gap_and_not_silence(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    for n in 1..=5 {
        journal.append(A, epoch, record(n)).expect("append").await.expect("commit");
    }
    journal.truncate(A, Seq(3)).expect("truncate");
    // Truncation is a hint, so the records may still be there; but it is all of them or an error.
    match journal.replay(A, Seq(1)) {
        Err(Error::Gap { cell, after, first }) => assert_eq!((cell, after, first), (A, Seq(1), Seq(4))),
        other => assert_eq!(other.expect("a gap or the records").len(), 4),
    }
    assert_eq!(texts(&journal.replay(A, Seq(3)).expect("replay")), [(4, "4".into()), (5, "5".into())]);
    journal.truncate(A, Seq(5)).expect("truncate all");
    let next = journal.append(A, epoch, record(6)).expect("append").await.expect("commit");
    assert_eq!(next.seq(), Seq(6), "positions go on");
}

/// Once ordered, a record is committed, whether or not somebody waits.
pub async fn a_dropped_pending_is_committed_all_the_same(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    drop(journal.append(A, epoch, record("unwatched")).expect("append"));
    journal.settled(A, epoch, Seq(1)).await.expect("commit");
    drop(journal.append(A, epoch, record("last")).expect("append"));
    drop(journal);
    let journal = backend.open();
    assert_eq!(journal.open_one(A).expect("open").last, Seq(2));
    assert_eq!(texts(&journal.replay(A, Seq::ZERO).expect("replay")).len(), 2);
}

/// A limit is checked before anything is ordered.
pub async fn a_record_over_the_limit_is_refused_and_the_next_is_taken(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    let len = crate::embedded::RECORD_LEN_MAX + 1;
    let refused = journal.append(A, epoch, Bytes::from(vec![0; len])).map(|p| p.seq());
    assert!(matches!(refused, Err(Error::TooLarge { len: told, max }) if told == len && max < len), "{refused:?}");
    let receipt = journal.append(A, epoch, record("fits")).expect("append").await.expect("commit");
    assert_eq!(receipt.seq(), Seq(1));
}

/// Readers wait for what they saw, and for nothing that nobody appended.
pub async fn settled_waits_for_exactly_what_was_ordered(backend: &dyn Backend) {
    let journal = backend.open();
    let opened = journal.open_one(A).expect("open");
    let nothing = journal.settled(A, opened.epoch, opened.last).await.expect("nothing to wait for");
    assert_eq!(nothing.seq(), Seq::ZERO);
    let pending: Vec<_> = (1..=3).map(|n| journal.append(A, opened.epoch, record(n)).expect("append")).collect();
    let receipt = journal.settled(A, opened.epoch, Seq(3)).await.expect("commit");
    assert!(receipt.seq() >= Seq(3));
    assert_eq!(journal.replay(A, Seq::ZERO).expect("replay").len(), 3, "settled means durable");
    let never = journal.settled(A, opened.epoch, Seq(4)).await;
    assert_eq!(never, Err(Error::NotOrdered { cell: A, seq: Seq(4), last: Seq(3) }));
    assert!(journal.settled(A, Epoch(opened.epoch.0 - 1), Seq(1)).await.is_err());
    for pending in pending {
        pending.await.expect("commit");
    }
}

/// The promise itself.
pub async fn what_was_acknowledged_survives_reopening(backend: &dyn Backend) {
    let mut expected = Vec::new();
    for round in 1..=5 {
        let journal = backend.open();
        let opened = journal.open_one(A).expect("open");
        assert_eq!(opened.last, Seq(expected.len() as u64));
        assert_eq!(texts(&journal.replay(A, Seq::ZERO).expect("replay")), expected);
        for n in 0..20 {
            let text = format!("{round}/{n}").repeat(n);
            let receipt = journal.append(A, opened.epoch, record(&text)).expect("append").await.expect("commit");
            expected.push((receipt.seq().0, text));
        }
    }
}

/// An epoch that was handed out is never handed out again.
pub async fn epochs_only_rise(backend: &dyn Backend) {
    let mut before = Epoch(0);
    for _ in 0..3 {
        let journal = backend.open();
        for _ in 0..3 {
            let epoch = journal.open_one(A).expect("open").epoch;
            assert!(epoch > before);
            before = epoch;
        }
    }
}

/// Emptiness is content.
pub async fn an_empty_record_is_a_record(backend: &dyn Backend) {
    let journal = backend.open();
    let epoch = journal.open_one(A).expect("open").epoch;
    journal.append(A, epoch, Bytes::new()).expect("append").await.expect("commit");
    drop(journal);
    let journal = backend.open();
    assert_eq!(texts(&journal.replay(A, Seq::ZERO).expect("replay")), [(1, String::new())]);
}
