//! What was given up is given back to the server's disk, in whole partitions.

use std::time::Duration;

use bytes::Bytes;
use stride_ids::{CellId, Seq};
use stride_journal::{Error, Journal};
use stride_sim::Clock;

use crate::support::{open, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_partition_is_left_and_emptied_once_nothing_in_it_is_wanted() {
    let server = server();
    let database = server.fresh_database().unwrap();
    let journal = open(server.url(&database)).unwrap();
    let (a, b) = (CellId(0), CellId(1));
    let (in_a, in_b) = (journal.open_one(a).unwrap().epoch, journal.open_one(b).unwrap().epoch);
    journal.append(b, in_b, Bytes::from("wanted for long")).unwrap().await.unwrap();
    let large = Bytes::from(vec![7; 8 << 20]);
    let clock = Clock::real();
    let until = async |sql: &str, answer: &str| {
        let began = clock.now();
        while server.psql(&database, sql).unwrap() != answer {
            assert!(clock.now() - began < Duration::from_secs(60), "{sql} is never {answer}");
            clock.sleep(Duration::from_millis(50)).await;
        }
    };
    for _ in 0..10 {
        journal.append(a, in_a, large.clone()).unwrap().await.unwrap();
    }
    until("SELECT slot FROM stride.meta", "1").await;
    journal.truncate(a, Seq(10)).unwrap();
    until("SELECT floor FROM stride.cells WHERE cell = 0", "10").await;
    // The journal learns which partition is current from its keeper, at the next pass.
    loop {
        journal.append(a, in_a, Bytes::from("next")).unwrap().await.unwrap();
        if server.psql(&database, "SELECT EXISTS (SELECT FROM stride.records_1)").unwrap() == "t" {
            break;
        }
    }
    assert_eq!(server.psql(&database, "SELECT count(*) > 0 FROM stride.records_0").unwrap(), "t", "one cell wants it");
    let replayed = journal.replay(a, Seq(10)).unwrap();
    assert!(replayed.iter().all(|record| record.bytes == "next"));
    let last = Seq(10 + replayed.len() as u64);
    journal.truncate(a, last).unwrap();
    journal.truncate(b, Seq(1)).unwrap();
    until("SELECT pg_table_size('stride.records_0') < 100000", "t").await;
    // The first one is in it for certain; a slow machine writes the last ones into the next partition.
    assert!(matches!(journal.replay(a, Seq::ZERO), Err(Error::Gap { .. })));
    drop(journal);
    let journal = open(server.url(&database)).unwrap();
    assert_eq!(journal.open_one(a).unwrap().last, last, "positions go on");
    assert_eq!(journal.replay(a, last).unwrap(), []);
    assert_eq!(journal.open_one(b).unwrap().last, Seq(1));
}
