//! One server for all tests of this binary that do not kill theirs, and journals on it.

use std::sync::{Arc, OnceLock};

use stride_ids::Incarnation;
use stride_journal::{
    Error,
    postgres::{PostgresJournal, Settings},
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
