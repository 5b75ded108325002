//! `stride get BUCKET/KEY [FILE]`: the file is there when all of it is, or it is as it was.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use reqwest::{Method, Response};
use tempfile::NamedTempFile;
use tokio::{
    sync::mpsc::{Receiver, channel},
    task::spawn_blocking,
};

use crate::{client::Client, commands::transfer::Progress, report::Trouble, target::ObjectTarget};

/// How many pieces may have arrived and not be written.
const BEHIND: usize = 16;
/// After how many bytes what was written is brought to the disk.
const SYNC_EVERY: usize = 32 << 20;

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
            return receive(response, left, |pieces| write_all(pieces, &mut io::stdout().lock())).await.map(drop);
        }
        let path = if path.is_dir() { path.join(self.target.file_name()) } else { path };
        let shown = path.display().to_string();
        let left = format!("{shown} is as it was");
        let moved = receive(response, &left, move |pieces| write_file(pieces, &path)).await?;
        eprintln!("{shown}: {moved}");
        Ok(())
    }
}

/// Receives a body and has a thread of its own write it, so that network and disk work at the same time. `left` is what is left
/// if not all of it comes.
async fn receive(
    mut response: Response,
    left: &str,
    write: impl FnOnce(Receiver<Option<Bytes>>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<String> {
    let (send, pieces) = channel(BEHIND);
    let writing = spawn_blocking(move || write(pieces));
    let mut progress = Progress::begin("get", response.content_length());
    let mut broken = None;
    loop {
        let piece = match response.chunk().await {
            Ok(piece) => piece,
            Err(e) => {
                broken = Some(e);
                break;
            }
        };
        let is_last = piece.is_none();
        progress.add(piece.as_ref().map_or(0, Bytes::len));
        // If the writer has ended, it says why.
        if send.send(piece).await.is_err() || is_last {
            break;
        }
    }
    drop(send);
    let written = writing.await.context("the writer panicked")?;
    let moved = progress.end();
    if let Some(broken) = broken {
        let next = "the node's own output says why; then try again";
        return Err(Trouble::failed(format!("the object broke off after {moved}; {left}"))
            .why(broken.to_string())
            .next(next)
            .into());
    }
    written.map(|()| moved)
}

/// Writes the pieces until the last one, which is none. If there is none, not all were there.
fn write_all(mut pieces: Receiver<Option<Bytes>>, out: &mut impl io::Write) -> anyhow::Result<()> {
    loop {
        match pieces.blocking_recv() {
            Some(Some(piece)) => out.write_all(&piece)?,
            Some(None) => return Ok(out.flush()?),
            None => anyhow::bail!("not all bytes came"),
        }
    }
}

fn write_file(pieces: Receiver<Option<Bytes>>, path: &Path) -> anyhow::Result<()> {
    // A device or a pipe is written to; only a file can be put in the place of a file.
    if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        return write_all(pieces, &mut File::options().write(true).open(path)?);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = beside(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let syncing = file.as_file().try_clone()?;
    thread::scope(|scope| {
        let (wake, woken) = sync_channel(1);
        let syncer = scope.spawn(move || woken.iter().try_for_each(|()| syncing.sync_data()));
        write_all(pieces, &mut Synced { file: &mut file, since: 0, wake })?;
        syncer.join().unwrap_or(Ok(())).context("cannot sync")
    })?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A file that another thread brings to the disk while it is written, so that little is left to do at its end.
struct Synced<'a> {
    file: &'a mut NamedTempFile,
    /// How much was written since that thread was woken.
    since: usize,
    wake: SyncSender<()>,
}

impl io::Write for Synced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.since += written;
        if self.since >= SYNC_EVERY {
            self.since = 0;
            // If it is still at it, it is woken again later.
            let _ = self.wake.try_send(());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file in `dir` that is gone if it is not kept, with the permissions that a new file has.
fn beside(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".stride-get-").permissions(Permissions::from_mode(0o666)).tempfile_in(dir)
}
