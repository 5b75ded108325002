//! Whether a history is linearizable: whether every answer can be explained by all operations having happened one after
//! the other, each at some moment between its call and its answer.
//!
//! The algorithm is just-in-time linearization, breadth first (G. Lowe, "Testing for linearizability", Concurrency and Computation
//! 29(4), 2017), which goes back to Wing and Gong (1993). It reads the history in the order of time and keeps every *world* that
//! explains what was answered so far: a state, and which of the operations that are still open have happened in it. An operation
//! has to have happened only when its answer is read; so worlds are few, and a history of any length needs no more memory than a short one.
//!
//! An operation whose outcome nobody knows stays open for ever: it may happen at any time after its call, or never. Those of one kind are
//! interchangeable, so worlds count them instead of naming them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

/// How many worlds are looked at before a check gives up. Histories of this crate need less than a hundred.
const WORLDS_MAX: usize = 10_000;

/// What an object does, one operation after the other.
pub trait Model {
    /// What it is in.
    type State: Clone + Ord + Debug;
    /// What can be asked of it.
    type Op: Clone + Ord + Debug;
    /// What it answers.
    type Answer: Clone + Debug;

    /// The state afterwards, if it may give this answer; none stands for an answer that nobody saw.
    fn apply(state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether this answer cannot be given any more, whatever else happens. To say so is never needed and saves looking.
    fn is_over(_state: &Self::State, _op: &Self::Op, _answer: &Self::Answer) -> bool {
        false
    }
}

/// One operation, as whoever asked for it saw it.
#[derive(Clone, Debug)]
pub struct Call<M: Model> {
    /// What was asked.
    pub op: M::Op,
    /// When.
    pub called: Duration,
    /// When it was answered and with what; none if that is not known. A read without an answer says nothing: leave it out.
    pub answered: Option<(Duration, M::Answer)>,
}

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not linearizable.
    #[error("not linearizable: {call} cannot be; before it the state was one of {states}")]
    Contradiction {
        /// The first answer that nothing explains.
        call: String,
        /// What the states could have been.
        states: String,
    },
    /// It would take too long to tell, which is no proof of anything.
    #[error("undecided: more than {WORLDS_MAX} worlds explain what was answered up to {call}")]
    Undecided {
        /// Where it was given up.
        call: String,
    },
}

/// One way in which what was answered so far can have come about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World<S> {
    state: S,
    /// Open operations that have happened.
    done: BTreeSet<usize>,
    /// How many of each kind of those with an unknown outcome have happened.
    taken: Vec<u32>,
}

/// What is going on at a moment.
struct Open<'a, M: Model> {
    calls: &'a [Call<M>],
    /// Called and not answered yet; the answer is known.
    known: BTreeSet<usize>,
    /// The kinds of operations with an unknown outcome, and how many of each were called.
    unknown: Vec<(M::Op, u32)>,
}

/// Whether this history of an object that began in `begin` is linearizable.
///
/// # Errors
/// If it is not, or if that takes too long to find out.
pub fn check<M: Model>(begin: M::State, calls: &[Call<M>]) -> Result<(), Refused> {
    let kinds: BTreeSet<&M::Op> = calls.iter().filter(|call| call.answered.is_none()).map(|call| &call.op).collect();
    let mut open =
        Open { calls, known: BTreeSet::new(), unknown: kinds.into_iter().map(|op| (op.clone(), 0)).collect() };
    let mut worlds =
        BTreeSet::from([World { state: begin, done: BTreeSet::new(), taken: vec![0; open.unknown.len()] }]);
    for (is_answer, index) in in_time(calls) {
        if is_answer {
            worlds = open.answer(index, &worlds)?;
        } else if open.call(index) {
            let before = worlds.clone();
            worlds = worlds.into_iter().map(|world| open.settled(world)).filter(|world| !open.is_over(world)).collect();
            if worlds.is_empty() {
                // What it will be answered was impossible already when it was called.
                return Err(open.contradiction(index, &before));
            }
        }
    }
    Ok(())
}

/// Calls and answers as they came. Of what came at the same moment calls are first, so that they count as concurrent.
fn in_time<M: Model>(calls: &[Call<M>]) -> Vec<(bool, usize)> {
    let mut events = Vec::with_capacity(calls.len() * 2);
    for (index, call) in calls.iter().enumerate() {
        events.push((call.called, false, index));
        events.extend(call.answered.iter().map(|(at, _)| (*at, true, index)));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, is_answer, index)| (is_answer, index)).collect()
}

impl<M: Model> Open<'_, M> {
    /// From now on this one may happen. Whether its answer is known.
    fn call(&mut self, index: usize) -> bool {
        let call = &self.calls[index];
        if call.answered.is_some() {
            self.known.insert(index);
        } else if let Some((_, count)) = self.unknown.iter_mut().find(|(op, _)| *op == call.op) {
            *count += 1;
        }
        call.answered.is_some()
    }

    /// Those worlds in which this one has happened by now.
    fn answer(
        &mut self,
        index: usize,
        worlds: &BTreeSet<World<M::State>>,
    ) -> Result<BTreeSet<World<M::State>>, Refused> {
        let mut explained = BTreeSet::new();
        let mut seen = worlds.clone();
        let mut left: Vec<_> = worlds.iter().cloned().collect();
        while let Some(mut world) = left.pop() {
            if world.done.remove(&index) {
                explained.insert(world);
                continue;
            }
            for next in self.nexts(&world) {
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            }
            if seen.len() > WORLDS_MAX {
                return Err(Refused::Undecided { call: self.say(index) });
            }
        }
        self.known.remove(&index);
        if explained.is_empty() {
            return Err(self.contradiction(index, worlds));
        }
        Ok(explained)
    }

    fn contradiction(&self, index: usize, before: &BTreeSet<World<M::State>>) -> Refused {
        let states: BTreeSet<_> = before.iter().map(|world| &world.state).collect();
        Refused::Contradiction { call: self.say(index), states: format!("{states:?}") }
    }

    /// Every world in which one operation more has happened.
    fn nexts(&self, world: &World<M::State>) -> Vec<World<M::State>> {
        let mut nexts = Vec::new();
        for index in self.known.difference(&world.done) {
            if let Some(state) = self.apply(&world.state, *index) {
                let mut next = world.clone();
                next.state = state;
                next.done.insert(*index);
                nexts.push(self.settled(next));
            }
        }
        for (kind, (op, called)) in self.unknown.iter().enumerate() {
            if world.taken[kind] < *called
                && let Some(state) = M::apply(&world.state, op, None)
            {
                let mut next = world.clone();
                next.state = state;
                next.taken[kind] += 1;
                nexts.push(self.settled(next));
            }
        }
        nexts.retain(|next| !self.is_over(next));
        nexts
    }

    /// Whether something that is open and was answered can happen no more.
    fn is_over(&self, world: &World<M::State>) -> bool {
        self.known.difference(&world.done).any(|index| {
            let call = &self.calls[*index];
            call.answered.as_ref().is_some_and(|(_, answer)| M::is_over(&world.state, &call.op, answer))
        })
    }

    /// What changes nothing and may happen now, happens now: no later moment would allow more. So reads do not multiply worlds.
    fn settled(&self, mut world: World<M::State>) -> World<M::State> {
        let changes_nothing = |index: &usize| self.apply(&world.state, *index).as_ref() == Some(&world.state);
        let now: Vec<_> = self.known.difference(&world.done).copied().filter(changes_nothing).collect();
        world.done.extend(now);
        world
    }

    fn apply(&self, state: &M::State, index: usize) -> Option<M::State> {
        let call = &self.calls[index];
        M::apply(state, &call.op, call.answered.as_ref().map(|(_, answer)| answer))
    }

    fn say(&self, index: usize) -> String {
        let call = &self.calls[index];
        let answered = call.answered.as_ref().map(|(at, answer)| format!(", answered {answer:?} at {at:.3?}"));
        format!("{:?}, called at {:.3?}{}", call.op, call.called, answered.unwrap_or_default())
    }
}

/// A counter: what most histories here are of.
#[derive(Clone, Copy, Debug)]
pub struct Counter;

/// What can be asked of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// One more; the answer is the new value.
    Add,
    /// The value.
    Get,
}

impl Model for Counter {
    type State = u64;
    type Op = Access;
    type Answer = u64;

    fn apply(state: &u64, op: &Access, answer: Option<&u64>) -> Option<u64> {
        let next = match op {
            Access::Add => state + 1,
            Access::Get => *state,
        };
        answer.is_none_or(|answer| *answer == next).then_some(next)
    }

    /// A counter only grows.
    fn is_over(state: &u64, op: &Access, answer: &u64) -> bool {
        match op {
            Access::Add => answer <= state,
            Access::Get => answer < state,
        }
    }
}

/// Counts what each kind of operation came to, for the report.
pub(crate) fn answered<M: Model>(calls: &[Call<M>]) -> BTreeMap<&M::Op, usize> {
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| call.answered.is_some()) {
        *counts.entry(&call.op).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
