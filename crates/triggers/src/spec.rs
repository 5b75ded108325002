//! What a trigger is: one source, one target, and what is passed on. As typed in `stride.toml`, and as meant.

use std::{fmt, str::FromStr as _};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_agents::Schedule;
use stride_flows::{Expr, expr::Scope, value};
use stride_ids::{Address, AgentKey, BucketName, Code, Failure, Name, Payload, is_private_method};

use crate::{event::Event, route::Route};

/// A trigger as it is typed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    objects: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suffix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Change>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Expr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flow: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<Expr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Expr>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A version was put.
    Written,
    /// It was deleted.
    Removed,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerSpec {
    /// Its name, one of its component's.
    pub name: Name,
    /// What starts it.
    pub source: Source,
    /// What it starts.
    pub target: Target,
    filter: Option<Expr>,
    input: Option<Expr>,
    typed: String,
}

/// What starts a trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A request.
    Http(Route),
    /// A time, in UTC.
    Cron(String),
    /// A change of an object.
    Objects {
        /// In this bucket.
        bucket: BucketName,
        /// With a key that begins like this.
        prefix: String,
        /// And ends like this.
        suffix: String,
        /// Which change; none means any.
        on: Option<Change>,
    },
    /// A message of a topic.
    Topic(Name),
}

/// What a trigger starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A call.
    Function {
        /// Of this component; none means the trigger's own.
        component: Option<Name>,
        /// Which.
        function: Name,
    },
    /// A message to an agent.
    Agent {
        /// Of this type.
        kind: Name,
        /// With this key.
        key: Expr,
        /// Which method.
        method: Name,
    },
    /// A run.
    Flow(Name),
}

/// Why a trigger is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trigger `{name}`: {why}")]
pub struct InvalidTrigger {
    name: Name,
    why: String,
}

impl TryFrom<Typed> for TriggerSpec {
    type Error = InvalidTrigger;

    fn try_from(typed: Typed) -> Result<Self, InvalidTrigger> {
        let name = typed.name.clone();
        let invalid = |why: String| InvalidTrigger { name: name.clone(), why };
        let source = source(&typed).map_err(invalid)?;
        let target = target(&typed).map_err(invalid)?;
        if matches!(source, Source::Http(_)) && typed.filter.is_some() {
            return Err(invalid("a route has no filter: whoever asks wants an answer".into()));
        }
        let written = serde_json::to_string(&typed).map_err(|e| invalid(e.to_string()))?;
        let Typed { name, filter, input, .. } = typed;
        Ok(Self { name, source, target, filter, input, typed: written })
    }
}

fn source(typed: &Typed) -> Result<Source, String> {
    if typed.objects.is_none() && (typed.suffix.is_some() || typed.on.is_some()) {
        return Err("`suffix` and `on` belong to `objects`".into());
    }
    match (&typed.http, &typed.cron, &typed.objects, &typed.topic) {
        (Some(http), None, None, None) => Ok(Source::Http(Route::from_str(http).map_err(|e| e.to_string())?)),
        (None, Some(cron), None, None) => {
            Schedule::Cron(cron.clone()).first(0).map_err(|failure| failure.message)?;
            Ok(Source::Cron(cron.clone()))
        }
        (None, None, Some(objects), None) => {
            let (bucket, prefix) = objects.split_once('/').unwrap_or((objects, ""));
            let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
            let (prefix, suffix) = (prefix.to_owned(), typed.suffix.clone().unwrap_or_default());
            Ok(Source::Objects { bucket, prefix, suffix, on: typed.on })
        }
        (None, None, None, Some(topic)) => Ok(Source::Topic(topic.clone())),
        _ => Err("say what starts it, one of `http`, `cron`, `objects` and `topic`".into()),
    }
}

fn target(typed: &Typed) -> Result<Target, String> {
    if typed.agent.is_none() && (typed.key.is_some() || typed.method.is_some()) {
        return Err("`key` and `method` belong to `agent`".into());
    }
    match (&typed.function, &typed.agent, &typed.flow) {
        (Some(function), None, None) => {
            let (component, function) = match function.split_once('/') {
                Some((component, function)) => (Some(component), function),
                None => (None, function.as_str()),
            };
            let name = |text| Name::new(text).map_err(|e| e.to_string());
            Ok(Target::Function { component: component.map(name).transpose()?, function: name(function)? })
        }
        (None, Some(kind), None) => match (&typed.key, &typed.method) {
            _ if kind.is_private() => Err(format!("agent type `{kind}` belongs to the platform")),
            (_, Some(method)) if is_private_method(method.as_str()) => {
                Err(format!("method `{method}` belongs to the platform, as all that begin with `stride-`"))
            }
            (Some(key), Some(method)) => {
                Ok(Target::Agent { kind: kind.clone(), key: key.clone(), method: method.clone() })
            }
            _ => Err("say which agent and what: `key`, such as \"eu\" or \"$.data.id\", and `method`".into()),
        },
        (None, None, Some(flow)) => Ok(Target::Flow(flow.clone())),
        _ => Err("say what it starts, one of `function`, `agent` and `flow`".into()),
    }
}

impl TriggerSpec {
    /// The same text for the same trigger, to be stored.
    pub(crate) fn written(&self) -> &str {
        &self.typed
    }

    /// What was stored.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        let unreadable = |why: String| Failure::new(Code::Internal, format!("a stored trigger cannot be read: {why}"));
        let typed: Typed = serde_json::from_str(text).map_err(|e| unreadable(e.to_string()))?;
        Self::try_from(typed).map_err(|e| unreadable(e.to_string()))
    }

    /// Whether the filter lets an event through. One that cannot be evaluated lets none through: events are of many shapes.
    pub(crate) fn takes(&self, event: &Event) -> bool {
        let scope = Scope { input: event.value(), context: &Value::Null };
        self.filter.as_ref().is_none_or(|filter| filter.test(scope).unwrap_or(false))
    }

    /// What the target is given of an event: the event, or what `input` makes of it.
    pub(crate) fn input_of(&self, event: &Event) -> Result<Payload, Failure> {
        match &self.input {
            Some(_) => self.input_from(event.value(), Payload::json("null")),
            None => Ok(event.payload()),
        }
    }

    /// What the target is given of a value: `whole`, or what `input` makes of the value.
    pub(crate) fn input_from(&self, value: &Value, whole: Payload) -> Result<Payload, Failure> {
        let Some(input) = &self.input else { return Ok(whole) };
        let scope = Scope { input: value, context: &Value::Null };
        let value = input.eval(scope).map_err(|e| wrong_expression("input", &e.to_string()))?;
        Ok(match value::to_bytes(&value) {
            Some(bytes) => Payload { content_type: "application/octet-stream".into(), body: bytes.into() },
            None => Payload::json(value.to_string()),
        })
    }
}

impl Target {
    /// Which agent is told of a value, and what: none for a function. A run of a flow has a name that follows from `run`.
    pub(crate) fn agent(&self, tenant: &Name, value: &Value, run: &str) -> Result<Option<(Address, String)>, Failure> {
        let (kind, key, method) = match self {
            Self::Function { .. } => return Ok(None),
            Self::Agent { kind, key, method } => {
                let scope = Scope { input: value, context: &Value::Null };
                let key = key.text(scope).map_err(|e| wrong_expression("key", &e.to_string()))?;
                (kind.clone(), key, method.to_string())
            }
            Self::Flow(flow) => (Name::new("flow").expect("it is a name"), format!("{flow}/{run}"), "start".to_owned()),
        };
        let key = AgentKey::new(&key).map_err(|e| wrong_expression("key", &e.to_string()))?;
        Ok(Some((Address { tenant: tenant.clone(), kind, key }, method)))
    }

    /// The function that is meant and its component, if it is one.
    pub(crate) fn function(&self, own: &Name) -> Option<(Name, Name)> {
        let Self::Function { component, function } = self else { return None };
        Some((component.as_ref().unwrap_or(own).clone(), function.clone()))
    }

    /// As people write it, with the component that is meant.
    pub(crate) fn in_component(&self, own: &Name) -> String {
        match self {
            Self::Function { component, function } => {
                format!("function {}/{function}", component.as_ref().unwrap_or(own))
            }
            Self::Agent { kind, key, method } => {
                let key = key.to_template();
                format!("agent {kind}/{} {method}", key.as_str().map_or_else(|| key.to_string(), str::to_owned))
            }
            Self::Flow(flow) => format!("flow {flow}"),
        }
    }
}

fn wrong_expression(field: &str, why: &str) -> Failure {
    let message =
        format!("`{field}` of the trigger gives nothing for this event: {why}. Change it, then replay the event");
    Failure::new(Code::InvalidRequest, message)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(route) => write!(f, "http {route}"),
            Self::Cron(cron) => write!(f, "cron {cron}"),
            Self::Topic(topic) => write!(f, "topic {topic}"),
            Self::Objects { bucket, prefix, suffix, on } => {
                write!(f, "objects {bucket}/{prefix}*{suffix}")?;
                match on {
                    Some(Change::Written) => f.write_str(" written"),
                    Some(Change::Removed) => f.write_str(" removed"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A record of a request, from which `key` and `input` of a route select.
pub(crate) fn request_value(
    (method, path): (&str, &str),
    params: impl IntoIterator<Item = (String, String)>,
    query: impl IntoIterator<Item = (String, String)>,
    headers: crate::http::Headers<'_>,
    body: &Payload,
) -> Value {
    let record = |pairs: Vec<(String, String)>| Value::Object(pairs.into_iter().map(|(k, v)| (k, v.into())).collect());
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let data = match serde_json::from_slice::<Value>(&body.body) {
        Ok(value) if crate::event::is_json(&body.content_type) => value,
        _ if body.body.is_empty() => Value::Null,
        _ => match std::str::from_utf8(&body.body) {
            Ok(text) if body.content_type.starts_with("text/") => text.into(),
            _ => value::from_bytes(&body.body),
        },
    };
    json!({
        "method": method,
        "path": path,
        "params": record(params.into_iter().collect()),
        "query": record(query.into_iter().collect()),
        "headers": record(headers),
        "body": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec(value: Value) -> Result<TriggerSpec, String> {
        let typed: Typed = serde_json::from_value(value).map_err(|e| e.to_string())?;
        TriggerSpec::try_from(typed).map_err(|e| e.to_string())
    }

    fn event(data: Value) -> Event {
        Event::of_value(json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": data})).unwrap()
    }

    #[test]
    fn a_trigger_is_read_back_as_it_was_stored() {
        for value in [
            json!({"name": "a", "http": "POST /orders/{id}", "flow": "order"}),
            json!({"name": "b", "cron": "0 3 * * *", "function": "clean"}),
            json!({"name": "c", "objects": "images/in/", "suffix": ".jpg", "on": "written", "function": "thumbs/make"}),
            json!({"name": "d", "topic": "orders", "agent": "order", "key": "$.data.id", "method": "paid",
                "filter": {"$eq": ["$.data.state", "paid"]}, "input": {"id": "$.id"}}),
        ] {
            let spec = spec(value).unwrap();
            assert_eq!(TriggerSpec::read(spec.written()).unwrap(), spec);
        }
        assert!(TriggerSpec::read("{}").is_err());
    }

    #[test]
    fn half_a_trigger_is_refused_with_what_is_missing() {
        for (value, says) in [
            (json!({"name": "a", "function": "f"}), "what starts it"),
            (json!({"name": "a", "topic": "t", "cron": "* * * * *", "function": "f"}), "one of `http`"),
            (json!({"name": "a", "topic": "t"}), "what it starts"),
            (json!({"name": "a", "topic": "t", "function": "f", "flow": "g"}), "one of `function`"),
            (json!({"name": "a", "topic": "t", "agent": "a"}), "which agent"),
            (json!({"name": "a", "topic": "t", "function": "f", "key": "k"}), "belong to `agent`"),
            (json!({"name": "a", "topic": "t", "function": "f", "suffix": ".x"}), "belong to `objects`"),
            (json!({"name": "a", "topic": "t", "agent": "stride-bucket", "key": "k", "method": "put"}), "platform"),
            (json!({"name": "a", "topic": "t", "agent": "flow", "key": "f/1", "method": "stride-took"}), "platform"),
            (json!({"name": "a", "cron": "daily?", "function": "f"}), "daily?"),
            (json!({"name": "a", "http": "orders", "function": "f"}), "POST /orders"),
            (json!({"name": "a", "http": "GET /a", "function": "f", "filter": true}), "no filter"),
            (json!({"name": "a", "objects": "B/x", "function": "f"}), "bucket"),
            (json!({"name": "a", "topic": "t", "function": "f", "filter": {"$eqq": [1, 2]}}), "$eq"),
        ] {
            let error = spec(value.clone()).unwrap_err();
            assert!(error.contains(says), "{value}: {error}");
        }
    }

    #[test]
    fn filters_keys_and_inputs_select_from_the_event() {
        let spec = spec(json!({"name": "a", "topic": "t", "agent": "order", "key": "$.data.id", "method": "paid",
            "filter": {"$eq": ["$.data.state", "paid"]}, "input": {"n": "$.data.n"}}))
        .unwrap();
        let paid = event(json!({"id": "o1", "state": "paid", "n": 3}));
        assert!(spec.takes(&paid) && !spec.takes(&event(json!({"state": "new"}))) && !spec.takes(&event(json!(1))));
        assert_eq!(spec.input_of(&paid).unwrap(), Payload::json("{\"n\":3}"));
        let tenant = Name::default_tenant();
        let (address, method) = spec.target.agent(&tenant, paid.value(), "run").unwrap().unwrap();
        assert_eq!((address.to_string().as_str(), method.as_str()), ("default/order/o1", "paid"));
        let error = spec.target.agent(&tenant, event(json!({})).value(), "run").unwrap_err();
        assert!(error.message.contains("`key`") && error.message.contains("$.data.id"), "{error}");
    }

    #[test]
    fn a_flow_is_started_by_a_message_to_the_agent_of_its_run() {
        let spec = spec(json!({"name": "a", "topic": "t", "flow": "order"})).unwrap();
        let (address, method) = spec.target.agent(&Name::default_tenant(), &Value::Null, "r1").unwrap().unwrap();
        assert_eq!((address.to_string().as_str(), method.as_str()), ("default/flow/order/r1", "start"));
    }
}
