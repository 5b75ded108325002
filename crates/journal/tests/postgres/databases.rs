//! Several databases: which are taken, what one that is away takes with it, and tails that move.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::{CellId, DatabaseId, Epoch, Seq};
use stride_journal::{
    Error, Journal,
    postgres::{Directory, PostgresJournal},
};
use stride_private_postgres::Server;
use stride_sim::Clock;

use crate::support::{Three, add, open, server};

const CELL: CellId = CellId(1);

fn append(journal: &PostgresJournal, cell: CellId, epoch: Epoch, text: &str) -> Result<(), Error> {
    block_on(journal.append(cell, epoch, Bytes::from(text.to_owned()))?).map(drop)
}

fn texts(journal: &PostgresJournal, cell: CellId, after: u64) -> Vec<String> {
    let records = journal.replay(cell, Seq(after)).unwrap();
    records.iter().map(|record| String::from_utf8_lossy(&record.bytes).into_owned()).collect()
}

fn list(first: &str) -> Vec<stride_journal::postgres::DatabaseStatus> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Directory::new(first).unwrap().list()).unwrap()
}

#[test]
fn a_database_that_is_there_already_or_foreign_or_newer_or_away_is_refused_and_changes_nothing() {
    let server = server();
    let three = Three::new(&server);
    let first = three.url(0);
    let another = server.fresh_database().unwrap();
    drop(open(server.url(&another)).unwrap());
    let newer = server.fresh_database().unwrap();
    drop(open(server.url(&newer)).unwrap());
    server.psql(&newer, "DELETE FROM stride.meta; UPDATE stride.version SET version = 99").unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other_words = format!("{}?application_name=other", three.url(1));
    let before = list(&first);
    for (url, says) in [
        (three.url(1), "it is database 1 of this cluster already"),
        (other_words, "it is database 1 of this cluster already"),
        (first.clone(), "it is the first database of this cluster already"),
        (server.url(&another), "of another cluster"),
        (server.url(&newer), "version 99"),
        (server.url("nowhere"), "nowhere"),
    ] {
        let refused = add(&first, &url).unwrap_err();
        assert!(matches!(&refused, Error::Unfit(why) if why.contains(says)), "{says}: {refused}");
    }
    let away = add(&first, &format!("postgres://me:secret@127.0.0.1:{unused}/stride")).unwrap_err();
    assert!(matches!(&away, Error::Unavailable(why) if why.contains("the new database")), "{away}");
    assert!(!away.to_string().contains("secret"));
    assert!(matches!(add(&first, "nonsense"), Err(Error::Invalid(_))));
    assert_eq!(list(&first), before);
    // Nor is there a cluster where there is none.
    let nothing = server.fresh_database().unwrap();
    let refused = add(&server.url(&nothing), &server.url(&server.fresh_database().unwrap())).unwrap_err();
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("--cluster")), "{refused}");
    assert_eq!(server.psql(&nothing, "SELECT to_regclass('stride.meta') IS NULL").unwrap(), "t");
}

#[test]
fn one_that_was_added_halfway_is_added_by_doing_it_again() {
    let three = Three::new(&server());
    three.psql(0, "DELETE FROM stride.databases WHERE number = 2");
    assert_eq!(add(&three.url(0), &three.url(2)), Ok(DatabaseId(2)));
}

#[test]
fn a_further_database_is_not_taken_for_the_first_one() {
    let three = Three::new(&server());
    let refused = open(three.url(1)).map(drop).unwrap_err();
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("first one")), "{refused}");
    let refused = add(&three.url(1), &three.url(2)).unwrap_err();
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("--cluster")), "{refused}");
}

#[test]
fn an_address_is_changed_only_to_one_of_the_same_database_and_passwords_are_not_told() {
    let three = Three::new(&server());
    let readdress = |number, url: &str| {
        let directory = Directory::new(&three.url(0)).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(directory.readdress(DatabaseId(number), url))
    };
    let with_password = three.url(1).replace("postgres@", "postgres:secret@");
    readdress(1, &with_password).unwrap();
    for (number, url, says) in [
        (1, three.url(2), "bring that one back"),
        (1, three.url(0), "the first database"),
        (7, three.url(1), "no further database 7"),
    ] {
        let refused = readdress(number, &url).unwrap_err();
        assert!(matches!(&refused, Error::Unfit(why) if why.contains(says)), "{refused}");
    }
    let listed = list(&three.url(0));
    assert!(!format!("{listed:?}{:?}", Directory::new(&with_password).unwrap()).contains("secret"));
    assert_eq!(
        listed.iter().map(|one| (one.number.0, one.cells, one.trouble.clone())).collect::<Vec<_>>(),
        [(0, 8, None), (1, 0, None), (2, 0, None)]
    );
    assert_eq!(three.psql(0, "SELECT count(*) FROM stride.databases WHERE url LIKE '%secret%'"), "1", "it was changed");
}

/// How many databases would take a record of the cell, from anybody.
fn open_places(three: &Three) -> usize {
    let owned =
        |at: usize| three.psql(at, "SELECT count(*) FROM stride.cells WHERE cell = 1 AND holder <> 0 AND database = 0");
    [0, 1, 2].into_iter().filter(|at| owned(*at) == "1").count()
}

#[test]
fn a_tail_that_moves_is_whole_wherever_it_goes_and_those_who_had_it_store_nothing_anywhere() {
    let three = Three::new(&server());
    let mut expected = Vec::new();
    let mut former: Vec<(PostgresJournal, Epoch)> = Vec::new();
    for (round, to) in [1, 2, 0, 2, 1, 0, 1].into_iter().enumerate() {
        let journal = open(three.url(0)).unwrap();
        // Who had it does not know that it is going.
        let opened = journal.open_one(CELL).unwrap();
        assert_eq!(opened.last, Seq(expected.len() as u64));
        for n in 0..3 {
            expected.push(format!("{round}-{n}"));
            append(&journal, CELL, opened.epoch, &expected[expected.len() - 1]).unwrap();
        }
        let stale = open(three.url(0)).unwrap();
        let stale_epoch = stale.open_one(CELL).unwrap().epoch;
        expected.push(format!("{round}-stale"));
        append(&stale, CELL, stale_epoch, &expected[expected.len() - 1]).unwrap();
        former.push((journal, opened.epoch));

        let mover = open(three.url(0)).unwrap();
        let refused = mover.move_tail(CELL, DatabaseId(to)).unwrap_err();
        assert!(matches!(refused, Error::Fenced { .. }), "somebody has it: {refused}");
        let epoch = mover.open_one(CELL).unwrap().epoch;
        mover.release(CELL, epoch).unwrap();
        mover.move_tail(CELL, DatabaseId(to)).unwrap();
        // In the first one the claim is the fence already.
        assert_eq!(open_places(&three), usize::from(to == 0), "nobody else has it yet");
        mover.move_tail(CELL, DatabaseId(to)).unwrap();
        assert_eq!(three.psql(0, "SELECT database FROM stride.cells WHERE cell = 1"), to.to_string());
        let opened = mover.open_one(CELL).unwrap();
        expected.push(format!("{round}-moved"));
        append(&mover, CELL, opened.epoch, &expected[expected.len() - 1]).unwrap();
        assert_eq!(texts(&mover, CELL, 0), expected);
        assert_eq!(open_places(&three), 1);
        former.push((stale, stale_epoch));
        former.push((mover, opened.epoch));
        let last = former.len() - 1;
        for (journal, epoch) in &former[..last] {
            assert!(matches!(append(journal, CELL, *epoch, "stale"), Err(Error::Fenced { .. })));
        }
    }
    let journal = open(three.url(0)).unwrap();
    journal.open_one(CELL).unwrap();
    assert_eq!(texts(&journal, CELL, 0), expected);
}

#[test]
fn what_was_given_up_does_not_move_and_what_was_left_behind_is_given_up_in_the_end() {
    let three = Three::new(&server());
    let journal = open(three.url(0)).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    for n in 1..=6 {
        append(&journal, CELL, epoch, &n.to_string()).unwrap();
    }
    journal.truncate(CELL, Seq(4)).unwrap();
    journal.release(CELL, epoch).unwrap();
    journal.move_tail(CELL, DatabaseId(1)).unwrap();
    assert_eq!(three.psql(1, "SELECT array_agg(seq ORDER BY seq) FROM stride.records"), "{5,6}");
    assert_eq!(three.psql(0, "SELECT floor FROM stride.cells WHERE cell = 1"), "6", "nothing is wanted there");
    let epoch = journal.open_one(CELL).unwrap().epoch;
    assert_eq!(texts(&journal, CELL, 4), ["5", "6"]);
    assert!(matches!(journal.replay(CELL, Seq(3)), Err(Error::Gap { .. })));
    journal.release(CELL, epoch).unwrap();
    journal.move_tail(CELL, DatabaseId(2)).unwrap();
    let floor = |at: usize| three.psql(at, "SELECT floor FROM stride.cells WHERE cell = 1");
    // As if the copy were there, and the switch not made yet: whoever comes leaves it alone.
    three.psql(0, "UPDATE stride.cells SET database = 1 WHERE cell = 1");
    let next = open(three.url(0)).unwrap();
    next.reach(DatabaseId(2)).unwrap();
    assert_eq!(floor(2), "4");
    three.psql(0, "UPDATE stride.cells SET database = 2 WHERE cell = 1");
    // As if the mover had been killed right after the switch.
    three.psql(1, "UPDATE stride.cells SET floor = 4 WHERE cell = 1");
    next.open_one(CELL).unwrap();
    next.reach(DatabaseId(1)).unwrap();
    assert_eq!((floor(1).as_str(), floor(2).as_str()), ("6", "4"));
    assert_eq!(texts(&next, CELL, 4), ["5", "6"]);
}

#[test]
fn a_damaged_tail_does_not_move_and_stays_where_it_is() {
    let three = Three::new(&server());
    let journal = open(three.url(0)).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    for n in 1..=3 {
        append(&journal, CELL, epoch, &n.to_string()).unwrap();
    }
    journal.release(CELL, epoch).unwrap();
    three.psql(0, "UPDATE stride.records SET bytes = 'changed' WHERE seq = 2");
    assert!(matches!(journal.move_tail(CELL, DatabaseId(1)), Err(Error::Damaged { offset: 2, .. })));
    assert_eq!(three.psql(0, "SELECT database FROM stride.cells WHERE cell = 1"), "0");
    journal.open_one(CELL).unwrap();
    assert_eq!(texts(&journal, CELL, 2), ["3"]);
}

/// Lets some time go by.
pub(crate) fn pause(time: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(Clock::real().sleep(time));
}

/// A first database on one server, a further one on another; cell 1 is there.
fn two_servers() -> (Server, Server, Arc<PostgresJournal>, [Epoch; 2]) {
    let (first, second) = (Server::start().unwrap(), Server::start().unwrap());
    drop(open(first.url("postgres")).unwrap());
    add(&first.url("postgres"), &second.url("postgres")).unwrap();
    first.psql("postgres", "UPDATE stride.cells SET database = 1 WHERE cell = 1").unwrap();
    let journal = Arc::new(open(first.url("postgres")).unwrap());
    let epochs = [CellId(0), CELL].map(|cell| journal.open_one(cell).unwrap().epoch);
    (first, second, journal, epochs)
}

/// Waits for a lost cell, and takes it over again once that goes.
fn lost_and_back(journal: &PostgresJournal, epoch: Epoch, repair: impl FnOnce()) -> Epoch {
    let fenced = block_on(journal.lost());
    assert_eq!((fenced.cell, fenced.epoch), (CELL, epoch));
    assert!(matches!(append(journal, CELL, epoch, "x"), Err(Error::Unavailable(_) | Error::Unfit(_))));
    assert_eq!(block_on(journal.lost()), fenced, "whoever tries all the same is told again");
    let refused = journal.open_at(&[(CELL, epoch)]).unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_) | Error::Unfit(_)), "{refused}");
    repair();
    loop {
        match journal.open_at(&[(CELL, epoch)]) {
            Ok(opened) => break opened[0].unwrap().epoch,
            Err(Error::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_database_that_is_away_takes_only_its_own_cells_with_it_and_they_come_back() {
    let (first, mut second, journal, [here, there]) = two_servers();
    append(&journal, CELL, there, "before").unwrap();
    second.kill();
    let mut n = 0;
    // What is ordered waits, then it is refused.
    let waiting = journal.append(CELL, there, Bytes::from("in doubt"));
    while !matches!(journal.append(CELL, there, Bytes::from("refused")), Err(Error::Unavailable(_))) {
        n += 1;
        append(&journal, CellId(0), here, "goes on").unwrap();
        pause(Duration::from_millis(5));
    }
    let seen = first.psql("postgres", "SELECT epoch FROM stride.cells WHERE cell = 1").unwrap();
    let back = lost_and_back(&journal, there, || {
        assert_eq!(
            first.psql("postgres", "SELECT epoch FROM stride.cells WHERE cell = 1").unwrap(),
            seen,
            "a database that is away costs no epochs"
        );
        append(&journal, CellId(0), here, "goes on").unwrap();
        second.resume().unwrap();
    });
    assert!(block_on(waiting.unwrap()).is_err(), "it was not acknowledged");
    append(&journal, CELL, back, "after").unwrap();
    let found = texts(&journal, CELL, 0);
    assert_eq!((found.first().unwrap().as_str(), found.last().unwrap().as_str()), ("before", "after"));
    assert_eq!(texts(&journal, CellId(0), 0).len(), n + 1);
}

#[test]
fn a_database_that_is_not_what_it_was_takes_only_its_own_cells_with_it() {
    let (_first, second, journal, [here, there]) = two_servers();
    append(&journal, CELL, there, "before").unwrap();
    let cluster = second.psql("postgres", "SELECT cluster FROM stride.meta").unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'stride'";
    second.psql("postgres", &format!("UPDATE stride.meta SET cluster = 'clu-other'; {end}")).unwrap();
    let back = lost_and_back(&journal, there, || {
        append(&journal, CellId(0), here, "goes on").unwrap();
        second.psql("postgres", &format!("UPDATE stride.meta SET cluster = '{cluster}'")).unwrap();
    });
    append(&journal, CELL, back, "after").unwrap();
    assert_eq!(texts(&journal, CELL, 0), ["before", "after"]);
}

#[test]
fn epochs_go_on_above_those_of_a_further_database_when_the_first_one_was_restored() {
    let three = Three::new(&server());
    three.psql(0, "UPDATE stride.cells SET database = 1 WHERE cell = 1");
    let journal = open(three.url(0)).unwrap();
    let mut epoch = Epoch(0);
    for _ in 0..5 {
        epoch = journal.open_one(CELL).unwrap().epoch;
    }
    append(&journal, CELL, epoch, "x").unwrap();
    three.psql(0, "UPDATE stride.cells SET epoch = 1, holder = 0 WHERE cell = 1");
    let next = open(three.url(0)).unwrap();
    assert!(next.open_one(CELL).unwrap().epoch > epoch);
    assert_eq!(texts(&next, CELL, 0), ["x"]);
}

#[test]
fn the_last_records_are_those_of_each_cell_s_own_database_and_of_one_moment() {
    let three = Three::new(&server());
    three.psql(0, "UPDATE stride.cells SET database = 1 WHERE cell = 1");
    let journal = open(three.url(0)).unwrap();
    for (cell, count) in [(CellId(0), 2), (CELL, 3)] {
        let epoch = journal.open_one(cell).unwrap().epoch;
        (0..count).for_each(|_| append(&journal, cell, epoch, "x").unwrap());
    }
    assert_eq!(journal.lasts().unwrap()[..3], [Seq(2), Seq(3), Seq(0)]);
    let epoch = journal.open_one(CELL).unwrap().epoch;
    journal.release(CELL, epoch).unwrap();
    journal.move_tail(CELL, DatabaseId(2)).unwrap();
    journal.open_one(CELL).unwrap();
    assert_eq!(journal.lasts().unwrap()[..3], [Seq(2), Seq(3), Seq(0)]);
    // The first database of a moment before the move.
    three.psql(0, "UPDATE stride.cells SET database = 1 WHERE cell = 1");
    let refused = journal.lasts().unwrap_err();
    assert!(matches!(&refused, Error::Lost(why) if why.contains("database 2") && why.contains("cell-1")), "{refused}");
}
