//! Events to functions: calls them for what waits, the oldest first, several at a time, and has the outcomes recorded.
//!
//! Always true: one node works on a trigger at a time, the one that has its agent. A call whose outcome was not recorded is made again,
//! with the same input.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use stride_agents::native::ask;
use stride_ids::{Address, Code, Failure, Name, Payload};
use stride_sim::Timestamp;

use crate::{
    message::{DUE, Due, DueAsked, DueCall, Outcome, SETTLE, Settled},
    triggers::Inner,
};

/// How many calls of one trigger run at the same time.
const CALLS_MAX: usize = 16;
/// How many events are looked at. If so many wait for their next attempt, others wait as well.
const WINDOW: usize = 64;
/// How often a call is made.
const ATTEMPTS_MAX: u32 = 5;
/// How long to wait after the first attempt; twice as long after each, up to the longest.
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Calls until nothing is due; whoever looks after triggers begins again when something is.
pub(crate) async fn drive(inner: &Arc<Inner>, trigger: &Address) -> Result<(), Failure> {
    while !inner.is_stopping() && inner.engine.is_here(trigger) {
        let due: Option<Due> = ask(&inner.engine, trigger, DUE, &DueAsked { limit: WINDOW }).await?;
        let Some(Due { function, calls }) = due else { return Ok(()) };
        let settled = futures::stream::iter(calls).map(|call| settle(inner, trigger, &function, call));
        let mut settled = std::pin::pin!(settled.buffer_unordered(CALLS_MAX).ready_chunks(WINDOW));
        while let Some(settled) = settled.next().await {
            let settled: Vec<Settled> = settled.into_iter().flatten().collect();
            if !settled.is_empty() {
                ask::<()>(&inner.engine, trigger, SETTLE, &settled).await?;
            }
        }
    }
    Ok(())
}

/// Makes one call. None if the node stops: then it counts as not made.
async fn settle(
    inner: &Inner,
    trigger: &Address,
    (component, function): &(Name, Name),
    DueCall { number, attempts, input }: DueCall,
) -> Option<Settled> {
    if inner.is_stopping() {
        return None;
    }
    let call = async |input: Payload| inner.caller.call(&trigger.tenant, (component, function), input).await;
    let outcome = match input {
        Ok(input) => match call(input).await {
            Ok(_) => Outcome::Done,
            Err(failure) => failed(inner, attempts, failure),
        },
        Err(cause) => Outcome::Dead { attempts, cause },
    };
    metrics::counter!("stride_trigger_calls_total", "outcome" => outcome.as_str()).increment(1);
    Some(Settled { number, outcome })
}

fn failed(inner: &Inner, attempts: u32, cause: Failure) -> Outcome {
    match cause.code {
        // What passes by itself is no attempt.
        Code::Overloaded | Code::Unavailable => Outcome::Again { attempts, due: later(inner, 1) },
        Code::NotFound => {
            let message = format!("{}; deploy it, then replay: stride triggers replay", cause.message);
            Outcome::Dead { attempts: attempts + 1, cause: Failure { message, ..cause } }
        }
        // Another attempt would be refused as well.
        Code::InvalidRequest | Code::PayloadTooLarge | Code::CapabilityDenied => {
            Outcome::Dead { attempts: attempts + 1, cause }
        }
        _ if attempts + 1 >= ATTEMPTS_MAX => Outcome::Dead { attempts: attempts + 1, cause },
        _ => Outcome::Again { attempts: attempts + 1, due: later(inner, attempts + 1) },
    }
}

/// When the next attempt is made: from half to one and a half of the step, so that what failed together does not come back together.
fn later(inner: &Inner, attempts: u32) -> Timestamp {
    let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let step = u64::try_from(BACKOFF.saturating_mul(factor).min(BACKOFF_MAX).as_millis()).unwrap_or(u64::MAX);
    inner.clock.timestamp() + step / 2 + inner.chance.below(step)
}
