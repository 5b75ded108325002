//! One server for all tests of this binary that do not kill theirs, and journals on it.

use std::sync::{Arc, OnceLock};

use stride_ids::{DatabaseId, Incarnation};
use stride_journal::{
    Error,
    postgres::{Directory, PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};

/// A server that is left alone. It ends with the last test that has it.
pub(crate) fn server() -> Arc<Server> {
    static SERVER: OnceLock<parking::Shared> = OnceLock::new();
    SERVER.get_or_init(parking::Shared::default).get()
}

mod parking {
    use std::sync::{Arc, Mutex, Weak};

    use stride_private_postgres::Server;

    /// Kept only by those who use it: a static is never dropped, and would leave the server behind.
    #[derive(Default)]
    pub(super) struct Shared(Mutex<Weak<Server>>);

    impl Shared {
        pub(super) fn get(&self) -> Arc<Server> {
            let mut shared = self.0.lock().unwrap();
            if let Some(server) = shared.upgrade() {
                return server;
            }
            let server = Arc::new(Server::start().unwrap_or_else(|e| panic!("{e}")));
            *shared = Arc::downgrade(&server);
            server
        }
    }
}

pub(crate) fn settings(url: String) -> Settings {
    Settings { url, cells: 8, incarnation: Incarnation::of_bits(Chance::from_os().next_u64()) }
}

pub(crate) fn open(url: String) -> Result<PostgresJournal, Error> {
    PostgresJournal::open(settings(url), Clock::real(), Chance::from_os())
}

/// Adds a database to the cluster of a first one. On a thread of its own, so that tests on a runtime can do it as well.
pub(crate) fn add(first: &str, url: &str) -> Result<DatabaseId, Error> {
    let directory = Directory::new(first)?;
    let added = || tokio::runtime::Runtime::new().unwrap().block_on(directory.add(url, &Chance::from_os()));
    std::thread::scope(|scope| scope.spawn(added).join().unwrap())
}

/// A first database and two further ones.
#[derive(Clone)]
pub(crate) struct Three {
    pub(crate) server: Arc<Server>,
    pub(crate) databases: [String; 3],
}

impl Three {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let databases = [(); 3].map(|()| server.fresh_database().unwrap());
        let three = Self { server: server.clone(), databases };
        three.begin();
        three
    }

    /// Begins anew, with nothing in them.
    pub(crate) fn begin(&self) {
        (0..3).for_each(|at| drop(self.psql(at, "DROP SCHEMA IF EXISTS stride CASCADE")));
        drop(open(self.url(0)).unwrap());
        for further in [1, 2] {
            assert_eq!(add(&self.url(0), &self.url(further)), Ok(DatabaseId(u16::try_from(further).unwrap())));
        }
    }

    pub(crate) fn url(&self, at: usize) -> String {
        self.server.url(&self.databases[at])
    }

    pub(crate) fn psql(&self, at: usize, sql: &str) -> String {
        self.server.psql(&self.databases[at], sql).unwrap()
    }
}
