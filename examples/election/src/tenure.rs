//! Who holds a lease and who is next: one holder at a time, each with a token that is greater than all before.
//!
//! Time is not known here: a lease ends when [`Tenure::expire`] is called for it, and by nothing else. So there is one place that says whether it
//! is over, and an end that comes late is one that comes late for everybody.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many may wait for one lease.
pub(crate) const WAITING_MAX: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tenure {
    /// That of the newest holder.
    token: u64,
    held: Option<Held>,
    /// The first of them is the next holder.
    waiting: VecDeque<Waiter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    holder: String,
    ttl_ms: u64,
    renewals: u64,
}

/// Who wants the lease when it is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) holder: String,
    pub(crate) ttl_ms: u64,
    /// The agent that is told, as type and key.
    pub(crate) tell: (String, String),
}

/// Which end of a lease is meant: not that of an earlier holder, and not the one before a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    token: u64,
    renewals: u64,
}

/// Why a holder is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Somebody else holds the lease, or nobody.
    NotHeld,
    /// Too many wait for it.
    Full,
}

impl Tenure {
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn holder(&self) -> Option<&str> {
        self.held.as_ref().map(|held| held.holder.as_str())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the lease is to end unless something changes: so many milliseconds after this began to be so.
    pub(crate) fn end(&self) -> Option<(End, u64)> {
        let Held { ttl_ms, renewals, .. } = self.held.as_ref()?;
        Some((End { token: self.token, renewals: *renewals }, *ttl_ms))
    }

    /// Makes this one the holder if nobody is. A holder that asks again gets a new token: whoever used its name before is shut
    /// out, which may have been a process that it replaces.
    pub(crate) fn acquire(&mut self, holder: &str, ttl_ms: u64) -> bool {
        let is_free = self.holder().is_none_or(|holds| holds == holder);
        if is_free {
            self.waiting.retain(|waiter| waiter.holder != holder);
            self.grant(holder.to_owned(), ttl_ms);
        }
        is_free
    }

    /// Gets a place behind those who wait already; who has one keeps it.
    pub(crate) fn wait(&mut self, waiter: Waiter) -> Result<(), Refused> {
        match self.waiting.iter().position(|waits| waits.holder == waiter.holder) {
            Some(place) => self.waiting[place] = waiter,
            None if self.waiting.len() < WAITING_MAX => self.waiting.push_back(waiter),
            None => return Err(Refused::Full),
        }
        Ok(())
    }

    /// The lease lasts as long again.
    pub(crate) fn renew(&mut self, holder: &str, token: u64) -> Result<(), Refused> {
        let held = self.held_with(holder, token)?;
        held.renewals += 1;
        Ok(())
    }

    /// Gives the lease up; who holds it now, if somebody waited.
    pub(crate) fn release(&mut self, holder: &str, token: u64) -> Result<Option<Waiter>, Refused> {
        self.held_with(holder, token)?;
        Ok(self.next())
    }

    /// The lease is over, if this is still its end; who holds it now, if somebody waited.
    pub(crate) fn expire(&mut self, end: End) -> Result<Option<Waiter>, Refused> {
        let is_over = self.end().is_some_and(|(current, _)| current == end);
        if is_over { Ok(self.next()) } else { Err(Refused::NotHeld) }
    }

    /// Passes the lease on, from whoever holds it to the first who waits.
    pub(crate) fn next(&mut self) -> Option<Waiter> {
        self.held = None;
        let next = self.waiting.pop_front()?;
        self.grant(next.holder.clone(), next.ttl_ms);
        Some(next)
    }

    fn grant(&mut self, holder: String, ttl_ms: u64) {
        self.token += 1;
        self.held = Some(Held { holder, ttl_ms, renewals: 0 });
    }

    fn held_with(&mut self, holder: &str, token: u64) -> Result<&mut Held, Refused> {
        let is_current = self.token == token;
        self.held.as_mut().filter(|held| is_current && held.holder == holder).ok_or(Refused::NotHeld)
    }
}

#[cfg(test)]
mod tests {
    use stride_sim::Chance;

    use super::*;

    const TTL: u64 = 100;

    fn waiter(holder: &str) -> Waiter {
        Waiter { holder: holder.into(), ttl_ms: TTL, tell: ("worker".into(), holder.into()) }
    }

    fn held_by(holder: &str) -> Tenure {
        let mut tenure = Tenure::default();
        assert!(tenure.acquire(holder, TTL));
        tenure
    }

    #[test]
    fn who_comes_second_waits_and_is_next_with_a_greater_token() {
        let mut tenure = held_by("a");
        let first = tenure.token();
        assert!(!tenure.acquire("b", TTL));
        tenure.wait(waiter("b")).unwrap();
        tenure.wait(waiter("c")).unwrap();
        tenure.wait(waiter("b")).unwrap();
        assert_eq!(tenure.waiting(), 2, "who waits already keeps its place");
        assert_eq!(tenure.release("a", first).unwrap(), Some(waiter("b")));
        assert_eq!((tenure.holder(), tenure.waiting()), (Some("b"), 1));
        assert!(tenure.token() > first);
    }

    #[test]
    fn who_does_not_hold_it_can_neither_renew_nor_release() {
        let mut tenure = held_by("a");
        let token = tenure.token();
        let before = tenure.clone();
        for (holder, token) in [("b", token), ("a", token + 1), ("a", 0)] {
            assert_eq!(tenure.renew(holder, token), Err(Refused::NotHeld));
            assert_eq!(tenure.release(holder, token), Err(Refused::NotHeld));
        }
        assert_eq!(tenure, before);
        assert_eq!(tenure.release("a", token), Ok(None));
        assert_eq!(tenure.renew("a", token), Err(Refused::NotHeld), "nobody holds it now");
    }

    #[test]
    fn an_end_that_was_put_off_ends_nothing() {
        let mut tenure = held_by("a");
        let (early, _) = tenure.end().unwrap();
        tenure.renew("a", tenure.token()).unwrap();
        assert_eq!(tenure.expire(early), Err(Refused::NotHeld));
        assert_eq!(tenure.holder(), Some("a"));
        let (end, _) = tenure.end().unwrap();
        assert_eq!(tenure.expire(end), Ok(None));
        assert_eq!((tenure.holder(), tenure.end()), (None, None));
        assert!(tenure.acquire("b", TTL));
        assert_eq!(tenure.expire(end), Err(Refused::NotHeld));
        assert_eq!(tenure.holder(), Some("b"), "the end of another holder is not that of this one");
    }

    #[test]
    fn a_holder_that_asks_again_shuts_out_whoever_had_its_name() {
        let mut tenure = held_by("a");
        let before = tenure.token();
        assert!(tenure.acquire("a", TTL));
        assert!(tenure.token() > before);
        assert_eq!(tenure.renew("a", before), Err(Refused::NotHeld));
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut tenure = held_by("a");
        for n in 0..WAITING_MAX {
            tenure.wait(waiter(&n.to_string())).unwrap();
        }
        assert_eq!(tenure.wait(waiter("one more")), Err(Refused::Full));
        assert_eq!(tenure.wait(waiter("7")), Ok(()));
    }

    #[test]
    fn whatever_happens_a_token_belongs_to_one_holder_and_only_grows() {
        for seed in 0..500 {
            let chance = Chance::seeded(seed);
            let mut tenure = Tenure::default();
            let mut holders: Vec<(u64, String)> = Vec::new();
            for _ in 0..200 {
                let name = format!("holder-{}", chance.below(4));
                let token = tenure.token().saturating_sub(chance.below(2));
                match chance.below(5) {
                    0 if !tenure.acquire(&name, TTL) => tenure.wait(waiter(&name)).unwrap(),
                    0 => {}
                    1 => _ = tenure.renew(&name, token),
                    2 => _ = tenure.release(&name, token),
                    _ => _ = tenure.end().map(|(end, _)| tenure.expire(end)),
                }
                let Some(holder) = tenure.holder() else { continue };
                match holders.last() {
                    Some((token, before)) if *token == tenure.token() => assert_eq!(before, holder, "seed {seed}"),
                    Some((token, _)) => assert!(*token < tenure.token(), "seed {seed}"),
                    None => {}
                }
                holders.push((tenure.token(), holder.to_owned()));
            }
        }
    }
}
