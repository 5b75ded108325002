//! The same tests as every other backend.

use std::sync::Arc;

use stride_journal::{
    Journal,
    contract::{self, Backend},
};
use stride_private_postgres::Server;

use crate::support::{Three, open, server};

struct Postgres {
    server: Arc<Server>,
    database: String,
}

impl Postgres {
    /// Backends for one run of the suite, each with nothing in its database.
    fn backends(server: &Arc<Server>) -> impl Fn() -> Self {
        let database = server.fresh_database().unwrap();
        move || {
            server.psql(&database, "DROP SCHEMA IF EXISTS stride CASCADE").unwrap();
            Self { server: server.clone(), database: database.clone() }
        }
    }
}

impl Backend for Postgres {
    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(open(self.server.url(&self.database)).unwrap())
    }
}

/// Cells in three databases, as they would be after they were spread; those of the suite together in a further one, because what
/// nobody hurries comes with the next record of the same database.
impl Backend for Three {
    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(open(self.url(0)).unwrap())
    }
}

fn spread(server: &Arc<Server>) -> impl Fn() -> Three {
    let three = Three::new(server);
    move || {
        three.begin();
        three.psql(0, "UPDATE stride.cells SET database = (cell + 1) / 2 % 3");
        three.clone()
    }
}

#[test]
fn a_journal_in_several_databases_keeps_the_contract_on_a_plain_executor() {
    futures::executor::block_on(contract::all(spread(&server())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_in_several_databases_keeps_the_contract_on_tokio() {
    contract::all(spread(&server())).await;
}

#[test]
fn the_postgres_journal_keeps_the_contract_on_a_plain_executor() {
    let server = server();
    futures::executor::block_on(contract::all(Postgres::backends(&server)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_journal_keeps_the_contract_on_tokio() {
    let server = server();
    contract::all(Postgres::backends(&server)).await;
}

#[tokio::test]
async fn the_postgres_journal_keeps_the_contract_on_one_tokio_thread() {
    let server = server();
    contract::all(Postgres::backends(&server)).await;
}
