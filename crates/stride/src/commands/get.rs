//! `stride get BUCKET/KEY [FILE]`: the file is there when all of it is, or it is as it was.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, Response};
use stride_data::{Buffers, DirectFile, cut};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    task::spawn_blocking,
};

use crate::{client::Client, commands::transfer::Progress, report::Trouble, target::ObjectTarget};

/// How much is written to a file at a time.
const PIECE_LEN: usize = 8 << 20;
/// How many pieces are written at the same time while the next one arrives.
const WRITING: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The object
    #[arg(value_name = "BUCKET/KEY")]
    target: ObjectTarget,
    /// The file, or the directory to put it in; - is stdout. Without it, the last part of the key
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// An older version instead of the newest
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
}

impl Get {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = client.request(Method::GET, &self.target.path()).query(&[("version", self.version)]);
        let response = client.send(request).await?;
        let path = self.file.unwrap_or_else(|| self.target.file_name().into());
        if path == Path::new("-") {
            let left = "what came before it was written";
            return receive(response, left, async |body, _| write_all(body, &mut tokio::io::stdout()).await)
                .await
                .map(drop);
        }
        let path = if path.is_dir() { path.join(self.target.file_name()) } else { path };
        let shown = path.display().to_string();
        let left = format!("{shown} is as it was");
        let moved = receive(response, &left, async |body, len| write_file(body, len, &path).await).await?;
        eprintln!("{shown}: {moved}");
        Ok(())
    }
}

/// Not all of an object came.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BrokenOff(reqwest::Error);

/// The bytes of an object as they come.
type Body<'a> = stream::BoxStream<'a, anyhow::Result<Bytes>>;

/// Receives a body, whose length may be known, and has it written. `left` is what is left if not all of it comes. How much
/// it was, and how fast.
async fn receive(
    response: Response,
    left: &str,
    write: impl AsyncFnOnce(Body<'_>, Option<u64>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let len = response.content_length();
    let mut progress = Progress::begin("get", len);
    let body = response.bytes_stream().inspect_ok(|piece| progress.add(piece.len()));
    let written = write(body.map_err(|e| BrokenOff(e).into()).boxed(), len).await;
    let moved = progress.end();
    match written.map_err(|e| e.downcast::<BrokenOff>()) {
        Ok(()) => Ok(moved),
        Err(Err(other)) => Err(other),
        Err(Ok(broken)) => Err(Trouble::failed(format!("the object broke off after {moved}; {left}"))
            .why(broken.to_string())
            .next("the node's own output says why; then try again")
            .into()),
    }
}

async fn write_all(mut body: Body<'_>, out: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    while let Some(piece) = body.try_next().await? {
        out.write_all(&piece).await?;
    }
    Ok(out.flush().await?)
}

async fn write_file(body: Body<'_>, len: Option<u64>, path: &Path) -> anyhow::Result<()> {
    // A device or a pipe is written to; only a file can be put in the place of a file.
    if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        return write_all(body, &mut tokio::fs::File::options().write(true).open(path).await?).await;
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = beside(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let direct = Arc::new(DirectFile::new(file.as_file(), file.path())?);
    let first_len = len.and_then(|len| usize::try_from(len).ok()).map_or(PIECE_LEN, |len| len.min(PIECE_LEN));
    let pieces = offsets(cut(body, &Buffers::new(PIECE_LEN), PIECE_LEN, first_len));
    let writing = pieces.map_ok(|(piece, at)| {
        let direct = direct.clone();
        async move { Ok(spawn_blocking(move || direct.write_all_at(&piece, at)).await??) }
    });
    writing.try_buffer_unordered(WRITING).try_collect::<()>().await?;
    spawn_blocking(move || file.as_file().sync_all().map(|()| file)).await??.persist(path)?;
    Ok(())
}

/// Pieces, each with where it begins.
fn offsets(pieces: impl Stream<Item = anyhow::Result<Bytes>>) -> impl Stream<Item = anyhow::Result<(Bytes, u64)>> {
    let mut end = 0;
    pieces.map_ok(move |piece| {
        let at = end;
        end += piece.len() as u64;
        (piece, at)
    })
}

/// A file in `dir` that is gone if it is not kept, with the permissions that a new file has.
fn beside(dir: &Path) -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".stride-get-").permissions(Permissions::from_mode(0o666)).tempfile_in(dir)
}
