//! The algorithm among candidates in memory, whose messages arrive in any order and whose timeouts come too soon.

use stride_sim::Chance;

use super::*;

struct Group {
    candidates: Vec<Candidate>,
    travelling: Vec<(u32, Message)>,
    sent: usize,
    claims: usize,
}

impl Group {
    /// Candidates that follow the highest of them.
    fn of(members: u32) -> Self {
        let candidates = (1..=members).map(|id| Candidate::new(id, members)).collect();
        let mut group = Self { candidates, travelling: Vec::new(), sent: 0, claims: 0 };
        group.act(members, Candidate::notice);
        group.settle();
        assert_eq!(group.leader(), members);
        (group.sent, group.claims) = (0, 0);
        group
    }

    fn act(&mut self, id: u32, act: impl FnOnce(&mut Candidate) -> Sends) {
        for (to, message) in act(&mut self.candidates[id as usize - 1]) {
            self.claims += usize::from(message.word == Word::Claim);
            self.sent += to.len();
            self.travelling.extend(to.map(|id| (id, message)));
        }
    }

    fn go_down(&mut self, id: u32) {
        self.candidates[id as usize - 1].go_down();
    }

    fn awaited(&self) -> Vec<(u32, Timeout)> {
        self.candidates.iter().filter_map(|it| Some((it.id(), it.awaits()?))).collect()
    }

    /// Everything arrives in its order, and only then do timeouts come, those of answers first.
    fn settle(&mut self) {
        loop {
            while !self.travelling.is_empty() {
                let (to, message) = self.travelling.remove(0);
                self.act(to, |it| it.hear(message));
            }
            let awaited = self.awaited();
            let answers = awaited.iter().find(|(_, timeout)| timeout.of == Awaited::Answer);
            let Some((id, timeout)) = answers.or(awaited.first()).copied() else { return };
            self.act(id, |it| it.time_out(timeout));
        }
    }

    /// Anything arrives next, or a timeout is over, in one of a hundred steps while messages still travel. False if all is quiet.
    fn step_by_chance(&mut self, chance: &Chance) -> bool {
        let awaited = self.awaited();
        let pick = |count: usize| usize::try_from(chance.below(count as u64)).unwrap();
        if !self.travelling.is_empty() && (awaited.is_empty() || !chance.hits(10)) {
            let (to, message) = self.travelling.swap_remove(pick(self.travelling.len()));
            self.act(to, |it| it.hear(message));
        } else if !awaited.is_empty() {
            let (id, timeout) = awaited[pick(awaited.len())];
            self.act(id, |it| it.time_out(timeout));
        } else {
            return false;
        }
        true
    }

    fn living(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|it| !it.is_down())
    }

    /// Whom all that live follow, which has to be one of them.
    #[track_caller]
    fn leader(&self) -> u32 {
        let leader = self.living().next().and_then(Candidate::leader).expect("somebody leads");
        for candidate in self.living() {
            assert_eq!(candidate.leader(), Some(leader), "{:?}", self.candidates);
        }
        assert!(!self.candidates[leader as usize - 1].is_down());
        leader
    }
}

#[test]
fn the_next_in_line_asks_the_dead_and_claims_with_one_message_to_each() {
    let mut group = Group::of(5);
    group.go_down(5);
    group.act(4, Candidate::notice);
    group.settle();
    assert_eq!((group.leader(), group.sent, group.claims), (4, 1 + 3, 1));
}

#[test]
fn if_the_lowest_notices_everybody_asks_and_the_highest_claims() {
    let mut group = Group::of(5);
    group.go_down(5);
    group.act(1, Candidate::notice);
    group.settle();
    // Elections of 1 to 4, answers of those that live, and one claim.
    assert_eq!((group.leader(), group.sent, group.claims), (4, (4 + 3 + 2 + 1) + (3 + 2 + 1) + 3, 1));
}

#[test]
fn a_second_failure_elects_the_next_and_the_last_one_leads_alone() {
    let mut group = Group::of(4);
    for next in [3, 2, 1] {
        group.go_down(next + 1);
        group.act(1, Candidate::notice);
        group.settle();
        assert_eq!(group.leader(), next);
    }
}

#[test]
fn one_that_answers_and_dies_before_it_claims_is_waited_for_and_no_longer() {
    let mut group = Group::of(4);
    group.go_down(4);
    group.act(2, Candidate::notice);
    let (to, message) = group.travelling.remove(0);
    assert_eq!(to, 3);
    group.act(3, |it| it.hear(message));
    group.go_down(3);
    group.settle();
    assert_eq!(group.leader(), 2);
}

#[test]
fn who_comes_back_takes_over_also_if_it_missed_many_elections() {
    let mut group = Group::of(4);
    group.go_down(4);
    for _ in 0..5 {
        group.act(1, Candidate::notice);
        group.settle();
    }
    group.act(4, Candidate::come_up);
    group.settle();
    assert_eq!(group.leader(), 4);
}

#[test]
fn who_is_down_does_nothing() {
    let mut candidate = Candidate::new(2, 3);
    let asked = candidate.notice();
    let timeout = candidate.awaits().unwrap();
    candidate.go_down();
    assert!(candidate.notice().is_empty() && candidate.time_out(timeout).is_empty());
    assert!(candidate.hear(Message { from: 1, ..asked[0].1 }).is_empty());
    assert_eq!((candidate.leader(), candidate.awaits()), (None, None));
}

#[test]
fn a_timeout_that_comes_late_changes_nothing() {
    let mut candidate = Candidate::new(1, 2);
    candidate.notice();
    let late = candidate.awaits().unwrap();
    candidate.hear(Message { from: 2, election: 1, word: Word::Claim });
    assert!(candidate.time_out(late).is_empty());
    assert_eq!(candidate.leader(), Some(2));
}

#[test]
fn in_any_order_and_with_timeouts_that_come_too_soon_all_end_with_the_highest() {
    for seed in 0..2_000 {
        let chance = Chance::seeded(seed);
        let members = 2 + u32::try_from(chance.below(7)).unwrap();
        let mut group = Group::of(members);
        for _ in 0..6 {
            for id in 1..=members {
                let is_down = group.candidates[id as usize - 1].is_down();
                match chance.below(4) {
                    0 if is_down => group.act(id, Candidate::come_up),
                    0 if group.living().count() > 1 => group.go_down(id),
                    1 => group.act(id, Candidate::notice),
                    _ => {}
                }
                for _ in 0..chance.below(5) {
                    group.step_by_chance(&chance);
                }
            }
            // What was on its way may be the claim of one that is dead by now: whoever believes it notices again.
            while group.step_by_chance(&chance) {}
            let lowest = group.living().next().unwrap().id();
            group.act(lowest, Candidate::notice);
            while group.step_by_chance(&chance) {}
            let highest = group.living().last().unwrap().id();
            assert_eq!(group.leader(), highest, "seed {seed}");
        }
    }
}
