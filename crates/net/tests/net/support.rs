//! Nodes that answer, in this process and in others, and what stands between them and their callers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use stride_ids::Name;
use stride_net::{
    Answers, BODY_LEN_MAX, CallError, PeerAddr, Peers, Refused, Service, Settings, Tls, certificates::Authority, serve,
};
use stride_sim::{Chance, Clock, Tasks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Answers with what it was sent.
pub(crate) const ECHO: Service = Service(1);
/// Never answers.
pub(crate) const HANG: Service = Service(2);
/// Answers with what it was sent, once [`Seen::release`] was called.
pub(crate) const HOLD: Service = Service(3);
/// Answers with more than is allowed.
pub(crate) const HUGE: Service = Service(4);
/// Panics.
pub(crate) const PANIC: Service = Service(5);
/// Refuses for want of room.
pub(crate) const BUSY: Service = Service(6);

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a node was asked, and how that went.
#[derive(Default)]
pub(crate) struct Seen {
    /// The bodies, in the order in which they came.
    pub(crate) begun: Mutex<Vec<Bytes>>,
    /// Answers that were given up before they were there.
    pub(crate) dropped: AtomicUsize,
    released: watch::Sender<bool>,
}

impl Seen {
    pub(crate) fn begun(&self) -> usize {
        self.begun.lock().len()
    }

    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }
}

impl Answers for Seen {
    fn answer(&self, service: Service, body: Bytes) -> BoxFuture<'_, Result<Bytes, Refused>> {
        self.begun.lock().push(body.clone());
        Box::pin(async move {
            let mut unanswered = CountsDrop(Some(&self.dropped));
            let answer = match service {
                ECHO => Ok(body),
                HANG => std::future::pending().await,
                HOLD => {
                    self.released.subscribe().wait_for(|released| *released).await.unwrap();
                    Ok(body)
                }
                HUGE => Ok(vec![0; BODY_LEN_MAX + 1].into()),
                PANIC => panic!("this is what the test wants"),
                BUSY => Err(Refused::Overloaded),
                _ => Err(Refused::NotServed),
            };
            unanswered.0 = None;
            answer
        })
    }
}

struct CountsDrop<'a>(Option<&'a AtomicUsize>);

impl Drop for CountsDrop<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn settings() -> Settings {
    Settings::of(Name::new("clu-test").unwrap())
}

/// A node of this process.
pub(crate) struct Node {
    pub(crate) address: PeerAddr,
    pub(crate) seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(settings(), None).await
    }

    pub(crate) async fn start_with(settings: Settings, tls: Option<Tls>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), settings, tls).await
    }

    /// At an address that another node may just have left.
    pub(crate) async fn start_at(address: SocketAddr, settings: Settings, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Seen::default());
        let serving = serve(listener, settings, tls, seen.clone(), Clock::real(), Tasks::real(), stopped);
        Self { address, seen, stop, serving: tokio::spawn(serving) }
    }

    /// Tells it to end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has ended, which it was told to.
    pub(crate) async fn ended(self) {
        self.serving.await.unwrap();
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.address.to_string().parse().unwrap()
    }
}

pub(crate) fn peers() -> Peers {
    peers_with(settings(), None)
}

pub(crate) fn peers_with(settings: Settings, tls: Option<Tls>) -> Peers {
    Peers::new(settings, tls, Clock::real(), Chance::from_os(), Tasks::real())
}

/// An echo, which must come back.
pub(crate) async fn echoes(peers: &Peers, to: &PeerAddr) {
    let body = Bytes::from_static(b"are you there?");
    assert_eq!(peers.call(to, ECHO, body.clone(), LONG).await.unwrap(), body);
}

/// A call in a task of its own.
pub(crate) fn call(
    peers: &Arc<Peers>,
    to: &PeerAddr,
    service: Service,
    body: impl Into<Bytes>,
) -> JoinHandle<Result<Bytes, CallError>> {
    let (peers, to, body) = (peers.clone(), to.clone(), body.into());
    tokio::spawn(async move { peers.call(&to, service, body, LONG).await })
}

/// Waits until it is so.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let clock = Clock::real();
    let wait = async {
        while !condition() {
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    clock.timeout(LONG, wait).await.expect("what was waited for did not happen");
}

/// Certificates of one authority for this machine, with the directory that they are in.
pub(crate) struct Certified {
    pub(crate) dir: tempfile::TempDir,
}

impl Certified {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path(), &Clock::real()).unwrap().add("127.0.0.1").unwrap();
        Self { dir }
    }

    /// Where the files of a host are.
    pub(crate) fn host(&self, host: &str) -> PathBuf {
        Authority::open(self.dir.path(), &Clock::real()).unwrap().add(host).unwrap();
        self.dir.path().join(host)
    }

    pub(crate) fn tls(&self) -> Tls {
        load(&self.host("127.0.0.1"))
    }
}

pub(crate) fn load(dir: &Path) -> Tls {
    Tls::load(dir, &Clock::real()).unwrap()
}

/// Passes connections on to a node, until it is told to stand still, as a network does that is cut.
pub(crate) struct Between {
    pub(crate) address: PeerAddr,
    connections: Arc<AtomicUsize>,
    hung_up: Arc<AtomicUsize>,
    cut: watch::Sender<bool>,
}

impl Between {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        Self::start_slow(to, usize::MAX).await
    }

    /// One that passes on so many bytes a second each way.
    pub(crate) async fn start_slow(to: SocketAddr, bytes_per_second: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let (cut, is_cut) = watch::channel(false);
        let (connections, hung_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, ended) = (connections.clone(), hung_up.clone());
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let far = TcpStream::connect(to).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (passed, ended) = (pass(near_in, far_out, is_cut.clone(), bytes_per_second), ended.clone());
                tokio::spawn(async move {
                    passed.await;
                    ended.fetch_add(1, Ordering::Relaxed);
                });
                tokio::spawn(pass(far_in, near_out, is_cut.clone(), bytes_per_second));
            }
        });
        Self { address, connections, hung_up, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many connections the side that calls has ended.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut is_cut: watch::Receiver<bool>,
    bytes_per_second: usize,
) {
    let (clock, mut passed) = (Clock::real(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let cut = async {
            // It is cut as well if nobody is left who could do it.
            let _ = is_cut.wait_for(|cut| *cut).await;
        };
        let count = tokio::select! {
            biased;
            () = cut => return std::future::pending().await,
            count = from.read(&mut buffer) => count.unwrap_or(0),
        };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        passed += count;
        let due = Duration::from_secs_f64(passed as f64 / bytes_per_second as f64);
        if due > clock.now() {
            clock.sleep(due - clock.now()).await;
        }
    }
}

/// A node in a process of its own, which is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: PeerAddr,
}

const PROCESS: &str = "STRIDE_NET_TEST_LISTEN";

impl Process {
    pub(crate) fn start(listen: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "support::a_node_in_a_process_of_its_own", "--ignored", "--nocapture"]);
        let mut child = command.env(PROCESS, listen).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready =
            lines.map_while(Result::ok).find_map(|line| line.split_once("listens at ").map(|(_, a)| a.to_owned()));
        let address = ready.expect("the process did not start").parse().unwrap();
        Self { child, address }
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the other process of some tests"]
fn a_node_in_a_process_of_its_own() {
    let Ok(listen) = std::env::var(PROCESS) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::start_at(listen.parse().unwrap(), settings(), None).await;
        println!("listens at {}", node.address);
        std::io::stdout().flush().unwrap();
        node.serving.await.unwrap();
    });
}
