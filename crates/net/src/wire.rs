//! The bytes below the frames: TCP, with TLS in it or without.

use std::io;

use stride_ids::Name;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{PeerAddr, Tls, error::NotConnected, hello};

/// What is read from.
pub(crate) type Source = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to.
pub(crate) type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// Connects to a peer and makes sure that it is one.
pub(crate) async fn connect(
    peer: &PeerAddr,
    tls: Option<&Tls>,
    cluster: &Name,
) -> Result<(Source, Sink), NotConnected> {
    let stream = TcpStream::connect((peer.host(), peer.port())).await.map_err(NotConnected::Connect)?;
    stream.set_nodelay(true).map_err(NotConnected::Connect)?;
    let Some(tls) = tls else { return greeted(stream, cluster).await.map(without_tls) };
    let name = ServerName::try_from(peer.host().to_owned())
        .map_err(|e| NotConnected::Tls(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
    let stream = tls.connector().connect(name, stream).await.map_err(NotConnected::Tls)?;
    greeted(stream, cluster).await.map(with_tls)
}

/// Takes a connection, and makes sure that it is a peer's.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<&Tls>,
    cluster: &Name,
) -> Result<(Source, Sink), NotConnected> {
    stream.set_nodelay(true).map_err(NotConnected::Connect)?;
    let Some(tls) = tls else { return welcomed(stream, cluster).await.map(without_tls) };
    let stream = tls.acceptor().accept(stream).await.map_err(NotConnected::Tls)?;
    welcomed(stream, cluster).await.map(with_tls)
}

async fn greeted<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, cluster: &Name) -> Result<S, NotConnected> {
    hello::greet(&mut stream, cluster).await.map(|()| stream)
}

async fn welcomed<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, cluster: &Name) -> Result<S, NotConnected> {
    hello::welcome(&mut stream, cluster).await.map(|()| stream)
}

/// Both directions of a socket are free of each other; those of TLS share a lock.
fn without_tls(stream: TcpStream) -> (Source, Sink) {
    let (source, sink) = stream.into_split();
    (Box::new(source), Box::new(sink))
}

fn with_tls(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (Source, Sink) {
    let (source, sink) = tokio::io::split(stream);
    (Box::new(source), Box::new(sink))
}
