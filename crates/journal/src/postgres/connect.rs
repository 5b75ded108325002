//! How a server is reached: its connection string, a connection that commits synchronously, and what errors mean.
//!
//! Always true: a connection commits synchronously whatever the server's default is; a warning of the server makes everything
//! in flight in it doubtful, because a commit that "might not have been replicated" is reported as a success with a
//! warning. Public for those who keep tables of their own beside the journal's.

use std::{
    fmt::{self, Write as _},
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{
    AsyncMessage, Client, Config,
    config::{Host, TargetSessionAttrs},
    error::Severity,
};

use super::tls::Tls;
use crate::Error;

/// The port of a server if none is said.
const PORT: u16 = 5432;
/// How long connecting to one host may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a host may be silent before its connection counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a session needs that it does not have by itself. `set_config` on what the server knows, so that each version gets
/// only what it has.
const SET_UP: &str = "
SELECT set_config(name, wanted, false) FROM (VALUES
    ('default_transaction_isolation', 'read committed'), ('plan_cache_mode', 'force_generic_plan'),
    ('client_min_messages', 'warning'), ('statement_timeout', '0'), ('lock_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0')
) AS w(name, wanted) JOIN pg_settings USING (name);
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply'";

/// Said at the beginning of a transaction of several statements: a process that stands still in the midst of one holds its locks, and nobody is to wait
/// for it longer than this.
pub(super) const STAND_STILL_MAX: &str = "SET LOCAL idle_in_transaction_session_timeout = '2s'";

/// Why a statement or a connection failed.
#[derive(Debug)]
pub enum Trouble {
    /// Trying again may help.
    Passing(String),
    /// The server does not let us in. Whoever begins has to change something; who was in before waits until it does again.
    Refused(String),
    /// It will not help, until somebody does something.
    Lasting(Error),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        // Authorization, unknown database, and whatever a role may not do.
        let refused = |code: &str| code.starts_with("28") || code.starts_with("3D") || code == "42501";
        match error.code() {
            Some(state) if refused(state.code()) => Self::Refused(described(&error)),
            _ => Self::Passing(described(&error)),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(why) | Self::Refused(why) => f.write_str(why),
            Self::Lasting(error) => error.fmt(f),
        }
    }
}

/// An error with its causes: the driver keeps what the server said out of its own message.
fn described(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = said.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        return format!("the server says: {}{hint} ({})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Makes connections to a server.
#[derive(Clone)]
pub struct Connector {
    config: Config,
    tls: Tls,
}

impl Connector {
    /// Reads a connection string; what a connection cannot do without is set, whatever the string says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with how a database is named.
    pub fn new(url: &str) -> Result<Self, Error> {
        let wrong = |why: String| {
            Error::Invalid(format!("{why}; a database is named as in postgres://USER@HOST:5432/DATABASE"))
        };
        let (url, tls) = Tls::of(url)?;
        let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| wrong(described(&e)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("the connection string names no host".into()));
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite).application_name("stride");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_MAX);
        }
        config.keepalives_idle(SILENCE_MAX / 2).keepalives_interval(SILENCE_MAX / 5).keepalives_retries(3);
        Ok(Self { config, tls })
    }

    /// Where it connects to, in words that have no user and no password in them.
    pub(crate) fn address(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
        let hosts: Vec<String> = hosts.enumerate().map(|(at, host)| format!("{host}:{}", port(at))).collect();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }

    /// Connects, on the calling runtime, to the first host that takes writes.
    ///
    /// # Errors
    /// If none does.
    pub async fn connect(&self) -> Result<Connection, Trouble> {
        let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
        let warned = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn({
            let warned = warned.clone();
            async move {
                while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                    match message {
                        Ok(AsyncMessage::Notice(notice)) => {
                            // Read before the answer that it belongs to is handed on.
                            if notice.parsed_severity() == Some(Severity::Warning) {
                                tracing::warn!(server = notice.message(), "the database warns");
                                warned.store(true, Ordering::SeqCst);
                            }
                        }
                        Ok(_) => {}
                        Err(error) => {
                            tracing::debug!(error = described(&error), "a connection to the database ended");
                            return;
                        }
                    }
                }
            }
        });
        let connection = Connection { client, driver, warned };
        connection.client.batch_execute(SET_UP).await?;
        Ok(connection)
    }
}

/// A connection that ends when it is dropped.
pub struct Connection {
    client: Client,
    /// Ends with the connection.
    driver: JoinHandle<()>,
    warned: Arc<AtomicBool>,
}

impl Connection {
    /// For statements.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Resolves when the connection has ended.
    pub async fn ended(&mut self) {
        if !self.driver.is_finished() {
            // Whichever way it ended.
            let _ = (&mut self.driver).await;
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Forgets the warnings until now.
    pub(crate) fn forget_warnings(&self) {
        self.warned.store(false, Ordering::SeqCst);
    }

    /// The answer, unless the server warned while it was on its way.
    ///
    /// # Errors
    /// If it did.
    pub fn certain<T>(&self, answer: T) -> Result<T, Trouble> {
        if self.warned.swap(false, Ordering::SeqCst) {
            return Err(Trouble::Passing("the server warned that a commit may not have been replicated".into()));
        }
        Ok(answer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It would live on until its last answer; nobody waits for one.
        self.driver.abort();
    }
}
