//! The protocol against a server in memory that loses answers, executes late, and gives cells to others.

use std::task::Waker;

use stride_sim::Chance;

use super::*;

const US: i64 = 1;
const CELL: CellId = CellId(0);

/// What the statements do, without SQL.
#[derive(Clone, Debug, Default)]
struct Row {
    epoch: Epoch,
    holder: i64,
    records: Vec<(Epoch, i64, Bytes)>,
}

#[derive(Clone, Debug)]
struct Server(Vec<Row>);

impl Server {
    fn new(cells: usize) -> Self {
        Self(vec![Row::default(); cells])
    }

    fn row(&mut self, cell: CellId) -> &mut Row {
        &mut self.0[usize::from(cell.0)]
    }

    fn take_over(&mut self, cell: CellId, holder: i64) -> (Epoch, Seq) {
        let row = self.row(cell);
        row.epoch = Epoch(row.epoch.0 + 1);
        row.holder = holder;
        (row.epoch, Seq(row.records.len() as u64))
    }

    fn store(&mut self, holder: i64, batch: &Batch) -> Vec<CellId> {
        let mut stored = Vec::new();
        for part in &batch.parts {
            let row = self.row(part.cell);
            if row.epoch != part.epoch || row.holder != holder || row.records.len() as u64 != part.before.0 {
                continue;
            }
            let records = batch.records.iter().filter(|record| record.cell == part.cell);
            row.records.extend(records.map(|record| (part.epoch, holder, record.bytes.clone())));
            assert_eq!(row.records.len() as u64, part.last.0);
            stored.push(part.cell);
        }
        stored
    }

    fn ask(&mut self, holder: i64, doubts: &[(CellId, Epoch)]) -> Vec<Status> {
        let status = |(cell, asked): &(CellId, Epoch)| {
            let row = self.row(*cell);
            let owned = row.epoch == *asked && row.holder == holder;
            let own = row.records.iter().rposition(|(epoch, by, _)| epoch == asked && *by == holder);
            let own_last = own.filter(|_| !owned).map(|at| Seq(at as u64 + 1));
            Status { cell: *cell, epoch: row.epoch, owned, last: Seq(row.records.len() as u64), own_last }
        };
        doubts.iter().map(status).collect()
    }
}

fn open(tail: &mut Tail, server: &mut Server, cell: CellId) -> Epoch {
    tail.begin_open(&[cell]).unwrap();
    let (epoch, last) = server.take_over(cell, US);
    tail.opened(cell, epoch, last, Seq::ZERO);
    epoch
}

fn bytes(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string().into_bytes())
}

fn texts(server: &mut Server, cell: CellId) -> Vec<String> {
    server.row(cell).records.iter().map(|(.., bytes)| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

/// A tail with one cell open and these records appended.
fn with_records(count: u64) -> (Tail, Server, Epoch) {
    let (mut tail, mut server) = (Tail::new(2), Server::new(2));
    let epoch = open(&mut tail, &mut server, CELL);
    for n in 1..=count {
        assert_eq!(tail.append(CELL, epoch, bytes(n)), Ok(Seq(n)));
    }
    (tail, server, epoch)
}

#[test]
fn nothing_is_sent_until_somebody_waits() {
    let (mut tail, mut server, epoch) = with_records(3);
    assert!(tail.next_batch().is_none());
    assert!(tail.hurry());
    assert!(!tail.hurry(), "once is enough");
    let batch = tail.next_batch().unwrap();
    assert_eq!(batch.parts, [Part { cell: CELL, epoch, before: Seq(0), last: Seq(3) }]);
    assert!(tail.next_batch().is_none());
    assert_eq!(tail.outcome(CELL, epoch, Seq(3)), None, "sent is not stored");
    let stored = server.store(US, &batch);
    tail.answered(&batch, &stored);
    assert_eq!(tail.outcome(CELL, epoch, Seq(3)).unwrap().unwrap().seq(), Seq(3));
    assert!(tail.is_empty() && tail.waiting_bytes == 0);
}

#[test]
fn a_batch_that_was_stored_without_an_answer_is_acknowledged_when_asked_for_and_not_sent_again() {
    let (mut tail, mut server, epoch) = with_records(3);
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    server.store(US, &batch);
    tail.unanswered();
    assert_eq!(tail.outcome(CELL, epoch, Seq(1)), None, "never guessed");
    tail.append(CELL, epoch, bytes(4)).unwrap();
    tail.hurry();
    assert!(tail.next_batch().is_none(), "a cell in doubt waits");
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.outcome(CELL, epoch, Seq(3)).unwrap().is_ok());
    assert_eq!(tail.next_batch().unwrap().parts[0].before, Seq(3));
}

#[test]
fn a_batch_that_was_not_stored_is_sent_again_and_once_only_even_if_the_first_one_comes_late() {
    let (mut tail, mut server, epoch) = with_records(3);
    tail.hurry();
    let late = tail.next_batch().unwrap();
    tail.unanswered();
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    tail.append(CELL, epoch, bytes(4)).unwrap();
    let again = tail.next_batch().unwrap();
    server.store(US, &late);
    let stored = server.store(US, &again);
    assert_eq!(stored, [], "the first one came in between");
    tail.answered(&again, &stored);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.outcome(CELL, epoch, Seq(3)).unwrap().is_ok());
    let rest = tail.next_batch().unwrap();
    let stored = server.store(US, &rest);
    tail.answered(&rest, &stored);
    assert_eq!(texts(&mut server, CELL), ["1", "2", "3", "4"]);
    assert!(tail.is_empty());
}

#[test]
fn who_was_taken_over_keeps_what_was_stored_and_is_refused_the_rest() {
    let (mut tail, mut server, epoch) = with_records(2);
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    server.store(US, &batch);
    tail.unanswered();
    tail.append(CELL, epoch, bytes(3)).unwrap();
    let (current, last) = server.take_over(CELL, 2);
    assert_eq!(last, Seq(2));
    assert_eq!(tail.ended(Waker::noop()), None);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.outcome(CELL, epoch, Seq(2)).unwrap().is_ok(), "it was stored before the takeover");
    let fenced = Error::Fenced { cell: CELL, epoch, current };
    assert_eq!(tail.outcome(CELL, epoch, Seq(3)), Some(Err(fenced.clone())));
    assert_eq!(tail.append(CELL, epoch, bytes(4)), Err(fenced));
    assert_eq!(tail.next_lost(Waker::noop()), Some(Fenced { cell: CELL, epoch, current }));
    assert_eq!(tail.next_lost(Waker::noop()), None, "once is enough");
    assert_eq!(tail.ended(Waker::noop()), None, "other cells go on");
    assert!(tail.is_empty() && tail.waiting_bytes == 0);
    // After another takeover of our own, what was refused stays refused, although its position is filled by then.
    server.row(CELL).records.push((current, 2, bytes("theirs")));
    let newer = open(&mut tail, &mut server, CELL);
    assert!(matches!(tail.outcome(CELL, epoch, Seq(3)), Some(Err(Error::Fenced { current, .. })) if current == newer));
}

#[test]
fn one_cell_that_was_taken_does_not_hold_up_the_others() {
    let (mut tail, mut server, epoch) = with_records(1);
    let other = open(&mut tail, &mut server, CellId(1));
    tail.append(CellId(1), other, bytes("other")).unwrap();
    server.take_over(CELL, 2);
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    let stored = server.store(US, &batch);
    assert_eq!(stored, [CellId(1)]);
    tail.answered(&batch, &stored);
    assert!(tail.outcome(CellId(1), other, Seq(1)).unwrap().is_ok());
    assert_eq!(tail.outcome(CELL, epoch, Seq(1)), None);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.outcome(CELL, epoch, Seq(1)).unwrap().is_err());
}

#[test]
fn a_server_that_forgot_what_it_acknowledged_stops_the_journal() {
    let (mut tail, mut server, epoch) = with_records(2);
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    let stored = server.store(US, &batch);
    tail.answered(&batch, &stored);
    // A standby that had not got the second record yet takes over.
    server.row(CELL).records.pop();
    tail.append(CELL, epoch, bytes(3)).unwrap();
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    let stored = server.store(US, &batch);
    assert_eq!(stored, []);
    tail.answered(&batch, &stored);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    let stopped = tail.outcome(CELL, epoch, Seq(3));
    assert!(matches!(&stopped, Some(Err(Error::Lost(why))) if why.contains("synchronous")), "{stopped:?}");
    assert!(tail.outcome(CELL, epoch, Seq(2)).unwrap().is_ok(), "an answer that was given is not taken back");
    assert!(matches!(tail.append(CELL, epoch, bytes(4)), Err(Error::Lost(_))));
}

#[test]
fn a_takeover_of_our_own_that_the_server_forgot_stops_the_journal_too() {
    let (mut tail, mut server, epoch) = with_records(1);
    server.row(CELL).epoch = Epoch(epoch.0 - 1);
    let (same, _) = server.take_over(CELL, 2);
    assert_eq!(same, epoch, "another holder was given the same epoch");
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    assert_eq!(server.store(US, &batch), [], "the holder is checked too");
    tail.answered(&batch, &[]);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(matches!(tail.outcome(CELL, epoch, Seq(1)), Some(Err(Error::Lost(_)))));
}

#[test]
fn what_waits_is_bounded_and_a_refusal_leaves_no_trace() {
    let (mut tail, _, epoch) = with_records(0);
    let large = Bytes::from(vec![0; RECORD_LEN_MAX]);
    let mut taken = 0;
    let refused = loop {
        match tail.append(CELL, epoch, large.clone()) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Busy(_)), "{refused}");
    assert_eq!(tail.append(CELL, epoch, bytes("small")), Ok(Seq(taken + 1)));
    tail.hurry();
    let mut sent = 0;
    while let Some(batch) = tail.next_batch() {
        assert!(
            batch.records.len() == 1 || batch.records.iter().map(|r| r.bytes.len()).sum::<usize>() <= BATCH_BYTES_MAX
        );
        sent += batch.records.len() as u64;
    }
    assert_eq!(sent, taken + 1);
}

#[test]
fn nothing_is_ordered_while_a_takeover_is_on_its_way() {
    let (mut tail, mut server, epoch) = with_records(1);
    tail.begin_open(&[CELL]).unwrap();
    assert!(matches!(tail.append(CELL, epoch, bytes(2)), Err(Error::Busy(_))));
    assert!(matches!(tail.begin_open(&[CELL]), Err(Error::Busy(_))));
    assert!(!tail.is_idle(CELL));
    let batch = tail.next_batch().unwrap();
    let stored = server.store(US, &batch);
    tail.answered(&batch, &stored);
    assert!(tail.is_idle(CELL));
    tail.not_changed(CELL);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert_eq!(tail.append(CELL, epoch, bytes(2)), Ok(Seq(2)));
}

#[test]
fn a_takeover_waits_until_the_server_is_not_being_asked_about_the_cell() {
    let (mut tail, mut server, _) = with_records(0);
    tail.doubt(&[CELL]);
    tail.begin_open(&[CELL]).unwrap();
    assert!(!tail.is_idle(CELL));
    tail.doubt(&[CELL, CellId(1)]);
    assert_eq!(tail.doubts().len(), 1, "only cells of ours are asked about");
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.is_idle(CELL));
    assert_eq!(tail.ended(Waker::noop()), None);
}

#[test]
fn only_what_is_durable_can_be_given_up() {
    let (mut tail, mut server, epoch) = with_records(3);
    tail.truncate(CELL, Seq(3)).unwrap();
    assert_eq!(tail.floors(), []);
    tail.hurry();
    let batch = tail.next_batch().unwrap();
    let stored = server.store(US, &batch);
    tail.answered(&batch, &stored);
    tail.truncate(CELL, Seq(2)).unwrap();
    let floors = tail.floors();
    assert_eq!(floors, [(CELL, epoch, Seq(2))]);
    tail.floors_told(&floors);
    assert_eq!(tail.floors(), []);
}

/// A few thousand runs of everything at random, each from its seed.
#[test]
fn whatever_is_lost_late_or_taken_nothing_acknowledged_is_missing_doubled_or_out_of_order() {
    for seed in 0..3_000 {
        run(seed);
    }
}

fn run(seed: u64) {
    const CELLS: u16 = 3;
    let chance = Chance::seeded(seed);
    let (mut tail, mut server) = (Tail::new(CELLS), Server::new(usize::from(CELLS)));
    let mut epochs: Vec<Epoch> = (0..CELLS).map(|cell| open(&mut tail, &mut server, CellId(cell))).collect();
    // Everything that was ordered, with its text; and what was sent on a connection that is lost, and may still arrive.
    let (mut ordered, mut late, mut next) = (Vec::new(), Vec::new(), 0);
    for _ in 0..80 {
        match chance.below(10) {
            0..4 => {
                let cell = CellId(chance.below(u64::from(CELLS)) as u16);
                let epoch = epochs[usize::from(cell.0)];
                if let Ok(seq) = tail.append(cell, epoch, bytes(next)) {
                    ordered.push((cell, epoch, seq, next.to_string()));
                    next += 1;
                }
                tail.hurry();
            }
            4..7 => {
                let doubts = tail.doubts();
                if !doubts.is_empty() {
                    let statuses = server.ask(US, &doubts);
                    // The answer to the question may be lost as well.
                    if chance.hits(800) {
                        tail.resolve(&statuses);
                    }
                } else if let Some(batch) = tail.next_batch() {
                    match chance.below(4) {
                        0 => {
                            server.store(US, &batch);
                            tail.unanswered();
                        }
                        1 => {
                            late.push(batch);
                            tail.unanswered();
                        }
                        _ => {
                            let stored = server.store(US, &batch);
                            tail.answered(&batch, &stored);
                        }
                    }
                }
            }
            7 if !late.is_empty() => {
                let batch: Batch = late.swap_remove(chance.below(late.len() as u64) as usize);
                server.store(US, &batch);
            }
            8 if chance.hits(300) => {
                let cell = CellId(chance.below(u64::from(CELLS)) as u16);
                let (epoch, _) = server.take_over(cell, 2);
                server.row(cell).records.push((epoch, 2, bytes("theirs")));
            }
            9 if chance.hits(300) => {
                let cell = CellId(chance.below(u64::from(CELLS)) as u16);
                if tail.begin_open(&[cell]).is_ok() {
                    if tail.is_idle(cell) {
                        let (epoch, last) = server.take_over(cell, US);
                        tail.opened(cell, epoch, last, Seq::ZERO);
                        epochs[usize::from(cell.0)] = epoch;
                    } else {
                        tail.not_changed(cell);
                    }
                }
            }
            _ => {}
        }
        assert_eq!(tail.check_running(), Ok(()), "seed {seed}");
        for (cell, epoch, seq, text) in &ordered {
            if let Some(Ok(receipt)) = tail.outcome(*cell, *epoch, *seq) {
                assert_eq!(receipt.seq(), *seq);
                let row = &server.row(*cell).records;
                let found = row.get(seq.0 as usize - 1).map(|(epoch, by, bytes)| (*epoch, *by, bytes.clone()));
                assert_eq!(found, Some((*epoch, US, bytes(text))), "seed {seed}: {cell} {seq} was acknowledged");
            }
        }
    }
    // In the end everything has an outcome.
    for _ in 0..20 {
        tail.hurry();
        let statuses = server.ask(US, &tail.doubts());
        tail.resolve(&statuses);
        if let Some(batch) = tail.next_batch() {
            let stored = server.store(US, &batch);
            tail.answered(&batch, &stored);
        }
    }
    assert!(tail.is_empty() && tail.waiting_bytes == 0, "seed {seed}");
    for (cell, epoch, seq, _) in &ordered {
        assert!(tail.outcome(*cell, *epoch, *seq).is_some(), "seed {seed}: {cell} {seq} has no outcome");
    }
    for cell in (0..CELLS).map(CellId) {
        let ours: Vec<u64> = texts(&mut server, cell).iter().filter_map(|text| text.parse().ok()).collect();
        assert!(ours.is_sorted_by(|a, b| a < b), "seed {seed}: {ours:?}");
    }
}

#[test]
fn a_cell_that_is_being_released_takes_nothing_and_one_that_could_not_be_is_still_ours() {
    let (mut tail, mut server, epoch) = with_records(2);
    assert!(matches!(tail.begin_release(CELL, Epoch(9)), Err(Error::Fenced { .. })));
    tail.begin_release(CELL, epoch).unwrap();
    assert!(matches!(tail.append(CELL, epoch, bytes(3)), Err(Error::Busy(_))));
    assert!(matches!(tail.begin_open(&[CellId(1), CELL]), Err(Error::Busy(_))));
    assert!(!tail.is_idle(CELL));
    let batch = tail.next_batch().expect("a release hurries what it waits for");
    let stored = server.store(US, &batch);
    tail.answered(&batch, &stored);
    assert!(tail.is_idle(CELL));
    tail.not_changed(CELL);
    assert_eq!(tail.doubts(), [(CELL, epoch)], "it may have been released all the same");
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert_eq!(tail.append(CELL, epoch, bytes(3)), Ok(Seq(3)));
}

#[test]
fn a_release_whose_answer_was_lost_is_found_out_and_what_was_stored_stays_acknowledged() {
    let (mut tail, mut server, epoch) = with_records(2);
    tail.begin_release(CELL, epoch).unwrap();
    let batch = tail.next_batch().unwrap();
    server.store(US, &batch);
    tail.unanswered();
    // Nobody takes it over, which raises the epoch as anybody would.
    let (current, _) = server.take_over(CELL, 0);
    tail.not_changed(CELL);
    let statuses = server.ask(US, &tail.doubts());
    tail.resolve(&statuses);
    assert!(tail.outcome(CELL, epoch, Seq(2)).unwrap().is_ok());
    assert_eq!(tail.append(CELL, epoch, bytes(3)), Err(Error::Fenced { cell: CELL, epoch, current }));
    assert!(tail.check_running().is_ok(), "a release is nothing that the server has lost");
}

#[test]
fn a_takeover_of_several_cells_begins_for_all_or_for_none() {
    let (mut tail, _, epoch) = with_records(0);
    assert!(matches!(tail.begin_open(&[CELL, CellId(7)]), Err(Error::UnknownCell { .. })));
    assert_eq!(tail.append(CELL, epoch, bytes(1)), Ok(Seq(1)), "nothing has begun");
}
