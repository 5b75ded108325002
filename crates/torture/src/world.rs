//! The world that is tortured: nodes and a PostgreSQL as processes, each on a network of its own where that can be had.

use std::{
    fs::{self, File, OpenOptions},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command as Blocking, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use stride_private_postgres::{Namespace, Server};
use stride_sim::{Chance, Clock, Tasks};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    Error, Kind, Settings, SmallDisk,
    doors::Doors,
    fault::{Fault, What},
    wires::{Host, Wires, net_of, output},
};

/// How long a node may take to start, tries that it refuses included: a name is free once the lease of the one before has ended.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a node may take to end when it is told to: it gives up draining after half a minute.
const END_MAX: Duration = Duration::from_secs(60);
/// How long until a node that ended by itself is started again, as systemd does.
const START_AGAIN: Duration = Duration::from_secs(1);
/// What a node's cache may take, in megabytes.
const DISK: u32 = 96;
/// Where nodes listen, on addresses of their own.
const CLIENTS: u16 = 7373;
const PEERS: u16 = 7375;

/// Fields are dropped in this order: processes before what they run on.
pub(crate) struct World {
    /// A process each, none while it is meant to be dead.
    nodes: Vec<tokio::sync::Mutex<Option<Child>>>,
    server: Arc<Mutex<Server>>,
    disks: Vec<SmallDisk>,
    wires: Option<Wires>,
    doors: Arc<Doors>,
    stride: PathBuf,
    /// Where the nodes' logs go.
    logs: PathBuf,
    dir: tempfile::TempDir,
    database: String,
    clock: Clock,
    /// Nodes that ended although nobody had killed them.
    ended: Mutex<Vec<String>>,
    left_out: Vec<(Kind, String)>,
}

impl World {
    /// Starts a database and nodes.
    pub(crate) async fn begin(settings: &Settings, doors: Arc<Doors>, clock: Clock) -> Result<Self, Error> {
        let mut left_out = Vec::new();
        let wires = match Wires::missing() {
            None => Some(Wires::lay(settings.nodes)?),
            Some(missing) => {
                left_out.extend([Kind::Partition, Kind::OneWay, Kind::Loss].map(|kind| (kind, missing.clone())));
                None
            }
        };
        let mut disks: Vec<SmallDisk> = (0..settings.nodes).map_while(|_| SmallDisk::mount(DISK)).collect();
        if disks.len() < settings.nodes {
            left_out.push((Kind::Disk, "a small file system cannot be mounted, which needs root".to_owned()));
            disks.clear();
        }
        let namespace = wires
            .as_ref()
            .map(|wires| Namespace { name: wires.namespace(Host::Database), address: wires.address(Host::Database) });
        let start = || namespace.map_or_else(Server::start_apart, Server::start_in);
        let server = Tasks::real().blocking(start).await?;
        let dir = tempfile::Builder::new().prefix("stride-torture-").tempdir()?;
        let world = Self {
            nodes: (0..settings.nodes).map(|_| tokio::sync::Mutex::new(None)).collect(),
            database: server.url("postgres"),
            server: Arc::new(Mutex::new(server)),
            disks,
            wires,
            doors,
            stride: settings.stride.clone(),
            logs: settings.keep.clone(),
            dir,
            clock,
            ended: Mutex::default(),
            left_out,
        };
        world.make_certificates()?;
        for (number, node) in world.nodes.iter().enumerate() {
            world.start(number, &mut *node.lock().await).await?;
        }
        Ok(world)
    }

    /// Which faults this machine cannot make, and why.
    pub(crate) fn left_out(&self) -> &[(Kind, String)] {
        &self.left_out
    }

    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended.lock().clone()
    }

    fn address(&self, node: usize) -> Ipv4Addr {
        self.wires.as_ref().map_or(Ipv4Addr::LOCALHOST, |wires| wires.address(Host::Node(node)))
    }

    fn certificates(&self) -> PathBuf {
        self.dir.path().join("certificates")
    }

    fn make_certificates(&self) -> Result<(), Error> {
        let mut init = Blocking::new(&self.stride);
        init.args(["cluster", "init"]).arg(self.certificates());
        for node in 0..self.nodes.len() {
            init.args(["--host", &self.address(node).to_string()]);
        }
        output(&mut init).map(drop)
    }

    /// Where a node's data is: on a disk of its own if there is one.
    fn data(&self, node: usize) -> PathBuf {
        let name = format!("node-{node}");
        self.disks.get(node).map_or_else(|| self.dir.path().to_owned(), |disk| disk.path().to_owned()).join(name)
    }

    fn log(&self, node: usize) -> PathBuf {
        self.logs.join(format!("node-{node}.log"))
    }

    /// Starts a node and waits until it is ready; one that refuses is tried again.
    async fn start(&self, number: usize, node: &mut Option<Child>) -> Result<(), Error> {
        let began = self.clock.now();
        loop {
            let left = START_MAX.saturating_sub(self.clock.now() - began);
            match self.clock.timeout(left, self.try_start(number)).await {
                Ok(Ok(child)) => {
                    *node = Some(child);
                    return Ok(());
                }
                Ok(Err(Error::Refused { .. })) if left > START_AGAIN => self.clock.sleep(START_AGAIN).await,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Refused { node: number, said: last_lines(&self.log(number)) }),
            }
        }
    }

    async fn try_start(&self, number: usize) -> Result<Child, Error> {
        let mut command = match &self.wires {
            None => Command::new(&self.stride),
            Some(wires) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.arg(net_of(&wires.namespace(Host::Node(number)))).arg("--").arg(&self.stride);
                nsenter
            }
        };
        let address = self.address(number);
        // On loopback all have one address, so each takes ports that are free.
        let port = |port: u16| format!("{address}:{}", if self.wires.is_some() { port } else { 0 });
        let log = OpenOptions::new().create(true).append(true).open(self.log(number))?;
        let mut child = command
            .args(["up", "--listen", &port(CLIENTS), "--peers", &port(PEERS)])
            .args(["--advertise", &address.to_string()])
            .arg("--certificates")
            .arg(self.certificates().join(address.to_string()))
            .args(["--objects", &format!("file://{}", self.dir.path().join("objects").display())])
            .arg("--data")
            .arg(self.data(number))
            .env("STRIDE_CLUSTER", &self.database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A Ctrl-C is for this process, which ends them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await?;
        }
        let Some(url) = line.trim().strip_prefix("stride ready ") else {
            return Err(Error::Refused { node: number, said: last_lines(&self.log(number)) });
        };
        self.doors.moved(number, url.to_owned());
        Ok(child)
    }

    /// Does what a fault says, and undoes it when its time is over.
    pub(crate) async fn suffer(&self, fault: &Fault, chance: &Chance) -> Result<(), Error> {
        match &fault.what {
            What::Stopped(node) => {
                let stopped = self.signal(*node, "-STOP").await?;
                self.clock.sleep(fault.lasts).await;
                if stopped {
                    self.signal(*node, "-CONT").await?;
                }
            }
            What::Killed { node, lost } => self.restart(*node, *lost, fault.lasts).await?,
            What::Ended(node) => self.end_and_start(*node, fault.lasts).await?,
            What::Cut { wires, .. } => {
                if let Some(network) = &self.wires {
                    network.cut(wires)?;
                    self.clock.sleep(fault.lasts).await;
                    network.mend(wires)?;
                }
            }
            What::Lossy { wires, .. } => {
                if let Some(network) = &self.wires {
                    self.lose(network, wires, fault.lasts, chance).await?;
                }
            }
            What::FullDisk { node, killed } => {
                if let Some(disk) = self.disks.get(*node) {
                    disk.fill()?;
                    let empty = async {
                        self.clock.sleep(fault.lasts).await;
                        disk.empty()
                    };
                    let restart =
                        async { if *killed { self.restart(*node, false, Duration::ZERO).await } else { Ok(()) } };
                    futures::future::try_join(empty, restart).await?;
                }
            }
            What::DatabaseKilled => {
                self.with_server(|server| {
                    server.kill();
                    Ok(())
                })
                .await?;
                self.clock.sleep(fault.lasts).await;
                self.with_server(Server::resume).await?;
            }
            What::DatabaseStopped => {
                self.with_server(|server| server.freeze(true)).await?;
                self.clock.sleep(fault.lasts).await;
                self.with_server(|server| server.freeze(false)).await?;
            }
        }
        Ok(())
    }

    /// Kills a node and starts it again after a while, with what was on its disk or without.
    async fn restart(&self, number: usize, lost: bool, after: Duration) -> Result<(), Error> {
        let mut node = self.nodes[number].lock().await;
        if let Some(mut child) = node.take() {
            child.kill().await?;
        }
        if lost {
            fs::remove_dir_all(self.data(number))?;
        }
        self.clock.sleep(after).await;
        self.start(number, &mut node).await
    }

    /// Asks a node to end, and starts it again a while after it has.
    async fn end_and_start(&self, number: usize, after: Duration) -> Result<(), Error> {
        self.signal(number, "-TERM").await?;
        let mut node = self.nodes[number].lock().await;
        if let Some(mut child) = node.take()
            && self.clock.timeout(END_MAX, child.wait()).await.is_err()
        {
            self.doors.note(format!("node {number} was told to end and has not {END_MAX:?} later"));
            child.kill().await?;
        }
        self.clock.sleep(after).await;
        self.start(number, &mut node).await
    }

    /// Every wire is good for a while and bad for a while, each by itself: a channel of two states, as Gilbert and Elliott describe
    /// them. It is bad a quarter of the time.
    async fn lose(
        &self,
        network: &Wires,
        wires: &[(Host, Host)],
        lasts: Duration,
        chance: &Chance,
    ) -> Result<(), Error> {
        let until = self.clock.now() + lasts;
        let bad_and_good = |wire: (Host, Host)| async move {
            while self.clock.now() < until {
                network.cut(&[wire])?;
                self.clock.sleep(Duration::from_millis(10 + chance.below(60))).await;
                network.mend(&[wire])?;
                self.clock.sleep(Duration::from_millis(30 + chance.below(180))).await;
            }
            Ok(())
        };
        futures::future::try_join_all(wires.iter().copied().map(bad_and_good)).await.map(drop)
    }

    /// Whether there was a process to send it to.
    async fn signal(&self, node: usize, signal: &str) -> Result<bool, Error> {
        let node = self.nodes[node].lock().await;
        let Some(pid) = node.as_ref().and_then(Child::id) else { return Ok(false) };
        output(Blocking::new("kill").args([signal, &pid.to_string()]))?;
        Ok(true)
    }

    async fn with_server(
        &self,
        work: impl FnOnce(&mut Server) -> Result<(), stride_private_postgres::Error> + Send + 'static,
    ) -> Result<(), Error> {
        let server = self.server.clone();
        Ok(Tasks::real().blocking(move || work(&mut server.lock())).await?)
    }

    /// Starts those again that have ended by themselves.
    pub(crate) async fn revive(&self) -> Result<(), Error> {
        for (number, node) in self.nodes.iter().enumerate() {
            let mut node = node.lock().await;
            let Some(child) = &mut *node else { continue };
            let Some(status) = child.try_wait()? else { continue };
            self.ended.lock().push(ended(number, status, &self.log(number)));
            self.clock.sleep(START_AGAIN).await;
            self.start(number, &mut node).await?;
        }
        Ok(())
    }

    /// Ends everything and waits until it has.
    pub(crate) async fn end(self) -> Result<(), Error> {
        for node in &self.nodes {
            if let Some(mut child) = node.lock().await.take() {
                child.kill().await?;
            }
        }
        Ok(())
    }
}

fn ended(node: usize, status: ExitStatus, log: &Path) -> String {
    format!("node {node} ended by itself ({status}): {}", last_lines(log))
}

/// The end of a node's log, in one line.
fn last_lines(log: &Path) -> String {
    let Ok(text) = fs::read(log) else { return String::new() };
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// A directory that is there and has no log of a run before.
pub(crate) fn make_room(keep: &Path, nodes: usize) -> Result<(), Error> {
    fs::create_dir_all(keep)?;
    for node in 0..nodes {
        File::create(keep.join(format!("node-{node}.log")))?;
    }
    Ok(())
}
