use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use stride_ids::CellId;
use stride_journal::{
    Journal,
    postgres::{PostgresJournal, Settings},
};
use stride_private_postgres::Server;
use stride_sim::{Chance, Clock};
use tokio_postgres::NoTls;

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |t| t.parse().unwrap());
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap().block_on(go());
}
async fn go() {
    let server = Server::start().unwrap();
    let url = server.url("postgres");
    let clock = Clock::real();
    let journal = Arc::new(
        PostgresJournal::open(
            Settings { url: url.clone(), cells: 64, home: "b".into() },
            clock.clone(),
            Chance::from_os(),
        )
        .unwrap(),
    );
    let (client, conn) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(conn);
    client.batch_execute("CREATE TABLE owners (cell int4 primary key, epoch int8); INSERT INTO owners SELECT generate_series(0,63), 1; CREATE TABLE bare (cell int4, seq int8, bytes bytea, primary key (cell, seq))").await.unwrap();
    let st = client
        .prepare("INSERT INTO bare SELECT o.cell, $2, $3 FROM owners o WHERE o.cell = $1 AND o.epoch = $4 FOR SHARE")
        .await
        .unwrap();
    let rec = Bytes::from((0..1024).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>());
    let e = Journal::open(&*journal, CellId(0)).unwrap().epoch;
    let mut a = vec![];
    let mut b = vec![];
    let mut seq = 0i64;
    let store = include_str!("../src/postgres/session.rs");
    let i = store.find("const STORE: &str = \"").unwrap() + "const STORE: &str = \"".len();
    let j = store[i..].find("\";").unwrap();
    let store = client.prepare(&store[i..i + j].replace("SLOT", "0")).await.unwrap();
    let one = client.prepare("WITH fenced AS (UPDATE stride.cells SET last = $4::int8 WHERE cell = $2 AND epoch = $3::int8 AND holder = $1 AND last = $4 - 1 RETURNING cell) INSERT INTO stride.records_0 (slot, cell, seq, epoch, holder, crc, bytes) SELECT 0, cell, $4::int8, $3::int8, $1::int8, $5, $6 FROM fenced").await.unwrap();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan; UPDATE stride.cells SET epoch = 1, holder = 5 WHERE cell > 60",
        )
        .await
        .unwrap();
    let (mut c, mut d, mut s1, mut s2) = (vec![], vec![], 0i64, 0i64);
    for _ in 0..8 {
        for _ in 0..300 {
            s1 += 1;
            let t = clock.now();
            let n = client
                .query(
                    &store,
                    &[
                        &5i64,
                        &vec![61i32],
                        &vec![1i64],
                        &vec![s1 - 1],
                        &vec![s1],
                        &vec![61i32],
                        &vec![s1],
                        &vec![1i32],
                        &vec![&rec[..]],
                    ],
                )
                .await
                .unwrap();
            assert_eq!(n.len(), 1);
            c.push(clock.now() - t);
        }
        for _ in 0..300 {
            s2 += 1;
            let t = clock.now();
            let n = client.execute(&one, &[&5i64, &62i32, &1i64, &s2, &1i32, &&rec[..]]).await.unwrap();
            assert_eq!(n, 1);
            d.push(clock.now() - t);
        }
        for _ in 0..300 {
            seq += 1;
            let t = clock.now();
            let n = client.execute(&st, &[&0i32, &seq, &&rec[..], &1i64]).await.unwrap();
            assert_eq!(n, 1);
            a.push(clock.now() - t);
        }
        for _ in 0..300 {
            let t = clock.now();
            journal.append(CellId(0), e, rec.clone()).unwrap().await.unwrap();
            b.push(clock.now() - t);
        }
    }
    a.sort();
    b.sort();
    c.sort();
    d.sort();
    println!(
        "STORE p50 {:?}, ONE p50 {:?} (bare client) p10s bare {:?} journal {:?} STORE {:?} ONE {:?}",
        c[1200], d[1200], a[240], b[240], c[240], d[240]
    );
    println!(
        "bare p50 {:?} p99 {:?}; journal p50 {:?} p99 {:?}; ratio {:.2}",
        a[1200],
        a[2376],
        b[1200],
        b[2376],
        b[1200].as_secs_f64() / a[1200].as_secs_f64()
    );
    // 64 callers
    for round in 0..3i64 {
        let clients: Vec<_> = futures::future::join_all((0..64).map(|_| async {
            let (c, conn) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(conn);
            c
        }))
        .await;
        let began = clock.now();
        let mut ts = vec![];
        for (i, c) in clients.into_iter().enumerate() {
            let (clock, rec) = (clock.clone(), rec.clone());
            ts.push(tokio::spawn(async move {
                let st = c.prepare("INSERT INTO bare SELECT o.cell, $2, $3 FROM owners o WHERE o.cell = $1 AND o.epoch = $4 FOR SHARE").await.unwrap();
                let mut n = 0u64; let mut seq = 1_000_000 * (round + 1);
                while clock.now() - began < Duration::from_secs(2) { seq += 1; c.execute(&st, &[&(i as i32), &seq, &&rec[..], &1i64]).await.unwrap(); n += 1; }
                n
            }));
        }
        let mut n = 0;
        for t in ts {
            n += t.await.unwrap();
        }
        let bare = n as f64 / (clock.now() - began).as_secs_f64();
        // one connection shared: pipelined
        let client = Arc::new({
            let (c, conn) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(conn);
            c
        });
        let began = clock.now();
        let mut ts = vec![];
        for i in 0..64 {
            let (clock, rec, c) = (clock.clone(), rec.clone(), client.clone());
            ts.push(tokio::spawn(async move {
                let st = c.prepare("INSERT INTO bare SELECT o.cell, $2, $3 FROM owners o WHERE o.cell = $1 AND o.epoch = $4 FOR SHARE").await.unwrap();
                let mut n = 0u64; let mut seq = 10_000_000 * (round + 1);
                while clock.now() - began < Duration::from_secs(2) { seq += 1; c.execute(&st, &[&(i as i32), &seq, &&rec[..], &1i64]).await.unwrap(); n += 1; }
                n
            }));
        }
        let mut n = 0;
        for t in ts {
            n += t.await.unwrap();
        }
        let piped = n as f64 / (clock.now() - began).as_secs_f64();
        let mut ep = vec![];
        for c in 0..64 {
            let j = journal.clone();
            ep.push(tokio::task::spawn_blocking(move || Journal::open(&*j, CellId(c)).unwrap().epoch).await.unwrap());
        }
        let began = clock.now();
        let mut ts = vec![];
        for i in 0..64u16 {
            let (clock, rec, j, e) = (clock.clone(), rec.clone(), journal.clone(), ep[i as usize]);
            ts.push(tokio::spawn(async move {
                let mut n = 0u64;
                while clock.now() - began < Duration::from_secs(2) {
                    j.append(CellId(i), e, rec.clone()).unwrap().await.unwrap();
                    n += 1;
                }
                n
            }));
        }
        let mut n = 0;
        for t in ts {
            n += t.await.unwrap();
        }
        let ours = n as f64 / (clock.now() - began).as_secs_f64();
        println!("64 callers: bare on 64 connections {bare:.0}/s, bare on one {piped:.0}/s, journal {ours:.0}/s");
    }
}
