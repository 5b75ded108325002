//! The reduction: results are folded in groups, level by level, until one value is left. Groups follow from the values
//! and their order alone, so they are the same whatever finished first and whatever was killed meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stride_agents::native::ask;
use stride_ids::{Address, Code, Failure, Payload};
use tokio::sync::mpsc;

use crate::{
    caller::{Callee, Reply, Wishes},
    line,
    mapping::RESULT_LEN_MAX,
    maps::Inner,
    message::{FOLD, FOLDED, FoldAsked, FoldedAsked, RESULTS, Results, ResultsAsked},
    part::Input,
    pool::Work,
    row::Output,
    run::Patience,
};

/// How many values a group has, and after how many bytes it ends; two fit whatever they are.
const GROUP: usize = 64;
const GROUP_BYTES: usize = 1 << 20;

/// Collects values into groups. Pure.
#[derive(Default)]
pub(crate) struct Grouping {
    values: Vec<String>,
    bytes: usize,
}

impl Grouping {
    /// Adds a value; the group before it, if it does not fit into that.
    fn add(&mut self, value: String) -> Option<Vec<String>> {
        let is_full = self.values.len() >= GROUP || (self.values.len() >= 2 && self.bytes + value.len() > GROUP_BYTES);
        let group = if is_full { self.take() } else { None };
        self.bytes += value.len() + 1;
        self.values.push(value);
        group
    }

    /// What is left.
    fn take(&mut self) -> Option<Vec<String>> {
        self.bytes = 0;
        Some(std::mem::take(&mut self.values)).filter(|values| !values.is_empty())
    }
}

/// One level of the reduction: from the values of `level` to those of the next. Level 0 are the results of the items.
pub(crate) struct Folding {
    pub(crate) inner: Arc<Inner>,
    pub(crate) address: Address,
    pub(crate) function: Arc<dyn Callee>,
    pub(crate) level: u8,
    pub(crate) patience: Patience,
}

impl Work for Folding {
    type Task = (u64, Vec<String>);
    type Outcome = (u64, Result<Payload, Failure>);
    const AHEAD: usize = 4;

    async fn feed(&self, tasks: mpsc::Sender<Self::Task>) -> Result<(), Failure> {
        let Some(done) = self.done().await? else { return Ok(()) };
        let (mut grouping, mut from, mut number) = (Grouping::default(), 0, 0);
        loop {
            let Some((values, next)) = self.values(from).await? else { return Ok(()) };
            let groups: Vec<_> = match next {
                Some(_) => values.into_iter().filter_map(|value| grouping.add(value)).collect(),
                None => grouping.take().into_iter().collect(),
            };
            for group in groups {
                if !done.contains(&number) && tasks.send((number, group)).await.is_err() {
                    return Ok(());
                }
                number += 1;
            }
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    async fn run(&self, (number, group): Self::Task) -> Option<Self::Outcome> {
        // One value that a call has made already is its own reduction.
        if let [value] = &group[..]
            && self.level > 0
        {
            return Some((number, Ok(Payload::json(value.clone()))));
        }
        let input = Input::Payload(Payload::json(Bytes::from(format!("[{}]", group.join(",")))));
        let outcome = self.patience.retry(|| self.function.call(input.clone(), Wishes::default())).await?;
        let fits = |Reply { payload: reply, .. }: Reply| {
            let len = reply.body.len();
            if len <= RESULT_LEN_MAX {
                return Ok(reply);
            }
            Err(Failure::new(
                Code::PayloadTooLarge,
                format!("it answered with {len} bytes; {RESULT_LEN_MAX} is the most"),
            ))
        };
        Some((number, outcome.and_then(fits)))
    }

    fn weight((_, outcome): &Self::Outcome) -> usize {
        outcome.as_ref().map_or(0, |payload| payload.body.len())
    }

    async fn record(&self, outcomes: Vec<Self::Outcome>) -> Result<(), Failure> {
        let failed =
            |failure: Failure| Failure::new(failure.code, format!("the reduction failed: {}", failure.message));
        let values = outcomes.into_iter().map(|(number, outcome)| outcome.map(|value| (number, value)));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let asked = FoldAsked { level: self.level + 1, values };
        // If the map is stopped, they are folded again.
        self.ask::<()>(FOLD, &asked).await.map(drop)
    }
}

impl Folding {
    async fn ask<T: DeserializeOwned>(&self, method: &str, asked: &impl Serialize) -> Result<Option<T>, Failure> {
        self.patience.retry(|| ask(&self.inner.engine, &self.address, method, asked)).await.transpose()
    }

    /// The groups that have been folded already; none if the map is stopped.
    async fn done(&self) -> Result<Option<BTreeSet<u64>>, Failure> {
        let (mut done, mut from) = (BTreeSet::new(), 0);
        loop {
            let asked = FoldedAsked { level: self.level + 1, from };
            let Some(values) = self.ask::<Vec<(u64, Payload)>>(FOLDED, &asked).await? else { return Ok(None) };
            match values.last() {
                Some((last, _)) => from = last + 1,
                None => return Ok(Some(done)),
            }
            done.extend(values.into_iter().map(|(number, _)| number));
        }
    }

    /// Some values of this level from `from` on, as JSON, and where the next are; items that failed have none. No values
    /// and no next at the end; none if the map is stopped.
    async fn values(&self, from: u64) -> Result<Option<(Vec<String>, Option<u64>)>, Failure> {
        let json = |payload: Payload| line::result(&payload.content_type, &payload.body);
        if self.level > 0 {
            let asked = FoldedAsked { level: self.level, from };
            let Some(values) = self.ask::<Vec<(u64, Payload)>>(FOLDED, &asked).await? else { return Ok(None) };
            let next = values.last().map(|(last, _)| last + 1);
            return Ok(Some((values.into_iter().map(|(_, value)| json(value)).collect(), next)));
        }
        let Some(Results { outcomes, .. }) = self.ask(RESULTS, &ResultsAsked { from }).await? else { return Ok(None) };
        let next = outcomes.last().map(|(last, _)| last + 1);
        let kept = |output| match output {
            Output::Kept(payload) => Some(json(payload)),
            Output::Stored { .. } => None,
        };
        Ok(Some((outcomes.into_iter().filter_map(|(_, outcome)| outcome.result.ok().and_then(kept)).collect(), next)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn groups(values: &[String]) -> Vec<Vec<String>> {
        let mut grouping = Grouping::default();
        let mut groups: Vec<_> = values.iter().filter_map(|value| grouping.add(value.clone())).collect();
        groups.extend(grouping.take());
        groups
    }

    proptest! {
        #[test]
        fn groups_are_the_values_in_their_order_and_there_are_fewer_of_them(lens in prop::collection::vec(0usize..RESULT_LEN_MAX / 3, 0..40)) {
            let values: Vec<String> = lens.iter().enumerate().map(|(n, len)| format!("{n}{}", "x".repeat(*len))).collect();
            let groups = groups(&values);
            prop_assert_eq!(&groups.concat(), &values);
            prop_assert!(groups.len() <= values.len().div_ceil(2));
            for group in &groups {
                let bytes: usize = group.iter().map(String::len).sum();
                prop_assert!(group.len() <= GROUP && (group.len() <= 2 || bytes <= GROUP_BYTES));
            }
        }
    }

    #[test]
    fn a_group_takes_sixty_four_small_values() {
        let values = vec!["1".to_owned(); 2 * GROUP + 1];
        assert_eq!(groups(&values).iter().map(Vec::len).collect::<Vec<_>>(), [GROUP, GROUP, 1]);
    }
}
