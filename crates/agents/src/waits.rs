//! Who waits for whom: an ask that would close a circle is refused, because nobody in it could ever go on.

use std::collections::HashMap;

use parking_lot::Mutex;
use stride_ids::{Address, Code, Failure};

/// The asks that are made from within turns and not answered yet. A turn makes one at a time, so an agent waits for one
/// other agent at most.
#[derive(Default)]
pub(crate) struct Waits(Mutex<HashMap<Address, Address>>);

/// One agent waits for another one for as long as this lives.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    agent: &'a Address,
}

impl Waits {
    /// Notes that the turn of `agent` waits for an answer of `target`.
    ///
    /// # Errors
    /// `reentrant_call` if `target` waits for `agent`, directly or through others.
    pub(crate) fn enter<'a>(&'a self, agent: &'a Address, target: &Address) -> Result<Waiting<'a>, Failure> {
        let mut waits = self.0.lock();
        let mut circle = vec![agent, target];
        while circle.last() != Some(&agent) {
            let Some(next) = circle.last().and_then(|last| waits.get(*last)) else {
                waits.insert(agent.clone(), target.clone());
                return Ok(Waiting { waits: self, agent });
            };
            circle.push(next);
        }
        let names: Vec<_> = circle.iter().map(|agent| format!("{}/{}", agent.kind, agent.key)).collect();
        let message = format!("{} would wait for each other; let one of them tell instead", names.join(" -> "));
        Err(Failure::new(Code::ReentrantCall, message))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.0.lock().remove(self.agent);
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::{AgentKey, Name};

    use super::*;

    fn agent(key: &str) -> Address {
        let kind = Name::new("a").unwrap();
        Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() }
    }

    #[test]
    fn an_ask_that_closes_a_circle_is_refused_and_others_are_not() {
        let waits = Waits::default();
        let (a, b, c, d) = (agent("a"), agent("b"), agent("c"), agent("d"));
        let refused = |from, to| waits.enter(from, to).err().map(|failure| failure.code);
        assert_eq!(refused(&a, &a), Some(Code::ReentrantCall));
        let ab = waits.enter(&a, &b).unwrap();
        assert_eq!(refused(&b, &a), Some(Code::ReentrantCall));
        let bc = waits.enter(&b, &c).unwrap();
        let failure = waits.enter(&c, &a).err().unwrap();
        assert!(failure.message.starts_with("a/c -> a/a -> a/b -> a/c would wait"), "{failure}");
        let _db = waits.enter(&d, &b).unwrap();
        drop(bc);
        drop(ab);
        assert!(waits.enter(&c, &a).is_ok());
    }
}
