//! Windows of topics: each message goes to one step of one run of a flow, some at a time.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stride_agents::Ask;
use stride_flows::{
    limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX},
    run::Content,
    value,
};
use stride_ids::{Address, Code, Failure};

use crate::{head, inside, payload, shared::Shared, store};

/// How often a topic is looked at, first and at last.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// What is left of a window: the messages behind the first number, up to the second.
pub(crate) type Left = (u64, u64);

/// A topic, as a step of a run reads it.
pub(crate) struct Topic<'a> {
    shared: &'a Arc<Shared>,
    run: &'a Address,
    step: &'a str,
    topic: Address,
}

impl<'a> Topic<'a> {
    pub(crate) fn of(shared: &'a Arc<Shared>, run: &'a Address, step: &'a str, topic: &str) -> Result<Self, Failure> {
        let topic = inside::agent(&run.tenant, "topic", topic, "read")?;
        Ok(Self { shared, run, step, topic })
    }

    /// A page of a window, which is taken first, and what is left of it.
    pub(crate) async fn page(
        &self,
        left: Option<Left>,
        count_max: u32,
        time_max: Duration,
    ) -> Result<(Vec<Value>, Option<Left>), Failure> {
        let (mut after, until) = match left {
            Some(window) => window,
            None => self.window(count_max, time_max).await?,
        };
        let read: Messages = self.ask("read", &json!({"after": after, "limit": PAGE_ITEMS_MAX})).await?;
        let (mut items, mut bytes) = (Vec::new(), 2);
        for Message { number, event } in read.messages.into_iter().filter(|message| message.number <= until) {
            let item = self.small(number, event).await?;
            bytes += value::size(&item) + 1;
            if bytes > PAGE_BYTES_MAX {
                break;
            }
            items.push(item);
            after = number;
        }
        // What is no longer kept cannot be read any more.
        let is_over = after >= until || items.is_empty();
        Ok((items, (!is_over).then_some((after, until))))
    }

    /// Waits until so many messages are there, or until so long after the first one, and takes them.
    async fn window(&self, count_max: u32, time_max: Duration) -> Result<Left, Failure> {
        let clock = &self.shared.clock;
        let (flow, _) = head::names(&self.run.key)?;
        let node = self.step.rsplit('/').next().unwrap_or_default().split('~').next().unwrap_or_default();
        let reader = format!("{flow}/{node}");
        let step = format!("{}{}", self.run.key, self.step);
        let (mut first_seen, mut pause) = (None, LOOK_AGAIN);
        loop {
            let Waiting { waiting } = self.ask("stride-waiting", &json!({ "reader": reader })).await?;
            let now = clock.now();
            let is_late = waiting > 0 && now - *first_seen.get_or_insert(now) >= time_max;
            if is_late || waiting >= u64::from(count_max) {
                let count_min = if is_late { 1 } else { count_max };
                let asked = json!({"reader": reader, "step": step, "count_min": count_min, "count_max": count_max});
                let Taken { after, until } = self.ask("stride-window", &asked).await?;
                if until > after {
                    return Ok((after, until));
                }
            }
            pause = if waiting == 0 { (pause * 2).min(LOOK_AGAIN_MAX) } else { LOOK_AGAIN };
            clock.sleep(pause).await;
        }
    }

    /// An event that is too large to be an item among others goes to an object.
    async fn small(&self, number: u64, event: Value) -> Result<Value, Failure> {
        if value::size(&event) <= PAGE_BYTES_MAX / 2 {
            return Ok(event);
        }
        let step = format!("{}/!message-{number}", self.step);
        Ok(store::put(self.shared, self.run, &step, None, &Content::Value(event)).await?.to_value())
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, asked: &Value) -> Result<T, Failure> {
        let (address, method, input) = (self.topic.clone(), method.to_owned(), payload::json(asked));
        let ask = Ask { address, method, input, idempotency_key: None, trace: None };
        let answer = self.shared.surroundings()?.engine.ask(ask).await?;
        serde_json::from_slice(&answer.payload.body)
            .map_err(|e| Failure::new(Code::Internal, format!("a topic answered what cannot be read: {e}")))
    }
}

#[derive(Deserialize)]
struct Waiting {
    waiting: u64,
}

#[derive(Deserialize)]
struct Taken {
    after: u64,
    until: u64,
}

#[derive(Deserialize)]
struct Messages {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    number: u64,
    event: Value,
}
