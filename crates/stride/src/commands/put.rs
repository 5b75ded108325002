//! `stride put FILE BUCKET/KEY`

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _, stream};
use reqwest::{
    Body, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::Deserialize;

use crate::{client::Client, commands::transfer::Progress, output, report::Trouble, target::ObjectTarget};

/// How much is read from the file at a time.
const PIECE_LEN: usize = 1 << 20;
/// How many pieces are read ahead of the network.
const AHEAD: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The object; its bucket is made if need be
    #[arg(value_name = "BUCKET/KEY")]
    target: ObjectTarget,
    /// What kind of bytes they are, as HTTP writes it
    #[arg(long = "type", value_name = "TYPE", default_value = "application/octet-stream")]
    content_type: String,
}

#[derive(Deserialize)]
struct Stored {
    version: u64,
    etag: String,
}

impl Put {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let (source, len): (Box<dyn Read + Send>, _) = match self.file == Path::new("-") {
            true => (Box::new(io::stdin()), None),
            false => {
                let (file, len) = open(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
                (Box::new(file), Some(len))
            }
        };
        let mut request = client.request(Method::PUT, &self.target.path()).header(CONTENT_TYPE, &self.content_type);
        if let Some(len) = len {
            request = request.header(CONTENT_LENGTH, len);
        }
        let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
        let body = Body::wrap_stream(pieces(source).inspect(move |piece| {
            // Nobody counts any more when the answer is there.
            let _ = count.send(piece.as_ref().map_or(0, Bytes::len));
        }));
        let mut progress = Progress::begin("put", len);
        let mut sending = std::pin::pin!(client.json::<Stored>(request.body(body)));
        let stored = loop {
            tokio::select! {
                stored = &mut sending => break stored,
                Some(len) = counted.recv() => progress.add(len),
            }
        };
        while let Ok(len) = counted.try_recv() {
            progress.add(len);
        }
        let moved = progress.end();
        let Stored { version, etag } = stored?;
        Ok(output::line(format_args!("{} version {version}, {moved}, etag {etag}", self.target))?)
    }
}

fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(Trouble::usage(format!("{} is a directory; name a file", path.display())).into());
    }
    Ok((file, about.len()))
}

/// A file in pieces, read by a thread of its own so that disk and network work at the same time. Nothing waits for that
/// thread: it may be reading from a terminal when the node has long refused.
fn pieces(mut source: Box<dyn Read + Send>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (send, receive) = tokio::sync::mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_LEN);
            let read = source.by_ref().take(PIECE_LEN as u64).read_to_end(&mut piece);
            let is_last = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => Ok(()),
                Ok(_) => send.blocking_send(Ok(piece.into())),
                Err(e) => send.blocking_send(Err(e)),
            };
            if is_last || sent.is_err() {
                return;
            }
        }
    });
    stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|piece| (piece, receive)) })
}
