//! Load over HTTP/1.1, with a client that costs as little as possible: it shares the CPUs with what is measured.

use std::{net::SocketAddr, ops::Range, time::Duration};

use anyhow::{Context as _, bail, ensure};
use stride_sim::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::table::Latencies;

/// A request, ready to be sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self([head.as_bytes(), body].concat())
    }

    /// Asks for `len` bytes from `at`.
    pub(crate) fn range(path: &str, at: u64, len: u64) -> Self {
        let range = format!("bytes={at}-{}", at + len - 1);
        Self(format!("GET {path} HTTP/1.1\r\nhost: bench\r\nrange: {range}\r\n\r\n").into_bytes())
    }
}

/// The longest answer, in bytes.
const BUFFER_LEN: usize = 128 << 10;

/// One connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where in the buffer the body of the newest answer lies.
    body: Range<usize>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_LEN], body: 0..0 })
    }

    /// Sends a request and reads the whole answer, which has to be a success.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        self.stream.write_all(&request.0).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            if let Some(body) = body_of(&self.buffer[..filled])?
                && filled >= body.end
            {
                self.body = body;
                return Ok(());
            }
        }
    }

    /// Sends a request; the body of the answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> anyhow::Result<&[u8]> {
        self.send(request).await?;
        Ok(self.body())
    }

    /// The body of the newest answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }
}

/// Where the body of the answer whose head is in `bytes` lies; none if the head is not complete.
fn body_of(bytes: &[u8]) -> anyhow::Result<Option<Range<usize>>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    if !text.starts_with("HTTP/1.1 20") {
        bail!("{}", String::from_utf8_lossy(bytes));
    }
    let lengths = text.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("the answer has no content-length")?;
    let begin = head + 4;
    Ok(Some(begin..begin + length.trim().parse::<usize>()?))
}

/// Sends `count` requests one after another.
pub(crate) async fn one_by_one(
    clock: &Clock,
    connection: &mut Connection,
    request: &Request,
    count: usize,
    latencies: &mut Latencies,
) -> anyhow::Result<()> {
    for _ in 0..count {
        let began = clock.now();
        connection.send(request).await?;
        latencies.add(clock.now() - began);
    }
    Ok(())
}

/// Sends over all connections at the same time for a while; how many answers there were per second.
pub(crate) async fn side_by_side(
    clock: &Clock,
    connections: Vec<(Connection, Request)>,
    lasting: Duration,
) -> anyhow::Result<(f64, Latencies, Vec<(Connection, Request)>)> {
    let began = clock.now();
    let workers: Vec<_> = connections
        .into_iter()
        .map(|(mut connection, request)| {
            let clock = clock.clone();
            tokio::spawn(async move {
                let (mut answers, mut latencies) = (0u64, Latencies::new());
                while clock.now() - began < lasting {
                    one_by_one(&clock, &mut connection, &request, 1, &mut latencies).await?;
                    answers += 1;
                }
                anyhow::Ok((answers, latencies, (connection, request)))
            })
        })
        .collect();
    let (mut answers, mut latencies, mut open) = (0, Latencies::new(), Vec::new());
    for worker in workers {
        let (some, theirs, connection) = worker.await??;
        answers += some;
        latencies.merge(&theirs);
        open.push(connection);
    }
    Ok((answers as f64 / (clock.now() - began).as_secs_f64(), latencies, open))
}
