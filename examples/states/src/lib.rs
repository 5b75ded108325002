//! Jobs that take a while: functions that submit one, look at it and fetch its result, and an agent that plays it.

use stride::prelude::*;

#[cfg(test)]
mod tests;

/// What a run of the state machine begins with. Other fields are the machine's own.
#[derive(Deserialize)]
struct Wanted {
    name: String,
    /// How often somebody has to look before it is done.
    #[serde(default)]
    looks: u32,
    #[serde(default)]
    fails: bool,
}

/// Submits a job. The answer is its name.
#[stride::function]
fn submit(wanted: Wanted) -> Result<String, Failure> {
    stride::agent("job", wanted.name.as_str()).ask::<()>("begin", &(wanted.looks, wanted.fails))?;
    Ok(wanted.name)
}

/// How a job stands: `RUNNING`, `SUCCEEDED` or `FAILED`.
#[stride::function]
fn check(job: String) -> Result<String, Failure> {
    stride::agent("job", job).ask("look", &())
}

/// What a job has given.
#[stride::function]
fn result(job: String) -> Result<Outcome, Failure> {
    stride::agent("job", job).ask("outcome", &())
}

/// A job: done once somebody has looked often enough.
#[derive(Default, Serialize, Deserialize)]
struct Job {
    looks_left: u32,
    looks: u32,
    fails: bool,
}

#[derive(Serialize, Deserialize)]
struct Outcome {
    looks: u32,
}

#[stride::agent]
impl Job {
    fn begin(&mut self, looks: u32, fails: bool) {
        *self = Self { looks_left: looks, looks: 0, fails };
    }

    fn look(&mut self) -> &'static str {
        self.looks += 1;
        match self.looks_left.checked_sub(1) {
            Some(left) => {
                self.looks_left = left;
                "RUNNING"
            }
            None if self.fails => "FAILED",
            None => "SUCCEEDED",
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome { looks: self.looks }
    }
}
