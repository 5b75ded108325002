//! The training case of the paper "Serverless Computing: One Step Forward, Two Steps Back": an agent keeps the weights and reads the
//! batches where they lie; a function is sent both, a few megabytes at a time, because it keeps nothing and reaches nothing.

use std::time::{Duration, Instant};

use models::mlp::{FEATURES, Gradient, Parameters, Trainer, row_len};
use stride::prelude::*;

#[cfg(test)]
mod tests;

/// Rows that are read at a time: less than 1 MiB, so that a piece is still in the processor's cache when it is computed with.
const PIECE: usize = 32;
const BUCKET: &str = "training";
const WEIGHTS: &str = "weights";

/// The gradient of some rows, after the parameters that they go through.
#[stride::function]
fn gradient(input: Payload) -> Result<Payload, Failure> {
    let invalid = |why: &str| Failure::new(Code::InvalidRequest, why);
    let (parameters, rows) =
        input.body.split_at_checked(Parameters::len(FEATURES)).ok_or_else(|| invalid("the parameters are missing"))?;
    let parameters = Parameters::from_bytes(FEATURES, parameters).ok_or_else(|| invalid("these are no parameters"))?;
    let body = Gradient::of(&parameters, rows).to_bytes();
    Ok(Payload { content_type: "application/octet-stream".into(), body })
}

/// An agent per training. Its weights are an entry of its state, so a step is durable when it is answered.
#[derive(Default, Serialize, Deserialize)]
struct Training {
    steps: u32,
    /// As the entry says, kept as long as the agent is in memory.
    #[serde(skip)]
    trainer: Option<Box<Trainer>>,
}

/// What a step did.
#[derive(Serialize)]
struct Step {
    /// The mean loss of the batch before the step.
    loss: f32,
    fetch_seconds: f64,
    compute_seconds: f64,
}

#[stride::agent(name = "trainer")]
impl Training {
    /// One step with one batch, which is an object.
    fn step(&mut self, batch: String) -> Result<Step, Failure> {
        let mut trainer = self.trainer.take().map_or_else(stored, Ok)?;
        let mut watch = Watch::start();
        let object = objects::open(BUCKET, &batch)?;
        let mut at = 0;
        while at < object.size() {
            let rows = object.read_at(at, PIECE * row_len(FEATURES))?;
            watch.fetched();
            at += rows.len() as u64;
            trainer.see(&rows);
            watch.computed();
        }
        let loss = trainer.step();
        watch.computed();
        state::set_raw(WEIGHTS, &trainer.to_bytes());
        self.steps = trainer.steps();
        // Made again from the entry if there is no room for it.
        self.trainer = Some(trainer).filter(|_| !memory::is_scarce());
        let seconds = |duration: Duration| duration.as_secs_f64();
        Ok(Step { loss, fetch_seconds: seconds(watch.fetch), compute_seconds: seconds(watch.compute) })
    }

    /// How many steps were taken.
    fn steps(&self) -> u32 {
        self.steps
    }
}

fn stored() -> Result<Box<Trainer>, Failure> {
    let Some(bytes) = state::get_raw(WEIGHTS) else { return Ok(Box::new(Trainer::new(FEATURES))) };
    let trainer = Trainer::from_bytes(FEATURES, &bytes);
    trainer.map(Box::new).ok_or_else(|| Failure::new(Code::Internal, "what is stored is no training"))
}

/// Where the time of a step goes.
struct Watch {
    since: Instant,
    fetch: Duration,
    compute: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a guest's only clock is the host's")]
impl Watch {
    fn start() -> Self {
        Self { since: Instant::now(), fetch: Duration::ZERO, compute: Duration::ZERO }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.since, now)
    }

    fn fetched(&mut self) {
        let lap = self.lap();
        self.fetch += lap;
    }

    fn computed(&mut self) {
        let lap = self.lap();
        self.compute += lap;
    }
}
