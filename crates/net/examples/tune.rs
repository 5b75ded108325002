use bytes::Bytes;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use stride_ids::Name;
use stride_net::*;
use stride_sim::*;
struct Echo;
impl Answers for Echo {
    fn answer(&self, _s: Service, body: Bytes) -> futures::future::BoxFuture<'_, Result<Bytes, Refused>> {
        Box::pin(async move { Ok(body) })
    }
}
fn tls(dir: &str) -> Option<Tls> {
    if dir.is_empty() { None } else { Some(Tls::load(dir.as_ref(), &Clock::real()).unwrap()) }
}
fn spawn(args: &[&str]) -> (std::process::Child, String) {
    let mut c = Command::new(std::env::current_exe().unwrap()).args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut l = String::new();
    BufReader::new(c.stdout.take().unwrap()).read_line(&mut l).unwrap();
    (c, l.trim().to_owned())
}
fn q(v: &mut Vec<u64>, p: f64) -> f64 {
    v.sort();
    v[((v.len() - 1) as f64 * p) as usize] as f64 / 1000.0
}
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a.get(1).map(|s| s.as_str()) == Some("serve") {
        let l = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", l.local_addr().unwrap());
        let (_s, r) = tokio::sync::watch::channel(false);
        serve(
            l,
            Settings::of(Name::new("c").unwrap()),
            tls(a.get(2).map_or("", |s| s)),
            Arc::new(Echo),
            Clock::real(),
            Tasks::real(),
            r,
        )
        .await;
        return;
    }
    let dir = std::path::Path::new("/tmp/net-tune");
    certificates::Authority::open(dir, &Clock::real()).unwrap().add("127.0.0.1").unwrap();
    std::fs::create_dir_all("/tmp/net-tune-z/batches").unwrap();
    std::fs::write("/tmp/net-tune-z/batches/0", vec![7u8; 1024]).unwrap();
    let certs = "/tmp/net-tune/127.0.0.1";
    let (mut c1, plain) = spawn(&["serve"]);
    let (mut c2, sec) = spawn(&["serve", certs]);
    let z = "/tmp/t-net-floor/release/zeromq-floor";
    let mut zs = Command::new(z).arg("echo").stdout(Stdio::piped()).spawn().unwrap();
    let mut l = String::new();
    BufReader::new(zs.stdout.take().unwrap()).read_line(&mut l).unwrap();
    let ep = l.trim().strip_prefix("zeromq ready ").unwrap().to_owned();
    let mut zc = Command::new(z)
        .args(["ask", "/tmp/net-tune-z", &ep])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut zin = zc.stdin.take().unwrap();
    let mut zout = BufReader::new(zc.stdout.take().unwrap()).lines();
    let mk = |t| {
        Arc::new(Peers::new(Settings::of(Name::new("c").unwrap()), t, Clock::real(), Chance::from_os(), Tasks::real()))
    };
    let (p1, p2) = (mk(None), mk(tls(certs)));
    let mut lat: [Vec<u64>; 3] = Default::default();
    let n = 500;
    for round in 0..21 {
        if round == 1 {
            lat = Default::default();
        }
        writeln!(zin, "{n}").unwrap();
        let line = zout.next().unwrap().unwrap();
        lat[0].extend(line.split_whitespace().map(|s| s.parse::<u64>().unwrap()));
        for (i, (p, to)) in [(&p1, &plain), (&p2, &sec)].into_iter().enumerate() {
            let p = p.clone();
            let to: PeerAddr = to.parse().unwrap();
            let v = tokio::spawn(async move {
                let body = Bytes::from(vec![7u8; 1024]);
                let mut v = vec![];
                for _ in 0..n {
                    let t = Instant::now();
                    let r = p.call(&to, Service(1), body.clone(), Duration::from_secs(5)).await.unwrap();
                    v.push(t.elapsed().as_nanos() as u64);
                    assert_eq!(r.len(), 1024);
                }
                v
            })
            .await
            .unwrap();
            lat[i + 1].extend(v);
        }
    }
    let base = (q(&mut lat[0], 0.5), q(&mut lat[0], 0.99));
    for (name, v) in ["zmq", "plain", "tls"].iter().zip(lat.iter_mut()) {
        let (p50, p99) = (q(v, 0.5), q(v, 0.99));
        println!("{name:6} p50 {p50:.1} us  p99 {p99:.1} us  ratio {:.2} {:.2}", p50 / base.0, p99 / base.1);
    }
    for callers in [4usize, 16, 64, 256] {
        for (name, p, to) in [("plain", &p1, &plain), ("tls", &p2, &sec)] {
            let t = Instant::now();
            let hs: Vec<_> = (0..callers)
                .map(|_| {
                    let p = p.clone();
                    let to: PeerAddr = to.parse().unwrap();
                    tokio::spawn(async move {
                        let body = Bytes::from(vec![7u8; 1024]);
                        let mut n = 0u64;
                        while t.elapsed() < Duration::from_secs(2) {
                            p.call(&to, Service(1), body.clone(), Duration::from_secs(5)).await.unwrap();
                            n += 1;
                        }
                        n
                    })
                })
                .collect();
            let mut total = 0;
            for h in hs {
                total += h.await.unwrap();
            }
            println!("{callers} callers {name}: {:.0}/s", total as f64 / t.elapsed().as_secs_f64());
        }
    }
    for c in [&mut c1, &mut c2, &mut zs, &mut zc] {
        c.kill().unwrap();
        let _ = c.wait();
    }
}
