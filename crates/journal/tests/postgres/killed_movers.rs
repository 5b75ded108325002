//! Processes that move a tail between three databases and are killed, or stand still while somebody else takes over. Whatever
//! moment that is, what they acknowledged is there, once and in order, and nobody can store in two places.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::{CellId, DatabaseId, Epoch, Seq};
use stride_journal::{Error, Journal as _, postgres::PostgresJournal};
use stride_sim::Chance;

use crate::{
    databases::pause,
    support::{Three, open, server},
};

const CELL: CellId = CellId(1);
/// Says to a process of this binary that it is a mover, and of what.
const FIRST: &str = "STRIDE_TEST_MOVER_OF";
const ROUNDS: u64 = 12;

fn append(journal: &PostgresJournal, epoch: Epoch, text: &str) -> Result<Seq, Error> {
    Ok(block_on(journal.append(CELL, epoch, Bytes::from(text.to_owned()))?)?.seq())
}

/// What a mover does until it is killed, or finds that somebody else has the cell.
#[test]
#[ignore = "a process of the test below"]
fn mover() {
    let Ok(url) = std::env::var(FIRST) else { return };
    let journal = open(url).unwrap();
    let moved = || -> Result<(), Error> {
        for turn in 0u16.. {
            let epoch = journal.open_one(CELL)?.epoch;
            for n in 0..3 {
                let text = format!("{}-{turn}-{n}", std::process::id());
                let seq = append(&journal, epoch, &text)?;
                println!("\nacknowledged {seq} {text}");
                std::io::stdout().flush().unwrap();
            }
            journal.release(CELL, epoch)?;
            println!("\nmoving");
            std::io::stdout().flush().unwrap();
            journal.move_tail(CELL, DatabaseId((turn + 1) % 3))?;
        }
        Ok(())
    };
    let ended = moved().unwrap_err();
    println!("\nended {ended}");
}

type Acknowledged = Arc<Mutex<BTreeMap<u64, String>>>;

struct Mover {
    process: Child,
    /// How often it has begun to move.
    moves: Arc<AtomicU64>,
    reader: JoinHandle<Option<String>>,
}

impl Mover {
    /// Starts one, and notes what it acknowledges.
    fn start(three: &Three, acknowledged: &Acknowledged) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_movers::mover", "--ignored", "--nocapture"])
            .env(FIRST, three.url(0))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (output, acknowledged) = (process.stdout.take().unwrap(), acknowledged.clone());
        let moves = Arc::new(AtomicU64::new(0));
        let counted = moves.clone();
        let reader = std::thread::spawn(move || {
            let mut ended = None;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    ["acknowledged", seq, text] => {
                        let before = acknowledged.lock().unwrap().insert(seq.parse().unwrap(), text.to_owned());
                        assert_eq!(before, None, "no position is given twice");
                    }
                    ["moving"] => drop(counted.fetch_add(1, Ordering::SeqCst)),
                    ["ended", ..] => ended = Some(line),
                    _ => {}
                }
            }
            ended
        });
        Self { process, moves, reader }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended, and says why it ended if it did by itself.
    fn ended(mut self) -> Option<String> {
        self.process.wait().unwrap();
        self.reader.join().unwrap()
    }
}

/// Stores records until the mover has ended.
fn goes_on(
    journal: &PostgresJournal,
    epoch: Epoch,
    mover: &mut Mover,
    acknowledged: &Acknowledged,
) -> Result<(), Error> {
    for n in 0.. {
        if mover.process.try_wait().unwrap().is_some() {
            break;
        }
        let text = format!("meanwhile-{n}");
        let seq = append(journal, epoch, &text)?;
        acknowledged.lock().unwrap().insert(seq.0, text);
        pause(Duration::from_millis(1));
    }
    Ok(())
}

#[test]
fn movers_that_are_killed_or_stand_still_at_any_moment_leave_every_tail_whole_in_one_place() {
    let (three, chance) = (Three::new(&server()), Chance::from_os());
    let acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        let mut mover = Mover::start(&three, &acknowledged);
        while mover.moves.load(Ordering::SeqCst) <= round % 3 {
            pause(Duration::from_millis(1));
        }
        pause(Duration::from_micros(1 + chance.below(30_000)));
        let stands_still = round % 2 == 0;
        mover.signal(if stands_still { "-STOP" } else { "-KILL" });
        let owned = "SELECT count(*) FROM stride.cells WHERE cell = 1 AND holder <> 0 AND database = 0";
        let places = (0..3).filter(|at| three.psql(*at, owned) == "1").count();
        assert!(places <= 1, "{places} databases would take a record");

        let journal = open(three.url(0)).unwrap();
        let mut epoch = journal.open_one(CELL).unwrap().epoch;
        let text = format!("next-{round}");
        let seq = append(&journal, epoch, &text).unwrap();
        acknowledged.lock().unwrap().insert(seq.0, text);
        if stands_still {
            mover.signal("-CONT");
            match goes_on(&journal, epoch, &mut mover, &acknowledged) {
                Ok(()) => {
                    let ended = mover.ended().expect("it finds out");
                    assert!(ended.contains("was given to another owner"), "{ended}");
                }
                // It stood still between a move and its next opening, which takes over whoever has the cell.
                Err(Error::Fenced { .. }) => {
                    mover.signal("-KILL");
                    mover.ended();
                    epoch = journal.open_one(CELL).unwrap().epoch;
                }
                Err(other) => panic!("{other}"),
            }
        } else {
            assert_eq!(mover.ended(), None);
        }
        // Nothing came in between, and the cell goes on.
        let text = format!("last-{round}");
        let seq = append(&journal, epoch, &text).unwrap();
        acknowledged.lock().unwrap().insert(seq.0, text);
        let found = journal.replay(CELL, Seq::ZERO).unwrap();
        for (seq, text) in &*acknowledged.lock().unwrap() {
            let record = &found[usize::try_from(*seq).unwrap() - 1];
            assert_eq!(record.bytes, text.as_bytes(), "round {round}: record {seq}");
        }
    }
    assert_eq!(three.psql(0, "SELECT moves > 0 FROM stride.cells WHERE cell = 1"), "t");
}
