//! The side that answers: takes connections until it is told to stop, then lets them end.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use stride_sim::{Clock, Tasks};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::{
    Service, Settings, Tls,
    error::NotConnected,
    incoming,
    metrics::{self, Side},
    wire,
};

/// How long a stranger has to become a peer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Connections, strangers included.
const CONNECTIONS_MAX: u32 = 1024;
/// What the bodies of calls that are being answered may have together.
const BODIES_KIB_MAX: usize = 1 << 20;
/// How long to wait if the system has no more sockets.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What a node answers its peers with.
pub trait Answers: Send + Sync + 'static {
    /// Answers a call. What goes wrong in the layers above is part of the answer; a call that is [`Refused`] had no effect.
    ///
    /// It is dropped, wherever it waits, when the call's deadline has passed. It is first polled by the task that reads from the
    /// connection, so an answer that needs not wait costs no task of its own.
    fn answer(&self, service: Service, body: Bytes) -> BoxFuture<'_, Result<Bytes, Refused>>;
}

/// A call that had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is too much to do.
    Overloaded,
    /// There is no such service here.
    NotServed,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) calls: Arc<Semaphore>,
    pub(crate) bodies_kib: Arc<Semaphore>,
    tls: Option<Tls>,
}

/// Answers peers of the cluster that `settings` name, with `tls` only those with a certificate of the same CA, until `stop` says true
/// or is gone. Then no new call is begun, which callers are told; this returns when what was begun is answered.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    tls: Option<Tls>,
    answers: Arc<dyn Answers>,
    clock: Clock,
    tasks: Tasks,
    stop: watch::Receiver<bool>,
) {
    let calls = Arc::new(Semaphore::new(settings.calls_max));
    let bodies_kib = Arc::new(Semaphore::new(BODIES_KIB_MAX));
    let shared = Arc::new(Shared { settings, answers, clock, tasks, calls, bodies_kib, tls });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let mut stopped = pin!(stopped(stop.clone()));
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => match connections.clone().try_acquire_owned() {
                Ok(counted) => {
                    let connection = connection(shared.clone(), stream, from, stop.clone());
                    shared.tasks.spawn(connection.map(|()| drop(counted)));
                }
                Err(_) => metrics::refused(Side::Answering),
            },
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken; is the limit of open files too low?");
                shared.clock.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    // All of them, so none is left.
    let _ = connections.acquire_many(CONNECTIONS_MAX).await;
}

/// Resolves when the node ends.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // If nobody is left who could say so, that says it as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr, stop: watch::Receiver<bool>) {
    let shake_hands = wire::accept(stream, shared.tls.as_ref(), &shared.settings.cluster);
    let known = tokio::select! {
        () = stopped(stop.clone()) => return,
        known = shared.clock.timeout(HANDSHAKE_MAX, shake_hands) => known,
    };
    match known.unwrap_or(Err(NotConnected::Slow(HANDSHAKE_MAX))) {
        Ok((source, sink)) => {
            let _counted = metrics::Counted::new(Side::Answering);
            let broken = incoming::run(&shared, source, sink, stop).await;
            tracing::debug!(%from, "the connection ended: {broken}");
        }
        Err(why) => {
            metrics::refused(Side::Answering);
            tracing::warn!(%from, "a connection was refused: {why}");
        }
    }
}
