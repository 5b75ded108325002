//! Who waits for whom: an ask that would close a circle is refused, because nobody in it could ever go on.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, MutexGuard};
use stride_ids::{Address, Code, Failure};

/// The asks that are made from within turns and not answered yet: which agents each agent waits for. It is more than one
/// only if turns that read are side by side.
#[derive(Default)]
pub(crate) struct Waits(Mutex<HashMap<Address, Vec<Address>>>);

/// One agent waits for another one for as long as this lives.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    agent: &'a Address,
    target: Address,
}

impl Waits {
    /// Notes that a turn of `agent` waits for an answer of `target`.
    ///
    /// # Errors
    /// `reentrant_call` if `target` waits for `agent`, directly or through others.
    pub(crate) fn enter<'a>(&'a self, agent: &'a Address, target: &Address) -> Result<Waiting<'a>, Failure> {
        let waits = self.0.lock();
        if let Some(way) = way_between(&waits, target, agent) {
            let circle = std::iter::once(agent).chain(way);
            let names: Vec<_> = circle.map(|agent| format!("{}/{}", agent.kind, agent.key)).collect();
            let message = format!("{} would wait for each other; let one of them tell instead", names.join(" -> "));
            return Err(Failure::new(Code::ReentrantCall, message));
        }
        Ok(self.add(waits, agent, target))
    }

    /// The same without a look at who else waits: the node that has `target` looks.
    pub(crate) fn note<'a>(&'a self, agent: &'a Address, target: &Address) -> Waiting<'a> {
        self.add(self.0.lock(), agent, target)
    }

    /// Notes that agents of other nodes wait, each for the next one, and the last of them for `target`.
    ///
    /// # Errors
    /// As [`Waits::enter`].
    pub(crate) fn enter_chain<'a>(&'a self, waiting: &'a [Address], target: &Address) -> Result<Chain<'a>, Failure> {
        let targets = waiting.iter().skip(1).chain([target]);
        let mut chain = Vec::new();
        for (agent, target) in waiting.iter().zip(targets) {
            chain.push(self.enter(agent, target)?);
        }
        Ok(Chain(chain))
    }

    fn add<'a>(
        &'a self,
        mut waits: MutexGuard<'_, HashMap<Address, Vec<Address>>>,
        agent: &'a Address,
        target: &Address,
    ) -> Waiting<'a> {
        waits.entry(agent.clone()).or_default().push(target.clone());
        Waiting { waits: self, agent, target: target.clone() }
    }
}

/// Those who wait one for the next, for as long as this lives.
pub(crate) struct Chain<'a>(#[expect(dead_code, reason = "it is held, not looked at")] Vec<Waiting<'a>>);

/// Over whom `from` waits for `to`, with both; none if it does not.
fn way_between<'a>(
    waits: &'a HashMap<Address, Vec<Address>>,
    from: &'a Address,
    to: &'a Address,
) -> Option<Vec<&'a Address>> {
    // Depth first.
    let mut seen = HashSet::from([from]);
    let mut way = vec![from];
    let mut open = vec![waits.get(from).map_or(&[][..], Vec::as_slice).iter()];
    while *way.last()? != to {
        match open.last_mut()?.next() {
            Some(next) if !seen.insert(next) => {}
            Some(next) => {
                way.push(next);
                open.push(waits.get(next).map_or(&[][..], Vec::as_slice).iter());
            }
            None => {
                way.pop();
                open.pop();
            }
        }
    }
    Some(way)
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock();
        let Some(targets) = waits.get_mut(self.agent) else { return };
        if let Some(at) = targets.iter().position(|target| *target == self.target) {
            targets.swap_remove(at);
        }
        if targets.is_empty() {
            waits.remove(self.agent);
        }
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

    #[test]
    fn an_agent_whose_readers_wait_for_several_is_in_the_circle_of_each() {
        let waits = Waits::default();
        let (a, b, c, d) = (agent("a"), agent("b"), agent("c"), agent("d"));
        let (ab, ac) = (waits.enter(&a, &b).unwrap(), waits.enter(&a, &c).unwrap());
        let _cd = waits.enter(&c, &d).unwrap();
        for end in [&b, &c, &d] {
            assert_eq!(waits.enter(end, &a).err().map(|failure| failure.code), Some(Code::ReentrantCall));
        }
        drop(ab);
        assert!(waits.enter(&b, &a).is_ok());
        assert!(waits.enter(&d, &a).is_err());
        drop(ac);
        assert!(waits.enter(&d, &a).is_ok());
    }
}
