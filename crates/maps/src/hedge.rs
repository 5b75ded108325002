//! Calls for items, and second calls for those that take far longer than others.
//!
//! Always true: an item has one answer, whichever call gave it; the other call is dropped, which ends it; only a pure function
//! is called a second time, because only there it makes no difference; at most one of eight calls that run is a second one, so
//! that a node that is slow as a whole does not make itself slower.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stride_ids::{Code, Failure};
use stride_sim::Clock;
use tokio::sync::Semaphore;

use crate::{
    caller::{Callee, Reply, Wishes},
    pace::{LATE_MIN, Pace},
    part::Input,
};

/// Of so many calls that run, one may be a second one.
const ONE_OF: usize = 8;

/// Calls a function for the items of a map.
pub(crate) struct Hedge {
    callee: Arc<dyn Callee>,
    pace: Mutex<Pace>,
    seconds: Semaphore,
    clock: Clock,
}

impl Hedge {
    /// For a map that has `width` items under way.
    pub(crate) fn new(callee: Arc<dyn Callee>, width: usize, clock: Clock) -> Self {
        Self { callee, pace: Mutex::default(), seconds: Semaphore::new((width / ONE_OF).max(1)), clock }
    }

    /// Calls the function for one item; `is_hedged` is set when a second call begins.
    pub(crate) async fn call(&self, input: Input, is_hedged: &AtomicBool) -> Result<Reply, Failure> {
        let began = self.clock.now();
        let outcome = if self.callee.is_pure() {
            self.call_twice_if_late(input, began, is_hedged).await
        } else {
            self.callee.call(input, Wishes::default()).await
        };
        if let Ok(Reply { is_memoised: false, .. }) = &outcome {
            self.pace.lock().note(self.clock.now() - began);
        }
        outcome
    }

    async fn call_twice_if_late(
        &self,
        input: Input,
        began: Duration,
        is_hedged: &AtomicBool,
    ) -> Result<Reply, Failure> {
        let mut first = self.callee.call(input.clone(), Wishes::default());
        let place = async {
            self.late(began).await;
            self.seconds.acquire().await.expect("the places are never closed")
        };
        let _place = tokio::select! {
            // Most calls end when they are first looked at, and then no timer is ever set.
            biased;
            outcome = &mut first => return outcome,
            place = place => place,
        };
        is_hedged.store(true, Ordering::Relaxed);
        let mut second = self.callee.call(input, Wishes::default());
        tokio::select! {
            biased;
            outcome = &mut first => if was_refused(&outcome) { second.await } else { outcome },
            outcome = &mut second => if was_refused(&outcome) { first.await } else { outcome },
        }
    }

    /// Waits until an item that began then takes far longer than the others.
    async fn late(&self, began: Duration) {
        loop {
            let took = self.clock.now() - began;
            let late_after = self.pace.lock().late_after();
            match late_after {
                Some(after) if took >= after => return,
                // What the others take may change meanwhile, and a wait that is too short only looks again.
                Some(after) => self.clock.sleep(after - took).await,
                // Looked at less often the longer it takes: maps of long calls have many that wait.
                None => self.clock.sleep(LATE_MIN.max(took / 4)).await,
            }
        }
    }
}

/// The call was not even begun.
fn was_refused(outcome: &Result<Reply, Failure>) -> bool {
    matches!(outcome, Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::future::BoxFuture;
    use stride_ids::{BucketName, Payload};
    use tokio::sync::oneshot;

    use super::*;

    type Outcome = Result<Reply, Failure>;

    /// Answers calls when the test says so, in the order in which they begin.
    struct Told {
        is_pure: bool,
        calls: Mutex<VecDeque<oneshot::Receiver<Outcome>>>,
    }

    impl Callee for Told {
        fn version(&self) -> &str {
            "1"
        }

        fn concurrency(&self) -> usize {
            8
        }

        fn is_pure(&self) -> bool {
            self.is_pure
        }

        fn place<'a>(&'a self, _: &'a [BucketName]) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }

        fn call(&self, _: Input, _: Wishes) -> BoxFuture<'_, Outcome> {
            let call = self.calls.lock().pop_front();
            Box::pin(async { call.expect("nobody expects that many calls").await.expect("the test is not over") })
        }
    }

    fn input() -> Input {
        Input::Payload(Payload::json("1"))
    }

    fn answer(text: &'static str) -> Outcome {
        Ok(Reply { payload: Payload::json(text), is_memoised: false })
    }

    fn refused() -> Outcome {
        Err(Failure::new(Code::Overloaded, "full"))
    }

    /// A hedge whose siblings took a millisecond, and what answers the `calls` that it may make.
    fn hedge(is_pure: bool, calls: usize) -> (Hedge, Vec<oneshot::Sender<Outcome>>) {
        let (senders, receivers): (Vec<_>, VecDeque<_>) = (0..calls).map(|_| oneshot::channel()).unzip();
        let hedge = Hedge::new(Arc::new(Told { is_pure, calls: Mutex::new(receivers) }), 8, Clock::simulated());
        (0..100).for_each(|_| hedge.pace.lock().note(Duration::from_millis(1)));
        (hedge, senders)
    }

    /// Calls, and lets so much time pass before the calls are answered, those with the highest number first.
    async fn call(is_pure: bool, after: Duration, answers: Vec<Option<Outcome>>) -> (Outcome, bool) {
        let (hedge, senders) = hedge(is_pure, answers.len());
        let is_hedged = AtomicBool::new(false);
        let answering = async {
            hedge.clock.sleep(after).await;
            // Kept to the end: a call without an answer runs on.
            let mut kept = Vec::new();
            for (sender, answer) in senders.into_iter().zip(answers).rev() {
                match answer {
                    Some(answer) => drop(sender.send(answer)),
                    None => kept.push(sender),
                }
                hedge.clock.sleep(Duration::from_millis(1)).await;
            }
            std::future::pending::<()>().await;
            drop(kept);
        };
        let outcome = tokio::select! {
            outcome = hedge.call(input(), &is_hedged) => outcome,
            () = answering => unreachable!("it never ends"),
        };
        (outcome, is_hedged.into_inner())
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(40);

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_counts_whichever_call_gives_it() {
        assert_eq!(call(true, LONG, vec![None, Some(answer("2"))]).await, (answer("2"), true));
        assert_eq!(call(true, LONG, vec![Some(answer("1")), None]).await, (answer("1"), true));
        assert_eq!(call(true, SHORT, vec![Some(answer("1"))]).await, (answer("1"), false));
        let failed = || Err(Failure::new(Code::GuestTrap, "it trapped"));
        assert_eq!(call(true, LONG, vec![None, Some(failed())]).await, (failed(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_refused_leaves_the_answer_to_the_other() {
        assert_eq!(call(true, LONG, vec![Some(answer("1")), Some(refused())]).await, (answer("1"), true));
        assert_eq!(call(true, LONG, vec![Some(refused()), Some(refused())]).await, (refused(), true));
        assert_eq!(call(true, SHORT, vec![Some(refused())]).await, (refused(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_is_not_pure_is_called_once_however_long_it_takes() {
        assert_eq!(call(false, LONG, vec![Some(answer("1"))]).await, (answer("1"), false));
    }

    #[tokio::test(start_paused = true)]
    async fn second_calls_are_few() {
        let (hedge, senders) = hedge(true, 4);
        let is_hedged = [(); 3].map(|()| AtomicBool::new(false));
        let calls = futures::future::join_all(is_hedged.iter().map(|flag| hedge.call(input(), flag)));
        let hedged = || is_hedged.iter().filter(|flag| flag.load(Ordering::Relaxed)).count();
        assert!(hedge.clock.timeout(LONG, calls).await.is_err());
        assert_eq!(hedged(), 1, "of eight calls, one is a second one");
        drop(senders);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_memoised_says_nothing_about_how_long_others_take() {
        let (hedge, mut senders) = hedge(true, 1);
        let before = hedge.pace.lock().late_after();
        *hedge.pace.lock() = Pace::default();
        let memoised = Reply { payload: Payload::json("1"), is_memoised: true };
        senders.remove(0).send(Ok(memoised.clone())).unwrap();
        assert_eq!(hedge.call(input(), &AtomicBool::new(false)).await, Ok(memoised));
        assert_eq!((before, hedge.pace.lock().late_after()), (Some(LATE_MIN), None));
    }
}
