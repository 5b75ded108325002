use stride_sim::{Chance, Clock};

use super::{
    Access::{Add, Get},
    *,
};

/// Called and answered at these moments.
fn known(op: Access, called: u64, answered: u64, answer: u64) -> Call<Counter> {
    Call { op, called: Duration::from_millis(called), answered: Some((Duration::from_millis(answered), answer)) }
}

fn unknown(called: u64) -> Call<Counter> {
    Call { op: Add, called: Duration::from_millis(called), answered: None }
}

#[track_caller]
fn refuses(calls: &[Call<Counter>]) {
    let refused = check(0, calls);
    assert!(matches!(refused, Err(Refused::Contradiction { .. })), "{refused:?}");
}

#[test]
fn what_happened_one_after_the_other_or_side_by_side_is_accepted() {
    assert_eq!(check(0, &[known(Add, 0, 1, 1), known(Get, 2, 3, 1), known(Add, 4, 5, 2)]), Ok(()));
    // A read beside an addition may see either.
    for seen in [0, 1] {
        assert_eq!(check(0, &[known(Add, 0, 10, 1), known(Get, 5, 6, seen)]), Ok(()));
    }
    // What was called first need not happen first.
    assert_eq!(check(0, &[known(Add, 0, 10, 2), known(Add, 1, 9, 1)]), Ok(()));
}

#[test]
fn a_stale_read_is_refused() {
    refuses(&[known(Add, 0, 1, 1), known(Get, 2, 3, 0)]);
    // Also if it was asked while nothing else was open, by a node that stood still while another one added.
    refuses(&[known(Add, 0, 1, 1), known(Add, 2, 3, 2), known(Get, 4, 9, 1), known(Add, 5, 6, 3)]);
    // Two reads one after the other do not go back.
    refuses(&[known(Add, 0, 10, 1), known(Get, 1, 2, 1), known(Get, 3, 4, 0)]);
}

#[test]
fn what_is_refused_is_the_answer_that_cannot_be() {
    // The stale read is answered last, and named.
    let refused = check(0, &[known(Add, 0, 1, 1), known(Get, 2, 9, 0), known(Add, 3, 4, 2)]).unwrap_err().to_string();
    assert!(refused.contains("Get, called at 2.000ms, answered 0") && refused.contains("{1}"), "{refused}");
}

#[test]
fn an_addition_that_is_lost_or_applied_twice_is_refused() {
    refuses(&[known(Add, 0, 1, 1), known(Add, 2, 3, 1)]);
    refuses(&[known(Add, 0, 1, 1), known(Add, 2, 3, 3)]);
    refuses(&[known(Add, 0, 1, 1), known(Get, 2, 3, 2)]);
}

#[test]
fn what_has_an_unknown_outcome_may_happen_once_at_any_time_after_its_call_or_never() {
    for seen in [0, 1] {
        assert_eq!(check(0, &[unknown(0), known(Get, 2, 3, seen)]), Ok(()));
    }
    assert_eq!(check(0, &[unknown(0), known(Get, 2, 3, 0), known(Get, 4, 5, 1)]), Ok(()));
    refuses(&[unknown(0), known(Get, 2, 3, 2)]);
    refuses(&[unknown(0), known(Get, 2, 3, 1), known(Get, 4, 5, 0)]);
    refuses(&[known(Get, 0, 1, 1), unknown(2)]);
}

#[test]
fn what_nobody_can_tell_in_time_is_not_accepted() {
    // Forty additions side by side whose answers nobody saw in order: any of them may have been any number, and the read fits none.
    struct Bag;
    impl Model for Bag {
        type State = BTreeSet<u32>;
        type Op = u32;
        type Answer = ();

        fn apply(state: &BTreeSet<u32>, op: &u32, _: Option<&()>) -> Option<BTreeSet<u32>> {
            (*op < 40).then(|| state.iter().copied().chain([*op]).collect())
        }
    }
    let call = |op| Call::<Bag> { op, called: Duration::ZERO, answered: Some((Duration::from_secs(1), ())) };
    let calls: Vec<_> = [40].into_iter().chain(0..40).map(call).collect();
    assert!(matches!(check(BTreeSet::new(), &calls), Err(Refused::Undecided { .. })));
}

/// Tries every order: what the checker has to agree with.
fn by_brute_force(calls: &[Call<Counter>], state: u64, left: &BTreeSet<usize>) -> bool {
    let answered = |index: &usize| calls[*index].answered.map(|(at, _)| at);
    if left.iter().all(|index| answered(index).is_none()) {
        return true;
    }
    let soonest = left.iter().filter_map(answered).min();
    left.iter().any(|index| {
        let call = &calls[*index];
        // Whoever was called after somebody was answered comes after that one.
        let may_be_next = soonest.is_none_or(|soonest| call.called <= soonest);
        let answer = call.answered.as_ref().map(|(_, answer)| answer);
        may_be_next
            && Counter::apply(&state, &call.op, answer).is_some_and(|state| {
                let rest = left.iter().copied().filter(|other| other != index).collect();
                by_brute_force(calls, state, &rest)
            })
    })
}

#[test]
fn it_agrees_with_trying_every_order() {
    let chance = Chance::seeded(1);
    let mut verdicts = [0, 0];
    for _ in 0..20_000 {
        let calls: Vec<_> = (0..=chance.below(6))
            .map(|_| {
                let called = chance.below(10);
                let op = if chance.hits(600) { Add } else { Get };
                if op == Add && chance.hits(250) {
                    return unknown(called);
                }
                known(op, called, called + chance.below(6), chance.below(4))
            })
            .collect();
        let expected = by_brute_force(&calls, 0, &(0..calls.len()).collect());
        assert_eq!(check(0, &calls).is_ok(), expected, "{calls:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.into_iter().all(|count| count > 1_000), "{verdicts:?}");
}

#[test]
fn a_long_history_with_many_unknown_outcomes_is_checked_soon() {
    let (clock, chance) = (Clock::real(), Chance::seeded(2));
    let (mut value, mut calls) = (0, Vec::new());
    for at in 0..50_000 {
        if chance.hits(20) {
            calls.push(unknown(at));
            // It happened, or it did not.
            value += chance.below(2);
        } else if chance.hits(500) {
            value += 1;
            calls.push(known(Add, at, at + 1 + chance.below(5), value));
            // Nobody else adds until that was answered, but others read.
        } else {
            calls.push(known(Get, at, at + 1 + chance.below(20), value));
        }
    }
    assert_eq!(check(0, &calls), Ok(()));
    assert!(clock.now() < Duration::from_secs(20), "{:?}", clock.now());
    calls.push(known(Get, 60_000, 60_001, value.saturating_sub(1)));
    refuses(&calls);
}
