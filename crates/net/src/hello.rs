//! The first bytes of each side: who it is, so that a stranger is told why it is refused before anything is asked.
//!
//! ```text
//!  "stride/n" │ version u16 │ cluster's length u8 │ cluster
//! ```
//!
//! This much stays as it is in every version. The side that connects speaks first; the other one answers with its own hello whatever
//! it heard, and hangs up if the two do not fit.

use std::io;

use stride_ids::Name;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::error::NotConnected;

const MAGIC: &[u8; 8] = b"stride/n";
/// Raised by a change after which an older release would misunderstand a newer one.
pub(crate) const VERSION: u16 = 1;

/// Says hello first, and reads the other side's.
pub(crate) async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ours: &Name) -> Result<(), NotConnected> {
    say(stream, ours).await?;
    compare(ours, hear(stream).await?)
}

/// Reads the other side's hello, and answers it.
pub(crate) async fn welcome(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ours: &Name,
) -> Result<(), NotConnected> {
    let theirs = hear(stream).await?;
    say(stream, ours).await?;
    compare(ours, theirs)
}

struct Hello {
    version: u16,
    cluster: Name,
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), ours: &Name) -> Result<(), NotConnected> {
    let name = ours.as_str().as_bytes();
    let len = u8::try_from(name.len()).expect("a name has at most 64 bytes");
    let hello = [MAGIC, &VERSION.to_be_bytes()[..], &[len], name].concat();
    stream.write_all(&hello).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, NotConnected> {
    let mut head = [0; 11];
    stream.read_exact(&mut head).await.map_err(broken)?;
    let [magic @ .., v0, v1, len] = head;
    if magic != *MAGIC || usize::from(len) > Name::LEN_MAX {
        return Err(NotConnected::NotANode);
    }
    let mut cluster = vec![0; len.into()];
    stream.read_exact(&mut cluster).await.map_err(broken)?;
    let cluster = str::from_utf8(&cluster).ok().and_then(|text| Name::new(text).ok()).ok_or(NotConnected::NotANode)?;
    Ok(Hello { version: u16::from_be_bytes([v0, v1]), cluster })
}

fn compare(ours: &Name, theirs: Hello) -> Result<(), NotConnected> {
    if theirs.version != VERSION {
        return Err(NotConnected::Version { ours: VERSION, theirs: theirs.version });
    }
    if theirs.cluster != *ours {
        return Err(NotConnected::Cluster { ours: ours.clone(), theirs: theirs.cluster });
    }
    Ok(())
}

fn broken(error: io::Error) -> NotConnected {
    match error.kind() {
        // What TLS has to say about the other side comes with the first read.
        io::ErrorKind::InvalidData => NotConnected::Tls(error),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            NotConnected::Closed
        }
        _ => NotConnected::Connect(error),
    }
}
