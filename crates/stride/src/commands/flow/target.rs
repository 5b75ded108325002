//! What a command works on: `FLOW`, `FLOW/RUN`.

use std::{fmt, str::FromStr};

use stride_ids::Name;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct RunTarget {
    pub(crate) flow: Name,
    pub(crate) run: String,
}

impl RunTarget {
    pub(crate) fn path(&self) -> Vec<&str> {
        vec!["flows", self.flow.as_str(), "runs", &self.run]
    }

    /// Something of the run.
    pub(crate) fn of<'a>(&'a self, what: &'a str) -> Vec<&'a str> {
        let mut path = self.path();
        path.push(what);
        path
    }
}

impl FromStr for RunTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            FlowOrRun::Run(run) => Ok(run),
            FlowOrRun::Flow(_) => Err("write FLOW/RUN, such as order/7; `stride flow ls FLOW` lists the runs".into()),
        }
    }
}

impl fmt::Display for RunTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.flow, self.run)
    }
}

/// A flow or a run of one.
#[derive(Clone, Debug)]
pub(crate) enum FlowOrRun {
    Flow(Name),
    Run(RunTarget),
}

impl FromStr for FlowOrRun {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = |text: &str| Name::new(text).map_err(|e| e.to_string());
        let Some((flow, run)) = text.split_once('/') else { return Ok(Self::Flow(name(text)?)) };
        if run.is_empty() || run.contains('/') || run == "." || run == ".." {
            return Err(format!("`{run}` names no run; write FLOW/RUN, such as order/7"));
        }
        Ok(Self::Run(RunTarget { flow: name(flow)?, run: run.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_with_its_flow() {
        assert!(matches!("order".parse(), Ok(FlowOrRun::Flow(_))));
        assert_eq!("order/7".parse::<RunTarget>().unwrap().to_string(), "order/7");
        for bad in ["", "order/", "order/a/b", "order/..", "o r/7"] {
            assert!(bad.parse::<FlowOrRun>().is_err(), "{bad}");
        }
        assert!("order".parse::<RunTarget>().unwrap_err().contains("stride flow ls"));
    }
}
