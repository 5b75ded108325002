//! A lease: an agent that one holder has at a time, until it gives it back or does not renew it in time. Electing a leader is one
//! turn.
//!
//! ```sh
//! stride ask lease/mailer acquire '{"holder": "m-1", "ttl_ms": 10000}'   # {"yours":true,"token":1,...}
//! stride ask lease/mailer renew '{"holder": "m-1", "token": 1}'          # as long again
//! stride ask lease/mailer release '{"holder": "m-1", "token": 1}'
//! stride ask lease/mailer who                                            # {"holder":null,"token":1,...}
//! ```
//!
//! - **Token**: each time somebody becomes the holder, the token is greater. Send it along with what you do; whoever receives it
//!   refuses what has a smaller token than it has seen. That shuts out a holder that was asleep while its lease ended.
//! - **Time**: a holder counts `ttl_ms` from *before* it asked, or asked to renew. The lease ends by a timer that is set after that and
//!   never fires early, also if the node was down meanwhile; so a holder that counts so has always stopped before the next begins.
//! - **Not yours**: `acquire` answers `"yours":false` and who holds it. With `"tell": ["TYPE", "KEY"]` you wait in a queue, and this
//!   agent is told `lease_granted` with [`Granted`] when it is your turn. What it is told took its time, so renew first: that answer
//!   says that it is still yours, and how to count. `renew` and `release` of what is not yours are a `conflict`.
//! - **Names**: a holder that asks again, also after a restart under the same name, gets a new token. Two who share a name shut each other out.

use std::time::Duration;

use stride::prelude::*;

use crate::tenure::{End, Refused, Tenure, WAITING_MAX, Waiter};

const EXPIRY: &str = "expiry";
/// A guest's clock shows whole milliseconds. The one that has begun is not over yet, and no lease may end early.
const BEGUN_MS: u64 = 1;
/// The longest time without a renewal: a day.
const TTL_MS_MAX: u64 = 86_400_000;
/// The longest name of a holder, in bytes.
const HOLDER_LEN_MAX: usize = 256;

#[derive(Default, Serialize, Deserialize)]
struct Lease {
    tenure: Tenure,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) holder: String,
    pub(crate) ttl_ms: u64,
    /// Which agent is told if it has to be waited for, as type and key.
    #[serde(default)]
    pub(crate) tell: Option<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    pub(crate) holder: String,
    pub(crate) token: u64,
}

/// How it stands.
#[derive(Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Whether it is whoever asks that holds it.
    pub(crate) yours: bool,
    holder: Option<String>,
    /// Of the holder; if there is none, of the last one.
    pub(crate) token: u64,
    /// By the node's clock, in milliseconds since 1970: for people and for who waits, not for the holder.
    expires_at: Option<u64>,
    waiting: usize,
}

/// What an agent that waited is told.
#[derive(Serialize, Deserialize)]
pub(crate) struct Granted {
    pub(crate) lease: String,
    pub(crate) holder: String,
    pub(crate) token: u64,
    pub(crate) ttl_ms: u64,
}

#[stride::agent]
impl Lease {
    fn acquire(&mut self, wanted: Wanted) -> Result<Standing, Failure> {
        let Wanted { holder, ttl_ms, tell } = wanted;
        if !(1..=HOLDER_LEN_MAX).contains(&holder.len()) {
            return Err(invalid(format!("the name of a holder has 1 to {HOLDER_LEN_MAX} bytes")));
        }
        if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(invalid(format!("ttl_ms is 1 to {TTL_MS_MAX}, which is a day")));
        }
        let yours = self.tenure.acquire(&holder, ttl_ms);
        if yours {
            self.set_expiry()?;
        } else if let Some(tell) = tell {
            self.tenure.wait(Waiter { holder, ttl_ms, tell }).map_err(|why| self.refused(why))?;
        }
        Ok(self.standing(yours))
    }

    fn renew(&mut self, held: Held) -> Result<Standing, Failure> {
        self.tenure.renew(&held.holder, held.token).map_err(|why| self.refused(why))?;
        self.set_expiry()?;
        Ok(self.standing(true))
    }

    fn release(&mut self, held: Held) -> Result<Standing, Failure> {
        let next = self.tenure.release(&held.holder, held.token).map_err(|why| self.refused(why))?;
        self.pass_on(next)?;
        Ok(self.standing(false))
    }

    fn who(&self) -> Standing {
        self.standing(false)
    }

    /// What the timer tells, and nobody else may.
    fn expire(&mut self, end: End) -> Result<(), Failure> {
        if timer::firing().is_none() {
            return Err(Failure::new(Code::CapabilityDenied, "a lease ends by its timer; a holder can `release` it"));
        }
        match self.tenure.expire(end) {
            Ok(next) => self.pass_on(next),
            // It was renewed or given back while this was on its way.
            Err(_) => Ok(()),
        }
    }
}

impl Lease {
    /// Tells the next holder. One that cannot be told does not get it: its lease would only have to run out.
    fn pass_on(&mut self, mut next: Option<Waiter>) -> Result<(), Failure> {
        let lease = stride::Agent::current().map_or_else(String::new, |this| this.key().to_owned());
        while let Some(Waiter { holder, ttl_ms, tell: (kind, key) }) = next {
            let granted = Granted { lease: lease.clone(), holder, token: self.tenure.token(), ttl_ms };
            match stride::agent(kind, key).tell("lease_granted", &granted) {
                Ok(()) => break,
                Err(why) => eprintln!("`{}` does not get `{lease}`: {why}", granted.holder),
            }
            next = self.tenure.next();
        }
        self.set_expiry()
    }

    fn set_expiry(&self) -> Result<(), Failure> {
        match self.tenure.end() {
            Some((end, ttl_ms)) => {
                timer::set(EXPIRY, timer::after(Duration::from_millis(ttl_ms + BEGUN_MS)), "expire", &end)
            }
            None => {
                timer::cancel(EXPIRY);
                Ok(())
            }
        }
    }

    fn standing(&self, yours: bool) -> Standing {
        let holder = self.tenure.holder().map(str::to_owned);
        let expires_at = timer::list().into_iter().find(|timer| timer.name == EXPIRY).map(|timer| timer.due);
        Standing { yours, holder, token: self.tenure.token(), expires_at, waiting: self.tenure.waiting() }
    }

    fn refused(&self, why: Refused) -> Failure {
        match (why, self.tenure.holder()) {
            (Refused::Full, _) => Failure::new(Code::Overloaded, format!("{WAITING_MAX} wait for it already")),
            (Refused::NotHeld, Some(holder)) => {
                let token = self.tenure.token();
                Failure::new(Code::Conflict, format!("it is not yours: `{holder}` holds it with token {token}"))
            }
            (Refused::NotHeld, None) => Failure::new(Code::Conflict, "it is not yours any more; acquire it again"),
        }
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}
