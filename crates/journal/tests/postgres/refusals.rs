//! Databases that cannot hold this journal, and what is said then. A refusal changes nothing.

use bytes::Bytes;
use futures::executor::block_on;
use stride_ids::{CellId, Seq};
use stride_journal::{
    Error, Journal,
    postgres::{PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};

use crate::support::{open, server, settings};

const CELL: CellId = CellId(1);

fn refusal(settings: Settings) -> Error {
    PostgresJournal::open(settings, Clock::real(), Chance::from_os()).map(drop).unwrap_err()
}

#[test]
fn what_is_not_a_usable_connection_string_is_said_with_one_that_is() {
    for (url, means) in [
        ("nonsense", "postgres://"),
        ("postgres:///db", "no host"),
        ("postgres://h/db?sslmode=verify-ca", "verify-full"),
    ] {
        let refused = refusal(settings(url.into()));
        assert!(matches!(&refused, Error::Invalid(why) if why.contains(means)), "{refused}");
    }
    let refused = refusal(Settings { cells: 0, ..settings("postgres://h/db".into()) });
    assert!(matches!(refused, Error::Invalid(_)));
}

#[test]
fn a_database_that_is_not_there_is_refused_at_once() {
    let server = server();
    let refused = refusal(settings(server.url("nowhere")));
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("nowhere")), "{refused}");
}

#[test]
fn a_server_that_does_not_sync_is_refused() {
    let server = Server::start().unwrap();
    server.psql("postgres", "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()").unwrap();
    server.until("SHOW fsync", "off").unwrap();
    let refused = refusal(settings(server.url("postgres")));
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("fsync = on")), "{refused}");
}

#[test]
fn a_server_that_commits_asynchronously_by_default_does_not_for_us() {
    let server = server();
    let database = server.fresh_database().unwrap();
    server.psql("postgres", &format!("ALTER DATABASE {database} SET synchronous_commit = off")).unwrap();
    let journal = open(server.url(&database)).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    let note = "CREATE TABLE noted (setting text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO noted VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE UPDATE ON stride.cells FOR EACH ROW EXECUTE FUNCTION note()";
    server.psql(&database, note).unwrap();
    block_on(journal.append(CELL, epoch, Bytes::from("x")).unwrap()).unwrap();
    assert_eq!(server.psql(&database, "SELECT DISTINCT setting FROM noted").unwrap(), "on");
}

#[test]
fn tables_of_a_newer_release_and_other_cells_are_refused_before_anybody_is_fenced() {
    let server = server();
    let database = server.fresh_database().unwrap();
    let url = server.url(&database);
    let journal = open(url.clone()).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    // Both of its sessions are there then, and were not refused.
    block_on(journal.append(CELL, epoch, Bytes::from("mine")).unwrap()).unwrap();

    let refused = refusal(Settings { cells: 9, ..settings(url.clone()) });
    assert_eq!(refused, Error::CellsFixed { stored: 8, asked: 9 });
    server.psql(&database, "UPDATE stride.version SET version = 99").unwrap();
    let refused = refusal(settings(url.clone()));
    assert!(matches!(&refused, Error::Unfit(why) if why.contains("99") && why.contains("release")), "{refused}");

    server.psql(&database, "UPDATE stride.version SET version = 3").unwrap();
    block_on(journal.append(CELL, epoch, Bytes::from("still mine")).unwrap()).unwrap();
    assert_eq!(open(url).unwrap().replay(CELL, Seq::ZERO).unwrap().len(), 2);
}

#[test]
fn a_cell_that_does_not_exist_is_a_bug_and_said_so() {
    let server = server();
    let journal = open(server.url(&server.fresh_database().unwrap())).unwrap();
    let unknown = Error::UnknownCell { cell: CellId(8), cells: 8 };
    assert_eq!(journal.open_one(CellId(8)), Err(unknown.clone()));
    assert_eq!(journal.truncate(CellId(8), Seq(1)), Err(unknown));
}

#[test]
fn records_that_were_changed_or_removed_behind_our_back_are_damage() {
    let server = server();
    let database = server.fresh_database().unwrap();
    let journal = open(server.url(&database)).unwrap();
    let epoch = journal.open_one(CELL).unwrap().epoch;
    for n in 1..=4 {
        block_on(journal.append(CELL, epoch, Bytes::from(n.to_string())).unwrap()).unwrap();
    }
    for (sql, at) in [
        ("UPDATE stride.records SET bytes = 'changed' WHERE seq = 3", 3),
        ("DELETE FROM stride.records WHERE seq = 2", 2),
        ("DELETE FROM stride.records", 1),
    ] {
        server.psql(&database, sql).unwrap();
        let refused = journal.replay(CELL, Seq::ZERO).unwrap_err();
        assert!(matches!(&refused, Error::Damaged { offset, .. } if *offset == at), "{refused}");
    }
}
