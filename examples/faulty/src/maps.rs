//! Begins maps and looks at them, within what the manifest allows and beyond it.

use stride::{
    maps::{self, Ended, Spec},
    prelude::*,
};

fn spec(function: &str, over: &str, reduce: Option<String>, out: Option<String>) -> Spec {
    let spec = maps::of(function, over);
    let spec = reduce.iter().fold(spec, |spec, reduce| spec.reduce(reduce));
    out.iter().fold(spec, |spec, out| spec.out(out))
}

#[stride::function]
fn begins_map(function: String, over: String, reduce: Option<String>, out: Option<String>) -> Result<String, Failure> {
    Ok(spec(&function, &over, reduce, out).begin()?.id().to_owned())
}

/// A function is nobody who could be told.
#[stride::function]
fn begins_map_to_be_told(function: String, over: String) -> Result<String, Failure> {
    Ok(maps::of(&function, &over).then("ended").begin()?.id().to_owned())
}

#[stride::function]
fn map_is_over(id: String) -> Result<bool, Failure> {
    Ok(maps::map(id).status()?.is_over())
}

/// The results that are there: inputs, and what they came to.
#[stride::function]
fn map_results(id: String) -> Result<Vec<(String, String)>, Failure> {
    let text = |outcome: Result<maps::Output, Failure>| match outcome {
        Ok(maps::Output::Kept(payload)) => String::from_utf8_lossy(&payload.body).into_owned(),
        Ok(maps::Output::Stored(object)) => object,
        Err(failure) => failure.message,
    };
    maps::map(id).results().map(|item| item.map(|item| (item.input, text(item.outcome)))).collect()
}

#[stride::function]
fn map_reduced(id: String) -> Result<Option<u64>, Failure> {
    maps::map(id).reduced()
}

#[stride::function]
fn cancels_map(id: String) -> Result<(), Failure> {
    maps::map(id).cancel()
}

/// An agent that begins maps and is told when they have ended.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Mapper {
    begun: Vec<String>,
    ended: Vec<(String, String, u64)>,
    total: Option<u64>,
}

#[stride::agent]
impl Mapper {
    fn begin(&mut self, function: String, over: String, reduce: Option<String>) -> Result<String, Failure> {
        let map = spec(&function, &over, reduce, None).then("ended").begin()?;
        self.begun.push(map.id().to_owned());
        Ok(map.id().to_owned())
    }

    /// Begins a map in every attempt at a message, and succeeds in the last one only.
    fn begin_in_vain(&mut self, function: String, over: String) -> Result<(), Failure> {
        spec(&function, &over, None, None).then("ended").begin()?;
        Err(Failure::new(Code::GuestError, "after beginning a map"))
    }

    fn begin_in_read_only(&self, function: String, over: String) -> Result<(), Failure> {
        spec(&function, &over, None, None).begin().map(drop)
    }

    /// What is begun is not there before the turn is committed.
    fn begin_and_look(&mut self, function: String, over: String) -> Result<bool, Failure> {
        let map = spec(&function, &over, None, None).begin()?;
        Ok(map.status().is_err_and(|failure| failure.code == Code::NotFound))
    }

    fn ended(&mut self, ended: Ended) -> Result<(), Failure> {
        self.total = ended.map().reduced()?;
        self.ended.push((ended.id, ended.state, ended.done));
        Ok(())
    }

    fn show(&self) -> Self {
        self.clone()
    }
}
