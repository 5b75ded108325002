//! A PostgreSQL server of one's own, for tests and benches: the machine's own programs, a temporary directory, a free port on
//! loopback, and nothing left when it is dropped.
//!
//! PostgreSQL refuses to run as root, so root runs it as the user `postgres`, which every package of it brings along.
//! Not here: anything that a node needs. A node is given the address of a server.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use stride_sim::Clock;

use crate::programs::{Programs, run, run_with, text};

mod programs;

/// How long a server may take to start, to copy another one, or to be promoted.
const START_MAX: Duration = Duration::from_secs(60);
/// How long until it is looked at again whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Asks a server for the id of its process, which is the first line of a file that it keeps beside its data.
const PROCESS_ID: &str = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)";
/// The user that root runs it as.
const USER: &str = "postgres";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The programs are not there.
    #[error(
        "PostgreSQL is not on this machine; on Debian and Ubuntu: apt-get install postgresql (any version from 13 on)"
    )]
    NotInstalled,
    /// Root has nobody to run it as.
    #[error("PostgreSQL does not run as root, and there is no user `{USER}`; the package of PostgreSQL makes one")]
    NoUser,
    /// Files could not be prepared.
    #[error("preparing a directory for PostgreSQL")]
    Io(#[from] io::Error),
    /// One of its programs failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: String,
        /// What it wrote.
        said: String,
    },
    /// It did not answer in time.
    #[error("PostgreSQL does not answer after {START_MAX:?}; its log says: {log}")]
    Silent {
        /// The end of its log.
        log: String,
    },
}

/// A network of its own for a server, as `ip netns add` makes it: so it can be cut off.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The address that the server listens on, which this process reaches as well.
    pub address: Ipv4Addr,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    dir: PathBuf,
    namespace: Option<Namespace>,
    port: u16,
    /// In a process group of its own.
    apart: bool,
    process: Option<Child>,
    clock: Clock,
    databases: AtomicU32,
    // Dropped last: fields drop in order.
    _home: tempfile::TempDir,
}

impl Server {
    /// A server with nothing in it, that keeps what it commits: `fsync` is on.
    ///
    /// # Errors
    /// If there is no PostgreSQL, with what to install; or if it does not start.
    pub fn start() -> Result<Self, Error> {
        Self::new(false, None)
    }

    /// The same, but a Ctrl-C on the terminal does not reach it: whoever holds this says when it ends.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_apart() -> Result<Self, Error> {
        Self::new(true, None)
    }

    /// The same in a network of its own.
    ///
    /// # Errors
    /// As [`Server::start`], and if this process may not enter that network.
    pub fn start_in(namespace: Namespace) -> Result<Self, Error> {
        Self::new(true, Some(namespace))
    }

    fn new(apart: bool, namespace: Option<Namespace>) -> Result<Self, Error> {
        let programs = Programs::find()?;
        let (home, dir) = programs.home()?;
        let mut initdb = programs.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "--username", USER]);
        run(initdb.arg("--pgdata").arg(&dir))?;
        if namespace.is_some() {
            // What reaches it from other networks is trusted like what is here: nobody else is on them.
            let mut trusted = fs::OpenOptions::new().append(true).open(dir.join("pg_hba.conf"))?;
            writeln!(trusted, "host all all samenet trust")?;
        }
        Self::begin(programs, home, dir, apart, namespace)
    }

    /// A standby of this one. It is synchronous once [`Server::require_standby`] was called.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_standby(&self) -> Result<Self, Error> {
        let programs = self.programs.clone();
        let (home, dir) = programs.home()?;
        let mut copy = programs.command("pg_basebackup");
        copy.arg(format!("--host={}", self.address()));
        copy.args(["--port", &self.port.to_string(), "--username", USER, "--no-sync"]);
        run(copy.args(["--checkpoint=fast", "--write-recovery-conf", "--pgdata"]).arg(&dir))?;
        Self::begin(programs, home, dir, self.apart, self.namespace.clone())
    }

    /// A server on a data directory that was made before, such as a copy that is to be recovered. The directory moves to a place of
    /// the server's own.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(copy: &Path) -> Result<Self, Error> {
        let programs = Programs::find()?;
        let (home, dir) = programs.home()?;
        run(Command::new("cp").arg("-a").arg(copy).arg(&dir))?;
        fs::remove_dir_all(copy)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        if let Some((user, group)) = programs.user {
            run(Command::new("chown").args(["-R", &format!("{user}:{group}")]).arg(&dir))?;
        }
        Self::begin(programs, home, dir, false, None)
    }

    /// Where the programs of this PostgreSQL are.
    pub fn programs(&self) -> &Path {
        &self.programs.bin
    }

    fn begin(
        programs: Programs,
        home: tempfile::TempDir,
        dir: PathBuf,
        apart: bool,
        namespace: Option<Namespace>,
    ) -> Result<Self, Error> {
        let (clock, databases) = (Clock::real(), AtomicU32::new(0));
        let mut server =
            Self { programs, dir, namespace, port: 0, apart, process: None, clock, databases, _home: home };
        let began = server.clock.now();
        loop {
            // Free now; if somebody takes it before the server does, the server ends, and another one is as good.
            server.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if server.try_start(began)? {
                return Ok(server);
            }
        }
    }

    /// Starts it again after [`Server::kill`] or [`Server::stop`], with the same data and on the same port.
    ///
    /// # Errors
    /// If it does not start.
    pub fn resume(&mut self) -> Result<(), Error> {
        let began = self.clock.now();
        // After a kill the processes of the one before may take a moment to notice, and until then it ends at once.
        while !self.try_start(began)? {}
        Ok(())
    }

    /// Starts it and waits until it answers; false if it ended instead, and there is time for another try since `began`.
    fn try_start(&mut self, began: Duration) -> Result<bool, Error> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut postgres = self.programs.command_in("postgres", self.namespace.as_ref());
        postgres.arg("-D").arg(&self.dir).args(["-p", &self.port.to_string()]);
        for setting in [
            &format!("listen_addresses={}", self.address()),
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=64MB",
            "max_wal_size=2GB",
        ] {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if self.apart {
            postgres.process_group(0);
        }
        let mut process = postgres.spawn()?;
        let id = process.id().to_string();
        while self.clock.now() - began < START_MAX && process.try_wait()?.is_none() {
            // Somebody else's server may answer on a port that was taken from us.
            if self.psql("postgres", PROCESS_ID).ok().as_ref() == Some(&id) {
                self.process = Some(process);
                return Ok(true);
            }
            self.clock.block(LOOK_AGAIN);
        }
        end(&mut process);
        if self.clock.now() - began >= START_MAX {
            return Err(Error::Silent { log: self.said() });
        }
        self.clock.block(LOOK_AGAIN);
        Ok(false)
    }

    fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// The end of what it wrote.
    fn said(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn address(&self) -> Ipv4Addr {
        self.namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |namespace| namespace.address)
    }

    /// Its port on 127.0.0.1, or on the address that it was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection string of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@{}:{}/{database}", self.address(), self.port)
    }

    /// A database with nothing in it: its name.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn fresh_database(&self) -> Result<String, Error> {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL, each statement by itself, and returns what it prints, a row a line, columns with `|` between them.
    ///
    /// # Errors
    /// If the server refuses or is not there.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut psql = self.programs.command("psql");
        psql.args(["-h", &self.address().to_string(), "-p", &self.port.to_string(), "-U", USER, "-d", database]);
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1"]);
        Ok(text(&run_with(&mut psql, sql)?.stdout))
    }

    /// From now on new connections may use TLS, with this certificate and key in PEM.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn serve_tls(&self, certificate: &str, key: &str) -> Result<(), Error> {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.dir.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = self.programs.user {
                chown(&path, Some(user), Some(group))?;
            }
        }
        let loaded = "SELECT pg_conf_load_time()";
        let before = self.psql("postgres", loaded)?;
        self.psql("postgres", "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()")?;
        self.until(&format!("SELECT pg_conf_load_time() <> '{before}' AND current_setting('ssl') = 'on'"), "t")
    }

    /// From now on a commit waits for a standby.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn require_standby(&self) -> Result<(), Error> {
        self.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()")?;
        self.until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "1")
    }

    /// Makes a standby the primary. It waits for no standby then.
    ///
    /// # Errors
    /// If it does not become one.
    pub fn promote(&self) -> Result<(), Error> {
        self.psql("postgres", "SELECT pg_promote(true, 60)")?;
        self.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()")?;
        self.until("SHOW synchronous_standby_names", "")
    }

    /// Waits until a query has this answer.
    ///
    /// # Errors
    /// If it never has.
    pub fn until(&self, query: &str, answer: &str) -> Result<(), Error> {
        let began = self.clock.now();
        while self.psql("postgres", query).ok().as_deref() != Some(answer) {
            if self.clock.now() - began > START_MAX {
                return Err(Error::Silent { log: self.said() });
            }
            self.clock.block(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Ends it at once, as a power switch would: with its children, which otherwise finish the statement that they are at.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Those that have ended already need no signal, and those that were begun meanwhile notice that their parent is gone.
            let _ = run(Command::new("kill").arg("-KILL").args(with_children(&process)));
            end(&mut process);
            let ours = format!("{}/", self.dir.display());
            let began = self.clock.now();
            while self.clock.now() - began < Duration::from_secs(5) && in_use(&ours) {
                self.clock.block(LOOK_AGAIN);
            }
        }
    }

    /// Ends it in order: what runs is cut off, what is committed is kept.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.signal(&process, "-INT");
            // Its end is what was asked for.
            let _ = process.wait();
        }
    }

    /// Stops the process where it stands, or lets it go on. Its children, which do the work, are stopped with it.
    ///
    /// # Errors
    /// If one of them has just ended.
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let Some(process) = &self.process else { return Ok(()) };
        let signal = if frozen { "-STOP" } else { "-CONT" };
        run(Command::new("kill").arg(signal).args(with_children(process)))?;
        Ok(())
    }

    fn signal(&self, process: &Child, signal: &str) {
        // A process that has ended already needs none.
        let _ = Command::new("kill").args([signal, &process.id().to_string()]).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The ids of a process and of its children.
fn with_children(process: &Child) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).chain([process.id().to_string()]).collect()
}

/// Whether a process works in this directory.
fn in_use(dir: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let works_there = |process: fs::DirEntry| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| format!("{}/", cwd.display()) == dir)
    };
    processes.flatten().any(works_there)
}

fn end(process: &mut Child) {
    // Whether or not it was alive, it is not afterwards.
    let _ = process.kill();
    let _ = process.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_port_was_taken_does_not_pass_off_the_other_one_as_itself() {
        let (first, mut second) = (Server::start().unwrap(), Server::start().unwrap());
        second.kill();
        let own = std::mem::replace(&mut second.port, first.port);
        assert!(!second.try_start(second.clock.now()).unwrap());
        second.port = own;
        second.resume().unwrap();
        assert_eq!(first.fresh_database().unwrap(), second.fresh_database().unwrap(), "each counts its own");
    }
}
