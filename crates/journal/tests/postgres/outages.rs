//! Servers that end, come back, fail over, or answer what is not certain. What was acknowledged is there afterwards, once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use stride_ids::{CellId, Seq};
use stride_journal::{Error, Journal, postgres::PostgresJournal};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};

use crate::{
    support::{open, settings},
    writers::Writers,
};

const CELL: CellId = CellId(0);

fn journal(url: String) -> Arc<dyn Journal> {
    Arc::new(open(url).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_under_load_loses_and_doubles_nothing() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    let chance = Chance::from_os();
    let writers = Writers::start(&journal(url.clone()));
    for round in 0..6 {
        writers.more(chance.below(400) + 20).await;
        match round % 2 {
            0 => server.kill(),
            _ => server.stop(),
        }
        server.resume().unwrap();
    }
    writers.more(100).await;
    eprintln!("{} acknowledged, {} refused meanwhile", writers.acknowledged(), writers.refused());
    writers.stop().await.judge(&*journal(url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_to_a_synchronous_standby_under_load_loses_and_doubles_nothing() {
    let mut primary = Server::start().unwrap();
    let standby = primary.start_standby().unwrap();
    primary.require_standby().unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", primary.port(), standby.port());
    let writers = Writers::start(&journal(url.clone()));
    writers.more(500).await;
    primary.kill();
    standby.promote().unwrap();
    writers.more(500).await;
    eprintln!("{} acknowledged, {} refused meanwhile", writers.acknowledged(), writers.refused());
    writers.stop().await.judge(&*journal(url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ordered_while_the_server_is_away_waits_new_appends_are_refused_and_order_is_kept() {
    let mut server = Server::start().unwrap();
    let journal = journal(server.url("postgres"));
    let epoch = journal.open_one(CELL).unwrap().epoch;
    journal.append(CELL, epoch, Bytes::from("1")).unwrap().await.unwrap();
    server.kill();
    let (clock, mut waiting) = (Clock::real(), Vec::new());
    let refused = loop {
        match journal.append(CELL, epoch, Bytes::from((waiting.len() + 2).to_string())) {
            Ok(mut pending) => {
                assert!((&mut pending).now_or_never().is_none(), "nothing is acknowledged by a dead server");
                waiting.push(pending);
            }
            Err(error) => break error,
        }
        clock.sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(&refused, Error::Unavailable(why) if !why.is_empty()), "{refused}");
    assert!(!waiting.is_empty(), "a short absence is waited for");
    server.resume().unwrap();
    let count = waiting.len() as u64 + 1;
    for (nth, pending) in waiting.into_iter().enumerate() {
        assert_eq!(pending.await.unwrap().seq(), Seq(nth as u64 + 2));
    }
    let next = journal.append(CELL, epoch, Bytes::from("last")).unwrap().await.unwrap();
    assert_eq!(next.seq(), Seq(count + 1));
    let records = journal.replay(CELL, Seq::ZERO).unwrap();
    let texts: Vec<_> = records.iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned()).collect();
    let expected: Vec<_> = (1..=count).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(texts, expected);
}

/// PostgreSQL answers a commit whose wait for the standby was cancelled with a success and a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_may_not_have_been_replicated_is_not_acknowledged_until_it_is() {
    let primary = Server::start().unwrap();
    let standby = primary.start_standby().unwrap();
    let journal = journal(primary.url("postgres"));
    let epoch = journal.open_one(CELL).unwrap().epoch;
    primary.require_standby().unwrap();
    standby.freeze(true).unwrap();
    let mut pending = journal.append(CELL, epoch, Bytes::from("1")).unwrap();
    assert!((&mut pending).now_or_never().is_none());
    // The keeper may wait for the standby as well; it is the session that stores that is meant.
    let waits = "FROM pg_stat_activity WHERE application_name = 'stride' AND wait_event = 'SyncRep' AND query LIKE";
    primary.until(&format!("SELECT count(*) {waits} '%stride.records_0%'"), "1").unwrap();
    primary.psql("postgres", &format!("SELECT pg_cancel_backend(pid) {waits} '%stride.records_0%'")).unwrap();
    // It is stored here, and the server has answered so; but asking for it waits for the standby as well.
    primary.until(&format!("SELECT count(*) {waits} '%asked%'"), "1").unwrap();
    assert_eq!(primary.psql("postgres", "SELECT last FROM stride.cells WHERE cell = 0").unwrap(), "1");
    assert!((&mut pending).now_or_never().is_none(), "only one server has it");
    let clock = Clock::real();
    let refused = loop {
        match journal.append(CELL, epoch, Bytes::from("more")) {
            Ok(_) => clock.sleep(Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Unavailable(_)), "{refused}");
    standby.freeze(false).unwrap();
    assert_eq!(pending.await.unwrap().seq(), Seq(1));
}

#[test]
fn closing_waits_for_what_is_queued_and_a_dead_server_holds_nobody_up_for_long() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    let first = open(url.clone()).unwrap();
    let epoch = first.open_one(CELL).unwrap().epoch;
    first.append(CELL, epoch, Bytes::from("queued")).unwrap().unhurried();
    drop(first);
    let second = PostgresJournal::open(settings(url), Clock::real(), Chance::from_os()).unwrap();
    let opened = second.open_one(CELL).unwrap();
    assert_eq!(opened.last, Seq(1));
    server.kill();
    let pending = second.append(CELL, opened.epoch, Bytes::from("never")).unwrap();
    let (clock, closing) = (Clock::real(), std::thread::spawn(move || drop(second)));
    let began = clock.now();
    closing.join().unwrap();
    assert!(clock.now() - began < Duration::from_secs(20));
    assert!(matches!(futures::executor::block_on(pending), Err(Error::Stopped(_))));
}
