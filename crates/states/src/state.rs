//! States: what each becomes.

use serde_json::json;
use stride_flows::{
    Expr, NodeName,
    ir::{Body, Branch, Call, Case, Catch, Each, Fail, Failures, In, Node, Op, Parallel, Succeed, Wait, WaitTimer},
    limits::{WINDOW, WINDOW_MAX},
};

use crate::{
    chain::Chain,
    errors::{caught, fail_again},
    flow::{Ends, going_to},
    reader::{Fields, Reader},
    scope::Scope,
    template::ResultPath,
};

/// What a way to invoke Lambda is called, and what it adds around the function's result.
const INVOKE: &str = "arn:aws:states:::lambda:invoke";

/// Fields that states have in common.
const COMMON: [&str; 5] = ["Type", "Comment", "QueryLanguage", "InputPath", "OutputPath"];
const FLOWING: [&str; 2] = ["Next", "End"];
const WORKING: [&str; 5] = ["Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"];

impl Reader<'_> {
    /// Translates one state. Gives the state that stands behind it.
    pub(crate) fn state<'s>(
        &mut self,
        scope: &Scope<'s>,
        chain: &mut Chain,
        state: &'s str,
        ends: Ends<'s>,
    ) -> Option<&'s str> {
        let fields = scope.fields(state)?;
        self.query_language(fields);
        match self.needed_text(fields, "Type")? {
            "Task" => {
                self.allow(fields, &[&FLOWING, &WORKING, &["Resource", "TimeoutSeconds"]]);
                self.working(scope, chain, state, fields, ends)
            }
            "Parallel" => {
                self.allow(fields, &[&FLOWING, &WORKING, &["Branches"]]);
                self.working(scope, chain, state, fields, ends)
            }
            "Map" => {
                let more = [
                    "ItemsPath",
                    "ItemSelector",
                    "ItemProcessor",
                    "Iterator",
                    "MaxConcurrency",
                    "ToleratedFailureCount",
                    "ToleratedFailurePercentage",
                ];
                self.allow(fields, &[&FLOWING, &WORKING, &more]);
                self.working(scope, chain, state, fields, ends)
            }
            "Pass" => {
                self.allow(fields, &[&FLOWING, &["Parameters", "ResultPath", "Result"]]);
                self.working(scope, chain, state, fields, ends)
            }
            "Wait" => {
                self.allow(fields, &[&FLOWING, &["Seconds", "SecondsPath", "Timestamp", "TimestampPath"]]);
                let input = self.selection(fields, "InputPath", state);
                chain.pass(state, "-input", input);
                let timer = self.timer(fields, state);
                chain.push(state, "", Node::new(Op::Wait(Wait::Timer(timer))));
                let output = self.selection(fields, "OutputPath", state);
                chain.pass(state, "-output", output);
                let next = self.next(fields);
                self.leave(chain, state, next, ends)
            }
            "Choice" => self.choice(scope, chain, state, fields, ends),
            "Succeed" => {
                self.allow(fields, &[]);
                for (name, suffix) in [("InputPath", "-input"), ("OutputPath", "-output")] {
                    let value = self.selection(fields, name, state);
                    chain.pass(state, suffix, value);
                }
                if ends.is_tail {
                    chain.push(state, "", Node::new(Op::Pass(stride_flows::ir::Pass { value: Expr::default() })));
                } else {
                    chain.push(state, "", Node::new(Op::Succeed(Succeed { value: Expr::default() })));
                }
                None
            }
            "Fail" => {
                self.known(fields, &["Type", "Comment", "QueryLanguage", "Error", "Cause", "ErrorPath", "CausePath"]);
                let error = self.said(fields, "Error", state, "States.Fail");
                let message = self.said(fields, "Cause", state, "");
                chain.push(state, "", Node::new(Op::Fail(Fail { error, message })));
                None
            }
            other => {
                let what = format!("there are no states of type `{other}`");
                self.problem(&fields.at("Type"), what, "take Task, Pass, Choice, Wait, Parallel, Map, Succeed or Fail");
                None
            }
        }
    }

    fn allow(&mut self, fields: &Fields<'_>, more: &[&[&str]]) {
        let names: Vec<&str> = COMMON.into_iter().chain(more.iter().flat_map(|names| names.iter().copied())).collect();
        self.known(fields, &names);
    }

    fn next<'s>(&mut self, fields: &Fields<'s>) -> Option<&'s str> {
        let next = self.text(fields, "Next");
        if next.is_some() == self.flag(fields, "End") {
            self.problem(&fields.place, "a state has either `Next` or `\"End\": true`", "write one of the two");
        }
        next
    }

    /// A text that is there, or a path to one.
    fn said(&mut self, fields: &Fields<'_>, name: &str, state: &str, default: &str) -> Expr {
        let path = format!("{name}Path");
        self.either(fields, name, &path);
        let Some(text) = self.text(fields, &path) else {
            return Expr::Literal(self.text(fields, name).unwrap_or(default).into());
        };
        let template = self.computed(&fields.at(&path), text, state);
        self.expr(&fields.at(&path), template)
    }

    fn timer(&mut self, fields: &Fields<'_>, state: &str) -> WaitTimer {
        let names = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
        let given: Vec<&str> = names.into_iter().filter(|name| fields.get(name).is_some()).collect();
        let [name] = given.as_slice() else {
            self.problem(&fields.place, format!("a `Wait` has one time, this has {}", given.len()), "write one");
            return WaitTimer::Ms(Expr::Literal(0.into()));
        };
        let at = fields.at(name);
        if *name == "Seconds" {
            let max = (stride_flows::limits::TIME_MS_MAX / 1_000) as f64;
            let seconds = self.number(fields, name, 0.0, max).unwrap_or_default();
            return WaitTimer::Ms(Expr::Literal(((seconds * 1_000.0) as u64).into()));
        }
        let text = self.text(fields, name).unwrap_or_default();
        if *name == "Timestamp" {
            return WaitTimer::Until(Expr::Literal(text.into()));
        }
        let path = self.path(&at, text, state);
        match *name {
            "SecondsPath" => WaitTimer::Ms(self.expr(&at, json!({ "$mul": [path, 1000] }))),
            _ => WaitTimer::Until(self.expr(&at, path)),
        }
    }

    fn choice<'s>(
        &mut self,
        scope: &Scope<'s>,
        chain: &mut Chain,
        state: &'s str,
        fields: &Fields<'s>,
        ends: Ends<'s>,
    ) -> Option<&'s str> {
        self.allow(fields, &[&["Choices", "Default"]]);
        let input = self.selection(fields, "InputPath", state);
        chain.pass(state, "-input", input);
        let mut cases = Vec::new();
        for (index, rule) in self.full_list(fields, "Choices").iter().enumerate() {
            let Some(rule) = self.fields(rule, format!("{}/{index}", fields.at("Choices"))) else { continue };
            let Some(next) = self.needed_text(&rule, "Next") else { continue };
            let when = self.rule(&rule, state, &["Next", "Comment"]);
            cases.push((self.expr(&rule.place, when), next));
        }
        let default = self.text(fields, "Default");
        let output = self.selection(fields, "OutputPath", state).to_template();
        self.fork(scope, chain, state, (cases, default), &output, ends)
    }

    /// A state that has a result: Task, Parallel, Map and Pass.
    fn working<'s>(
        &mut self,
        scope: &Scope<'s>,
        chain: &mut Chain,
        state: &'s str,
        fields: &Fields<'s>,
        ends: Ends<'s>,
    ) -> Option<&'s str> {
        let next = self.next(fields);
        let places = self.list(fields, "Catch").iter().enumerate();
        let catchers: Vec<Fields<'s>> = places
            .filter_map(|(index, catcher)| self.fields(catcher, format!("{}/{index}", fields.at("Catch"))))
            .collect();
        if catchers.is_empty() {
            self.work(chain, state, fields, ends.depth);
            return self.leave(chain, state, next, ends);
        }
        // What an error does instead stands beside the whole state, its output included.
        let mut inner = Chain::new();
        self.work(&mut inner, state, fields, ends.depth + 1);
        if ends.is_round {
            self.leave(&mut inner, state, next, ends);
        }
        let mut node = inner.into_only().unwrap_or_else(|inner| {
            let cases = vec![Case { when: Expr::Literal(true.into()), body: inner.into_body() }];
            Node::new(Op::Branch(Branch { cases, otherwise: None }))
        });
        node.input = In::None;
        let after = match next {
            Some(next) if !ends.is_round => Ends { stop: Some(next), is_tail: false, ..ends },
            _ => ends,
        };
        for (errors, catcher) in self.catchers(&catchers) {
            let body = match catcher.and_then(|index| catchers.get(index)) {
                Some(catcher) => self.handler(scope, state, catcher, after.deeper()),
                None => fail_again(state, path("$.error"), path("$.message")),
            };
            node.catch.push(Catch { errors, body });
        }
        chain.push(state, "", node);
        if ends.is_round { None } else { self.leave(chain, state, next, ends) }
    }

    /// What is done when a state has failed.
    fn handler<'s>(&mut self, scope: &Scope<'s>, state: &str, catcher: &Fields<'s>, ends: Ends<'s>) -> Body {
        let mut chain = Chain::new();
        let value = match self.result_path(catcher) {
            ResultPath::Whole => caught(),
            ResultPath::Nowhere => "$.input".into(),
            ResultPath::Field(path) => json!({ "$set": ["$.input", path, caught()] }),
        };
        let target = self.needed_text(catcher, "Next").unwrap_or_default();
        if ends.is_round {
            return Body::Expr(going_to(target, value));
        }
        let value = self.expr(&catcher.place, value);
        chain.pass(state, "-caught", value);
        self.follow(scope, &mut chain, target, ends);
        chain.into_body()
    }

    /// Input, work, result and output of a state, one node for each that there is.
    fn work(&mut self, chain: &mut Chain, state: &str, fields: &Fields<'_>, depth: usize) {
        let raw = chain.last.clone();
        let input = self.selection(fields, "InputPath", state);
        chain.pass(state, "-input", input);
        match self.text(fields, "Type") {
            Some("Task") => self.task(chain, state, fields),
            Some("Parallel") => self.parallel(chain, state, fields, depth),
            Some("Map") => self.map(chain, state, fields, depth),
            _ => {
                self.either(fields, "Result", "Parameters");
                let value = match fields.get("Result") {
                    Some(result) => Expr::Literal(result.clone()),
                    None => self.parameters(fields, state),
                };
                chain.push(state, "", Node::new(Op::Pass(stride_flows::ir::Pass { value })));
            }
        }
        if let Some(selector) = fields.get("ResultSelector") {
            let selector = self.payload(&fields.at("ResultSelector"), selector, state);
            chain.pass(state, "-selected", selector);
        }
        let mut combine = Node::new(Op::Pass(stride_flows::ir::Pass { value: Expr::default() }));
        match self.result_path(fields) {
            ResultPath::Whole => {}
            ResultPath::Nowhere => {
                combine.input = In::One(raw);
                combine.after.insert(chain.last.clone());
                chain.push(state, "-result", combine);
            }
            ResultPath::Field(to) => {
                let edges = [("input".to_owned(), raw), ("result".to_owned(), chain.last.clone())];
                combine.input = In::Many(edges.into_iter().collect());
                let value = self.expr(&fields.place, json!({ "$set": ["$.input", to, "$.result"] }));
                combine.op = Op::Pass(stride_flows::ir::Pass { value });
                chain.push(state, "-result", combine);
            }
        }
        let output = self.selection(fields, "OutputPath", state);
        chain.pass(state, "-output", output);
    }

    fn parameters(&mut self, fields: &Fields<'_>, state: &str) -> Expr {
        match fields.get("Parameters") {
            Some(template) => self.payload(&fields.at("Parameters"), template, state),
            None => Expr::default(),
        }
    }

    fn task(&mut self, chain: &mut Chain, state: &str, fields: &Fields<'_>) {
        let retry = self.retries(fields);
        let timeout_ms = self.seconds(fields, "TimeoutSeconds");
        let resource = self.needed_text(fields, "Resource").unwrap_or_default();
        let is_invoke = resource == INVOKE;
        let (at, name, input) = if is_invoke {
            let parameters = self.needed(fields, "Parameters");
            let Some(parameters) = parameters.and_then(|p| self.fields(p, fields.at("Parameters"))) else { return };
            self.known(&parameters, &["FunctionName", "Payload", "Payload.$"]);
            let name = self.needed_text(&parameters, "FunctionName").unwrap_or_default();
            self.either(&parameters, "Payload", "Payload.$");
            let input = match (parameters.get("Payload"), self.text(&parameters, "Payload.$")) {
                (Some(template), _) => self.payload(&parameters.at("Payload"), template, state),
                (None, Some(text)) => {
                    let template = self.computed(&parameters.at("Payload.$"), text, state);
                    self.expr(&parameters.at("Payload.$"), template)
                }
                (None, None) => Expr::Literal(json!({})),
            };
            (parameters.at("FunctionName"), name, input)
        } else {
            (fields.at("Resource"), resource, self.parameters(fields, state))
        };
        if name.ends_with(".waitForTaskToken") {
            self.problem(
                &at,
                "waiting for a token is not covered",
                "write this state as a `wait` for an event in a flow",
            );
            return;
        }
        let Some(function) = self.resources.function(name).map(str::to_owned) else {
            self.problem(&at, format!("`{name}` is mapped to no function"), "map it to `component/function`");
            return;
        };
        let node = Node { retry, timeout_ms, ..Node::new(Op::Call(Call { function, input })) };
        chain.push(state, "", node);
        if is_invoke {
            let value = self.expr(&at, json!({ "Payload": "$", "StatusCode": 200 }));
            chain.pass(state, "-invoked", value);
        }
    }

    fn parallel(&mut self, chain: &mut Chain, state: &str, fields: &Fields<'_>, depth: usize) {
        let input = self.parameters(fields, state);
        chain.pass(state, "-parameters", input);
        let mut names = Vec::new();
        let mut branches = std::collections::BTreeMap::new();
        for (index, branch) in self.full_list(fields, "Branches").iter().enumerate() {
            let Some(branch) = self.fields(branch, format!("{}/{index}", fields.at("Branches"))) else { continue };
            self.known(&branch, &["Comment", "StartAt", "States", "QueryLanguage"]);
            self.query_language(&branch);
            let Some(graph) = self.scope(&branch, depth + 1) else { continue };
            let Ok(name) = NodeName::new(&format!("b{index}")) else { continue };
            names.push(format!("$.{name}"));
            branches.insert(name, Body::Graph(graph));
        }
        let retry = self.retries(fields);
        chain.push(state, "", Node { retry, ..Node::new(Op::Parallel(Parallel { branches })) });
        let value = self.expr(&fields.place, names.into());
        chain.pass(state, "-list", value);
    }

    fn map(&mut self, chain: &mut Chain, state: &str, fields: &Fields<'_>, depth: usize) {
        let retry = self.retries(fields);
        let Some(body) = self.processor(fields, depth + usize::from(!retry.is_empty())) else { return };
        let items = self.selection(fields, "ItemsPath", state);
        let selector = ["ItemSelector", "Parameters"].into_iter().find(|name| fields.get(name).is_some());
        self.either(fields, "ItemSelector", "Parameters");
        let input = selector.and_then(|name| Some(self.payload(&fields.at(name), fields.get(name)?, state)));
        // No more than that many are asked for, so fewer is right as well.
        let window = self.number(fields, "MaxConcurrency", 0.0, f64::from(u32::MAX)).filter(|count| *count > 0.0);
        let failures = Failures {
            count_max: self.number(fields, "ToleratedFailureCount", 0.0, f64::from(u32::MAX)).map(|count| count as u64),
            percent_max: self.number(fields, "ToleratedFailurePercentage", 0.0, 100.0),
        };
        let window = window.map_or(WINDOW, |count| count.min(f64::from(WINDOW_MAX)) as u32);
        let map = Node::new(Op::Map(Each { items, input, body, window, failures }));
        if retry.is_empty() {
            return chain.push(state, "", map);
        }
        // Over items, `retry` holds for each; around all of them it holds for all.
        let mut all = Chain::new();
        all.push(state, "", map);
        let Ok(name) = NodeName::new("all") else { return };
        let branches = [(name, all.into_body())].into_iter().collect();
        chain.push(state, "", Node { retry, ..Node::new(Op::Parallel(Parallel { branches })) });
        chain.pass(state, "-list", path("$.all"));
    }

    fn processor(&mut self, fields: &Fields<'_>, depth: usize) -> Option<Body> {
        self.either(fields, "ItemProcessor", "Iterator");
        let name = if fields.get("Iterator").is_some() { "Iterator" } else { "ItemProcessor" };
        let processor = self.needed(fields, name)?;
        let processor = self.fields(processor, fields.at(name))?;
        self.known(&processor, &["Comment", "StartAt", "States", "QueryLanguage", "ProcessorConfig"]);
        self.query_language(&processor);
        if let Some(config) = processor.get("ProcessorConfig") {
            let config = self.fields(config, processor.at("ProcessorConfig"))?;
            self.known(&config, &["Mode", "ExecutionType"]);
            self.text(&config, "Mode");
        }
        self.scope(&processor, depth + 1).map(Body::Graph)
    }
}

fn path(text: &str) -> Expr {
    Expr::path(text).unwrap_or_default()
}
