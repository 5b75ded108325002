//! A cluster is backed up while it runs, destroyed, and restored, by the commands of `docs/operations.md` themselves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;
use stride_private_postgres::Server;
use stride_sim::Clock;

use crate::{
    cli::stderr,
    cluster::{Clients, Cluster, until_shared},
    support::{Node, Reply, root},
};

/// The commands of the page that begin with this comment.
fn documented(comment: &str) -> String {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut blocks = page.split("```").filter_map(|block| block.strip_prefix("sh\n"));
    let found = blocks.find(|block| block.starts_with(&format!("# {comment}")));
    found.unwrap_or_else(|| panic!("docs/operations.md has no commands that begin with `# {comment}`")).to_owned()
}

/// What the commands of the page are run with.
struct Shell {
    path: String,
    dir: tempfile::TempDir,
}

impl Shell {
    fn new(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The server archives its log as a user of its own.
        let wal = dir.path().join("backup/wal");
        fs::create_dir_all(&wal).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&wal, fs::Permissions::from_mode(0o777)).unwrap();
        let ours = Path::new(env!("CARGO_BIN_EXE_stride")).parent().unwrap().display();
        let path = format!("{}:{ours}:{}", server.programs().display(), std::env::var("PATH").unwrap());
        Self { path, dir }
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn run(&self, comment: &str, cluster: &Cluster, more: &[(&str, &str)]) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", &documented(comment)]).env("PATH", &self.path).current_dir("/");
        shell.env("DATABASE", cluster.server.url("postgres")).env("OBJECTS", cluster.objects_dir());
        shell.env("BACKUP", self.backup()).envs(more.iter().copied()).output().unwrap()
    }

    /// Runs commands that have to succeed, and says what they print.
    fn runs(&self, comment: &str, cluster: &Cluster, more: &[(&str, &str)]) -> String {
        let output = self.run(comment, cluster, more);
        assert!(output.status.success(), "{comment}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs commands that copy files while others write: those that vanish meanwhile are no error.
    fn copies(&self, comment: &str, cluster: &Cluster) {
        let output = self.run(comment, cluster, &[]);
        let said = stderr(&output);
        let vanished = |line: &str| line.contains("No such file");
        assert!(output.status.success() || said.lines().all(vanished), "{comment}: {said}");
    }
}

async fn put(node: &Node, name: &str, body: &str) {
    let put = node.request(Method::PUT, &format!("/v1/objects/{name}")).body(body.to_owned());
    Reply::of(put).await.json_of(StatusCode::CREATED);
}

async fn counter(node: &Node, key: &str) -> u64 {
    node.ask(&format!("counter/{key}"), "get", "").await.json().as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_cluster_that_runs_has_every_write_that_was_acknowledged_before() {
    let mut cluster = Cluster::new();
    let shell = Shell::new(&cluster.server);
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until_shared(&a, 2).await;
    a.deploy("counter").await;
    put(&a, "pictures/before", "some bytes").await;
    let first = Reply::of(b.post("/v1/agents/counter/keyed/add", "5").header("idempotency-key", "k")).await;
    assert_eq!(first.json(), json!(5));
    let clients = Clients::new(&[&a, &b]);
    let tasks = clients.start();
    clients.more(20).await;
    let acknowledged = clients.answered();
    shell.copies("Back up", &cluster);
    clients.more(5).await;
    clients.end(tasks).await;
    let all = clients.answered();

    a.kill();
    b.kill();
    fs::remove_dir_all(cluster.objects_dir()).unwrap();
    cluster.server = Server::start().unwrap();
    shell.runs("Restore: the database", &cluster, &[]);
    let c = cluster.start("c");
    for (agent, (least, most)) in acknowledged.into_iter().zip(all).enumerate() {
        let count = counter(&c, &format!("c{agent}")).await;
        assert!((least..=most).contains(&count), "agent {agent} has {count} of {least} to {most}");
    }
    assert_eq!(c.get("/v1/objects/pictures/before").await.body, "some bytes");
    let again = Reply::of(c.post("/v1/agents/counter/keyed/add", "5").header("idempotency-key", "k")).await;
    assert_eq!((again.json(), counter(&c, "keyed").await), (json!(5), 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_restored_to_a_moment_with_all_before_it_and_nothing_after() {
    let mut cluster = Cluster::new();
    let shell = Shell::new(&cluster.server);
    shell.runs("Once, before", &cluster, &[]);
    cluster.server.stop();
    cluster.server.resume().unwrap();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until_shared(&a, 2).await;
    a.deploy("counter").await;
    shell.runs("Once a day", &cluster, &[]);
    for agent in 0..30 {
        assert_eq!(b.ask(&format!("counter/s{agent}"), "add", "3").await.json(), json!(3));
    }
    put(&b, "pictures/before", "some bytes").await;
    let moment = cluster.server.psql("postgres", "SELECT clock_timestamp()").unwrap();

    // So much that the cell gets a snapshot that the restored journal knows nothing of.
    let more = stream::iter(0..6_000).map(|_| a.ask("counter/s0", "add", "1")).buffer_unordered(32);
    assert!(more.all(async |reply| reply.status == StatusCode::OK).await);
    a.ask("counter/after", "add", "1").await.json();
    let cell = a.get("/v1/agents/counter/s0").await.json()["cell"].as_u64().unwrap();
    let snapshots = cluster.objects_dir().join(format!("snapshots/cells/{cell:05}"));
    let is_manifest = |file: fs::DirEntry| file.file_name().to_string_lossy().starts_with("manifest-");
    while !fs::read_dir(&snapshots).is_ok_and(|files| files.flatten().any(is_manifest)) {
        Clock::real().sleep(Duration::from_millis(100)).await;
    }
    let copied = Command::new("cp").arg("-a").arg(cluster.objects_dir()).arg(shell.backup().join("objects")).output();
    assert!(copied.unwrap().status.success());
    let piece = cluster.server.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())").unwrap();
    while !shell.backup().join("wal").join(&piece).exists() {
        Clock::real().sleep(Duration::from_millis(100)).await;
    }

    a.kill();
    b.kill();
    cluster.server.kill();
    fs::remove_dir_all(cluster.objects_dir()).unwrap();
    let restored = shell.dir.path().join("restored");
    fs::create_dir(&restored).unwrap();
    shell.runs("Restore the database", &cluster, &[("T", &moment), ("PGDATA", restored.to_str().unwrap())]);
    cluster.server = Server::start_on(&restored).unwrap();
    cluster.server.until("SELECT pg_is_in_recovery()", "f").unwrap();
    fs::rename(shell.backup().join("objects"), cluster.objects_dir()).unwrap();
    let said = shell.runs("Nothing in the object store", &cluster, &[]);
    assert!(said.starts_with("removed ") && !said.starts_with("removed 0 "), "{said}");
    let c = cluster.start("c");
    for agent in 0..30 {
        assert_eq!(counter(&c, &format!("s{agent}")).await, 3, "agent {agent}");
    }
    assert_eq!(c.get("/v1/agents/counter/after").await.status, StatusCode::NOT_FOUND);
    assert_eq!(c.get("/v1/objects/pictures/before").await.body, "some bytes");
    // It goes on from there, also over a takeover.
    assert_eq!(c.ask("counter/s0", "add", "1").await.json(), json!(4));
    c.kill();
    let d = cluster.start("d");
    assert_eq!(counter(&d, "s0").await, 4);
}
