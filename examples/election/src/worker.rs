//! A user of a lease: an agent that works only while it is the holder, renews in time, and is told when it is its turn.

use std::time::Duration;

use stride::prelude::*;

use crate::lease::{Granted, Held, Standing, Wanted};

const BEAT: &str = "beat";
/// How often it renews while the lease lasts.
const BEATS: u64 = 3;

#[derive(Default, Serialize, Deserialize)]
struct Worker {
    lease: String,
    ttl_ms: u64,
    /// None while another one has the lease.
    token: Option<u64>,
    /// All tokens that it had.
    tokens: Vec<u64>,
}

#[stride::agent]
impl Worker {
    /// Works as soon as it has the lease.
    fn start(&mut self, lease: String, ttl_ms: u64) -> Result<Option<u64>, Failure> {
        (self.lease, self.ttl_ms) = (lease, ttl_ms);
        let this = stride::Agent::current().map(|this| (this.kind().to_owned(), this.key().to_owned()));
        let wanted = Wanted { holder: name(), ttl_ms, tell: this };
        let standing: Standing = self.agent().ask("acquire", &wanted)?;
        if standing.yours {
            self.begin(standing.token)?;
        }
        Ok(self.token)
    }

    /// What the lease tells.
    fn lease_granted(&mut self, granted: Granted) -> Result<(), Failure> {
        self.begin(granted.token)?;
        self.beat()
    }

    /// Renews. If the lease is gone, somebody else works by now.
    fn beat(&mut self) -> Result<(), Failure> {
        let Some(token) = self.token else { return Ok(()) };
        match self.agent().ask::<Standing>("renew", &Held { holder: name(), token }) {
            Err(failure) if failure.code == Code::Conflict => {
                self.end();
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Gives the lease to the next.
    fn stop(&mut self) -> Result<(), Failure> {
        let Some(token) = self.token else { return Ok(()) };
        self.end();
        self.agent().ask::<Standing>("release", &Held { holder: name(), token }).map(drop)
    }

    /// Behaves as if it were dead: it does not renew, and gives nothing back.
    fn go_down(&mut self) {
        self.end();
    }

    fn token(&self) -> Option<u64> {
        self.token
    }

    fn tokens(&self) -> Vec<u64> {
        self.tokens.clone()
    }
}

impl Worker {
    fn agent(&self) -> stride::Agent {
        stride::agent("lease", self.lease.as_str())
    }

    fn begin(&mut self, token: u64) -> Result<(), Failure> {
        self.token = Some(token);
        self.tokens.push(token);
        timer::set(BEAT, timer::every(Duration::from_millis((self.ttl_ms / BEATS).max(1))), "beat", &())
    }

    fn end(&mut self) {
        self.token = None;
        timer::cancel(BEAT);
    }
}

fn name() -> String {
    stride::Agent::current().map_or_else(String::new, |this| this.to_string())
}
