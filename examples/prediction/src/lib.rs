//! The prediction case of the paper "Serverless Computing: One Step Forward, Two Steps Back": documents come in, dirty words
//! leave as punctuation marks. A function needs the model with every batch; an agent keeps it.
//!
//! A batch is text, its documents separated by form feeds; so is the answer.

use std::cell::OnceCell;

use models::blacklist::{Blacklist, SEPARATOR};
use stride::prelude::*;

/// Cleans a batch. What stands before the first form feed is the model: a function keeps nothing.
#[stride::function]
fn predict(input: Payload) -> Result<Payload, Failure> {
    let invalid = |why: &str| Failure::new(Code::InvalidRequest, why);
    let at = input.body.iter().position(|byte| *byte == SEPARATOR);
    let (words, batch) = input.body.split_at(at.ok_or_else(|| invalid("no form feed ends the list of dirty words"))?);
    let words = std::str::from_utf8(words).map_err(|_| invalid("the list of dirty words is not UTF-8"))?;
    let mut body = batch[1..].to_vec();
    Blacklist::new(words).clean(&mut body);
    Ok(Payload { content_type: input.content_type, body })
}

/// Where the words are kept: an entry of its own, so that a turn that does not change them does not store them again.
const WORDS: &str = "words";

#[derive(Default, Serialize, Deserialize)]
struct Predictor {
    /// Made from the words when the first batch comes, and kept as long as the agent is in memory.
    #[serde(skip)]
    model: OnceCell<Blacklist>,
}

#[stride::agent]
impl Predictor {
    /// From now on these words are dirty; they are separated by white space.
    fn learn(&mut self, words: String) -> Result<(), Failure> {
        self.model.take();
        state::set(WORDS, &words)
    }

    /// Cleans a batch.
    fn predict(&self, mut batch: Payload) -> Result<Payload, Failure> {
        self.model()?.clean(&mut batch.body);
        Ok(batch)
    }

    /// Cleans a batch and keeps the answer under the parameter `id` of the content type, until it is collected: for those who
    /// tell instead of ask.
    fn submit(&mut self, batch: Payload) -> Result<(), Failure> {
        let invalid = |why: String| Failure::new(Code::InvalidRequest, why);
        let id = batch.param("id").ok_or_else(|| invalid("the content type has no parameter `id`".into()))?;
        let Payload { body, .. } = self.predict(batch)?;
        let text = String::from_utf8(body).map_err(|e| invalid(format!("the batch is no text: {e}")))?;
        state::set(&format!("done/{id}"), &text)
    }

    /// The answer to a batch that was submitted, which is forgotten with this; nothing if it is not there yet.
    fn collect(&mut self, id: String) -> Result<Payload, Failure> {
        let key = format!("done/{id}");
        let text: Option<String> = state::get(&key)?;
        if text.is_some() {
            state::delete(&key);
        }
        Ok(Payload { content_type: "text/plain".into(), body: text.unwrap_or_default().into_bytes() })
    }
}

impl Predictor {
    fn model(&self) -> Result<&Blacklist, Failure> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let words: Option<String> = state::get(WORDS)?;
        Ok(self.model.get_or_init(|| Blacklist::new(&words.unwrap_or_default())))
    }
}
