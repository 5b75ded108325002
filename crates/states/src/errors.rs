//! Names of errors, `Retry` and `Catch`.

use serde_json::{Map, Value, json};
use stride_flows::{
    Expr,
    ir::{Body, Fail, Node, Op, Retry},
    limits::RETRIES_MAX,
};

use crate::{
    chain::Chain,
    reader::{Fields, Reader},
};

/// Names of errors there and codes here.
const CODES: [(&str, &str); 7] = [
    ("States.ALL", "*"),
    ("States.Timeout", TIMEOUT),
    ("States.NoChoiceMatched", "no_case"),
    ("States.DataLimitExceeded", "value_too_large"),
    ("States.ParameterPathFailure", "expression"),
    ("States.ResultPathMatchFailure", "expression"),
    ("States.IntrinsicFailure", "expression"),
];

const TIMEOUT: &str = "timeout";

/// All errors but a timeout. There is no such code here.
const TASK_FAILED: &str = "States.TaskFailed";

/// A rule for errors: codes, and whether it is for all but timeouts.
struct Which {
    codes: Vec<String>,
    is_task_failed: bool,
}

impl Which {
    fn fits_timeout(&self) -> bool {
        self.codes.iter().any(|code| code == "*" || code == TIMEOUT)
    }
}

impl Reader<'_> {
    fn which(&mut self, rule: &Fields<'_>) -> Which {
        let mut which = Which { codes: Vec::new(), is_task_failed: false };
        let names = self.full_list(rule, "ErrorEquals");
        for (index, name) in names.iter().enumerate() {
            let at = format!("{}/{index}", rule.at("ErrorEquals"));
            let name = name.as_str().unwrap_or_default();
            match CODES.iter().find(|(theirs, _)| *theirs == name) {
                Some((_, code)) => which.codes.push((*code).to_owned()),
                None if name == TASK_FAILED => which.is_task_failed = true,
                None if name.is_empty() || name.starts_with("States.") => {
                    self.problem(
                        &at,
                        format!("the error `{name}` is not covered"),
                        "name `States.ALL`, or the code it has here",
                    );
                }
                None => which.codes.push(name.to_owned()),
            }
        }
        which
    }

    /// `Retry` of a state.
    pub(crate) fn retries(&mut self, fields: &Fields<'_>) -> Vec<Retry> {
        let mut rules = Vec::new();
        for (index, rule) in self.list(fields, "Retry").iter().enumerate() {
            let Some(rule) = self.fields(rule, format!("{}/{index}", fields.at("Retry"))) else { continue };
            let names = [
                "Comment",
                "ErrorEquals",
                "IntervalSeconds",
                "MaxAttempts",
                "BackoffRate",
                "MaxDelaySeconds",
                "JitterStrategy",
            ];
            self.known(&rule, &names);
            let which = self.which(&rule);
            let jitter = self.text(&rule, "JitterStrategy").unwrap_or("NONE");
            if !matches!(jitter, "NONE" | "FULL") {
                self.problem(&rule.at("JitterStrategy"), format!("`{jitter}` is not known"), "write FULL or NONE");
            }
            let retries = self.number(&rule, "MaxAttempts", 0.0, f64::from(RETRIES_MAX)).unwrap_or(3.0);
            let retry = Retry {
                errors: which.codes.clone(),
                retries: retries as u32,
                backoff_ms: self.seconds(&rule, "IntervalSeconds").unwrap_or(1_000),
                rate: self.number(&rule, "BackoffRate", 1.0, 100.0).unwrap_or(2.0),
                backoff_max_ms: self.seconds(&rule, "MaxDelaySeconds"),
                jitter: jitter == "FULL",
            };
            rules.push((which, retry));
        }
        let never = Retry { errors: vec![TIMEOUT.into()], retries: 0, backoff_ms: 0, ..Retry::default() };
        separated(rules, |retry, errors| Retry { errors, ..retry.clone() }, &never)
    }

    /// `Catch` of a state, as codes and which of the catchers it is. `None`: it is not caught after all.
    pub(crate) fn catchers(&mut self, catchers: &[Fields<'_>]) -> Vec<(Vec<String>, Option<usize>)> {
        let mut rules = Vec::new();
        for (index, catcher) in catchers.iter().enumerate() {
            self.known(catcher, &["Comment", "ErrorEquals", "Next", "ResultPath"]);
            let which = self.which(catcher);
            rules.push((which, (Vec::new(), Some(index))));
        }
        separated(rules, |(_, index), errors| (errors, *index), &(vec![TIMEOUT.into()], None))
    }
}

/// A rule for all but timeouts becomes one for timeouts, which does what the next rule that fits them would do, and one for all.
fn separated<T: Clone>(rules: Vec<(Which, T)>, with: impl Fn(&T, Vec<String>) -> T, no_timeout: &T) -> Vec<T> {
    let mut all = Vec::new();
    for (index, (which, rule)) in rules.iter().enumerate() {
        if !which.is_task_failed || which.fits_timeout() {
            let all_but = which.is_task_failed.then(|| "*".to_owned());
            all.push(with(rule, which.codes.iter().cloned().chain(all_but).collect()));
            continue;
        }
        let later = rules[index + 1..].iter().find(|(which, _)| which.fits_timeout());
        all.push(later.map_or_else(|| no_timeout.clone(), |(_, rule)| with(rule, vec![TIMEOUT.into()])));
        all.push(with(rule, vec!["*".into()]));
    }
    all
}

/// What a catcher's state gets of the error, from what a `catch` here gets.
pub(crate) fn caught() -> Value {
    let mut names = Map::new();
    for (theirs, code) in CODES {
        names.insert(code.to_owned(), theirs.into());
    }
    // Several names there are one code here, so which it was is not known.
    names.remove("*");
    names.insert("expression".into(), "States.Runtime".into());
    json!({ "Error": { "$get": [{ "$literal": names }, "$.error", "$.error"] }, "Cause": "$.message" })
}

/// Fails as it has failed.
pub(crate) fn fail_again(state: &str, error: Expr, message: Expr) -> Body {
    let mut chain = Chain::new();
    chain.push(state, "-fails", Node::new(Op::Fail(Fail { error, message })));
    chain.into_body()
}
