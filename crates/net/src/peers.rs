//! The side that calls: one connection for each peer, made with the first call.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_sim::{Backoff, Chance, Clock, Tasks};
use tokio::sync::watch;

use crate::{
    BODY_LEN_MAX, CallError, Part, PeerAddr, Service, Settings, Tls, Unreachable, Why,
    error::NotConnected,
    link::{Link, Unanswered},
    metrics::{self, Side},
    wire,
};

/// How long a connection may take, TLS and the hello included.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Calls the nodes of a cluster. Connections end when this is dropped.
pub struct Peers {
    shared: Arc<Shared>,
    peers: Mutex<HashMap<PeerAddr, Arc<Peer>>>,
}

struct Shared {
    settings: Settings,
    tls: Option<Tls>,
    clock: Clock,
    chance: Chance,
    tasks: Tasks,
}

struct Peer {
    address: PeerAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    attempt: Option<Attempt>,
    backoff: Backoff,
    /// Until when nobody tries, and why.
    failed: Option<(Duration, Arc<Unreachable>)>,
}

type Outcome = Result<Arc<Link>, Arc<Unreachable>>;
/// An attempt to connect, which all callers wait for and which goes on if they do not.
type Attempt = watch::Receiver<Option<Outcome>>;

impl Peers {
    /// Calls peers in the cluster that `settings` name; with `tls` only those that have a certificate of the same CA.
    pub fn new(settings: Settings, tls: Option<Tls>, clock: Clock, chance: Chance, tasks: Tasks) -> Self {
        Self { shared: Arc::new(Shared { settings, tls, clock, chance, tasks }), peers: Mutex::default() }
    }

    /// Asks `service` of a peer and waits for the answer, for `deadline` at most; then the peer gives up as well.
    ///
    /// If there is no connection the call waits for one attempt to make it. If the next attempt is not due before the deadline,
    /// because those before have failed, it is refused at once.
    pub async fn call(
        &self,
        to: &PeerAddr,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let until = self.shared.clock.now() + deadline;
        let result = self.call_until(to, service, body, until).await;
        metrics::called(&result);
        result
    }

    async fn call_until(
        &self,
        to: &PeerAddr,
        service: Service,
        mut body: Bytes,
        until: Duration,
    ) -> Result<Bytes, CallError> {
        if body.len() > BODY_LEN_MAX {
            return Err(CallError::TooLarge(Part::Body));
        }
        let peer = self.peer(to);
        // A connection that ends just before the call is replaced once.
        for _ in 0..2 {
            let link = match peer.link() {
                Some(link) => link,
                None => peer.connect(&self.shared, until).await.map_err(CallError::NotSent)?,
            };
            match link.call(&self.shared.clock, service, body, until).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Failed(error)) => return Err(error),
                Err(Unanswered::Over(unsent)) => body = unsent,
            }
        }
        Err(CallError::NotSent(Why::Leaving))
    }

    fn peer(&self, to: &PeerAddr) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(to) {
            return peer.clone();
        }
        let peer = Arc::new(Peer { address: to.clone(), state: Mutex::default() });
        peers.insert(to.clone(), peer.clone());
        peer
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in self.peers.get_mut().values() {
            if let Some(link) = &peer.state.lock().link {
                link.leave();
            }
        }
    }
}

impl Peer {
    fn link(&self) -> Option<Arc<Link>> {
        self.state.lock().link.clone().filter(|link| link.is_open())
    }

    /// The connection that is there, is being made, or is made now.
    async fn connect(self: &Arc<Self>, shared: &Arc<Shared>, until: Duration) -> Result<Arc<Link>, Why> {
        let (mut attempt, failed) = {
            let mut state = self.state.lock();
            if let Some(link) = state.link.clone().filter(|link| link.is_open()) {
                return Ok(link);
            }
            let now = shared.clock.now();
            let failed = state.failed.clone().filter(|(retry, _)| *retry > now);
            if let Some((retry, why)) = &failed
                && *retry >= until
            {
                return Err(Why::Unreachable(why.clone()));
            }
            let wait = failed.as_ref().map_or(Duration::ZERO, |(retry, _)| retry.saturating_sub(now));
            let attempt = match &state.attempt {
                Some(attempt) => attempt.clone(),
                None => state.attempt.insert(self.clone().attempt(shared.clone(), wait)).clone(),
            };
            (attempt, failed)
        };
        let left = until.saturating_sub(shared.clock.now());
        match shared.clock.timeout(left, attempt.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Ok(link)) => Ok(link.clone()),
                Some(Err(why)) => Err(Why::Unreachable(why.clone())),
                None => Err(Why::NoTime),
            },
            // The attempt is gone, so its runtime is about to be; or it takes too long.
            Ok(Err(_)) | Err(_) => Err(failed.map_or(Why::NoTime, |(_, why)| Why::Unreachable(why))),
        }
    }

    fn attempt(self: Arc<Self>, shared: Arc<Shared>, wait: Duration) -> Attempt {
        let (tell, attempt) = watch::channel(None);
        shared.clone().tasks.spawn(async move {
            if !wait.is_zero() {
                shared.clock.sleep(wait).await;
            }
            let connect = wire::connect(&self.address, shared.tls.as_ref(), &shared.settings.cluster);
            let connected = match shared.clock.timeout(CONNECT_MAX, connect).await {
                Ok(connected) => connected,
                Err(_) => Err(NotConnected::Slow(CONNECT_MAX)),
            };
            let mut state = self.state.lock();
            state.attempt = None;
            let outcome = match connected {
                Ok((source, sink)) => {
                    let link = Arc::new(Link::new(sink, &shared.settings));
                    state.link = Some(link.clone());
                    (state.failed, state.backoff) = (None, Backoff::default());
                    self.clone().keep(&shared, link.clone(), source);
                    Ok(link)
                }
                Err(cause) => {
                    metrics::refused(Side::Calling);
                    let why = Arc::new(Unreachable { peer: self.address.clone(), cause });
                    tracing::debug!("no connection to {why}");
                    let retry = shared.clock.now() + state.backoff.next(&shared.chance);
                    state.failed = Some((retry, why.clone()));
                    Err(why)
                }
            };
            drop(state);
            tell.send_replace(Some(outcome));
        });
        attempt
    }

    /// Starts what reads from the connection and looks after it.
    fn keep(self: Arc<Self>, shared: &Arc<Shared>, link: Arc<Link>, source: wire::Source) {
        let (clock, idle_max) = (shared.clock.clone(), shared.settings.idle_max);
        shared.tasks.spawn(async move {
            let _counted = metrics::Counted::new(Side::Calling);
            tracing::debug!(peer = %self.address, "connected");
            let broken = link.run(source, &clock, idle_max).await;
            tracing::debug!(peer = %self.address, "the connection ended: {broken}");
            let mut state = self.state.lock();
            if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, &link)) {
                state.link = None;
            }
        });
    }
}
