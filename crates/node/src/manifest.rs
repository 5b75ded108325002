//! `stride.toml`: what a component is called, how it is built, and what it asks for.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de::Error as _};
use stride_ids::{Affinity, Name};
use stride_runtime::{AgentSpec, ComponentSpec, FunctionSpec, ObjectGrant};
use stride_triggers::{TriggerSpec, Typed};

/// A manifest as it was typed. Sizes read like `64MiB`, times like `5s`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The component's name.
    pub name: Name,
    /// How to build it; the command line uses this, the node does not.
    #[serde(default)]
    pub build: Option<Build>,
    #[serde(default)]
    functions: BTreeMap<String, Function>,
    #[serde(default)]
    agents: BTreeMap<String, Agent>,
    #[serde(default)]
    capabilities: Capabilities,
    /// What starts its functions, agents of any type, and flows.
    #[serde(default, deserialize_with = "triggers")]
    pub triggers: Vec<TriggerSpec>,
}

/// How a component is built.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The command, run by the shell in the project's directory.
    pub command: String,
    /// The component that it leaves, relative to the project's directory.
    pub artifact: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    #[serde(default, deserialize_with = "size")]
    memory: Option<usize>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    concurrency: Option<usize>,
    queue: Option<usize>,
    #[serde(default)]
    memoise: bool,
    #[serde(default)]
    reuse: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    #[serde(default, deserialize_with = "size")]
    memory: Option<usize>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    idle: Option<Duration>,
    #[serde(default, deserialize_with = "affinity")]
    affinity: Option<Affinity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    #[serde(default)]
    agents: Vec<String>,
    #[serde(default, deserialize_with = "grants")]
    objects: Vec<ObjectGrant>,
    #[serde(default)]
    maps: Vec<String>,
}

fn triggers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TriggerSpec>, D::Error> {
    let typed = Vec::<Typed>::deserialize(deserializer)?;
    typed.into_iter().map(|typed| typed.try_into().map_err(D::Error::custom)).collect()
}

fn grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ObjectGrant>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn affinity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Affinity>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size: ByteSize =
        text.parse().map_err(|e| D::Error::custom(format!("`{text}` is not a size like 64MiB: {e}")))?;
    usize::try_from(size.as_u64()).map(Some).map_err(|_| D::Error::custom(format!("`{text}` is too large")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text);
    duration.map(Some).map_err(|e| D::Error::custom(format!("`{text}` is not a time like 5s or 2m: {e}")))
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[error("stride.toml: {0}")]
pub struct ManifestError(String);

/// The largest memory a guest can address, in bytes.
const MEMORY_MAX: usize = 4 << 30;

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// With the line, what is wrong with it, and for an unknown field the nearest one that exists.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|e| ManifestError(explain(&e)))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// What the runtime is asked for.
    pub fn spec(&self) -> ComponentSpec {
        let function = |asked: &Function| {
            let default = FunctionSpec::default();
            FunctionSpec {
                memory_bytes: asked.memory.unwrap_or(default.memory_bytes),
                timeout: asked.timeout.unwrap_or(default.timeout),
                concurrency: asked.concurrency.unwrap_or(default.concurrency),
                queue: asked.queue.unwrap_or(default.queue),
                memoise: asked.memoise,
                reuse: asked.reuse,
            }
        };
        let agent = |asked: &Agent| {
            let default = AgentSpec::default();
            AgentSpec {
                memory_bytes: asked.memory.unwrap_or(default.memory_bytes),
                timeout: asked.timeout.unwrap_or(default.timeout),
                idle: asked.idle.unwrap_or(default.idle),
                affinity: asked.affinity.clone(),
            }
        };
        ComponentSpec {
            functions: self.functions.iter().map(|(name, asked)| (name.clone(), function(asked))).collect(),
            agents: self.agents.iter().map(|(name, asked)| (name.clone(), agent(asked))).collect(),
            may_reach: self.capabilities.agents.clone(),
            objects: self.capabilities.objects.clone(),
            may_map: self.capabilities.maps.clone(),
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let memories = self.functions.iter().map(|(name, f)| ("functions", name, f.memory));
        let memories = memories.chain(self.agents.iter().map(|(name, a)| ("agents", name, a.memory)));
        for (section, name, memory) in memories {
            if memory.is_some_and(|memory| memory > MEMORY_MAX) {
                return Err(ManifestError(format!("[{section}.{name}] memory: a guest has 4GiB at most")));
            }
        }
        for (name, function) in &self.functions {
            if function.concurrency == Some(0) {
                return Err(ManifestError(format!("[functions.{name}] concurrency: 0 would never run; use 1 or more")));
            }
        }
        for pattern in &self.capabilities.agents {
            if !pattern.contains('/') {
                let message =
                    format!("[capabilities] agents: `{pattern}` is not type/key; for all of a type use `{pattern}/*`");
                return Err(ManifestError(message));
            }
        }
        for pattern in &self.capabilities.maps {
            if !pattern.contains('/') {
                let message = format!(
                    "[capabilities] maps: `{pattern}` is not component/function; for all of a component use `{pattern}/*`"
                );
                return Err(ManifestError(message));
            }
        }
        Ok(())
    }
}

/// The parser's message, which shows line and place, with the nearest known name instead of a list of all.
fn explain(error: &toml::de::Error) -> String {
    let message = error.message();
    let Some((unknown, expected)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'))
    else {
        return error.to_string().trim_end().to_owned();
    };
    let known = expected.split('`').skip(1).step_by(2);
    let nearest = known.min_by_key(|name| strsim::damerau_levenshtein(unknown, name));
    let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("{}\nunknown field `{unknown}`{hint}", error.to_string().trim_end().replace(message, "").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        name = "counter"
        [build]
        command = "cargo build --release --target wasm32-wasip2"
        artifact = "target/wasm32-wasip2/release/counter.wasm"
        [functions.shout]
        memory = "64MiB"
        timeout = "5s"
        concurrency = 4
        queue = 8
        memoise = true
        reuse = true
        [agents.counter]
        idle = "5m"
        affinity = "agent:room/{key.1}"
        [capabilities]
        agents = ["crate/*"]
        objects = ["images/*:read", "thumbs/*:read,write"]
        maps = ["words/*"]
        [[triggers]]
        name = "loud"
        topic = "news"
        function = "shout"
        filter = { "$eq" = ["$.data.lang", "en"] }
        [[triggers]]
        name = "count"
        http = "POST /count/{id}"
        agent = "counter"
        key = "$.params.id"
        method = "add"
    "#;

    #[test]
    fn a_full_manifest_is_read_as_meant() {
        let spec = Manifest::parse(FULL).unwrap().spec();
        let shout = FunctionSpec {
            memory_bytes: 64 << 20,
            timeout: Duration::from_secs(5),
            concurrency: 4,
            queue: 8,
            memoise: true,
            reuse: true,
        };
        assert_eq!(spec.functions["shout"], shout);
        assert_eq!(spec.agents["counter"].idle, Duration::from_secs(300));
        assert_eq!(spec.agents["counter"].affinity.as_ref().unwrap().to_string(), "agent:room/{key.1}");
        assert_eq!(spec.may_reach, ["crate/*"]);
        assert_eq!(spec.may_map, ["words/*"]);
        let grants = ["images/*:read", "thumbs/*:read,write"].map(|text| text.parse().unwrap());
        assert_eq!(spec.objects, grants);
        let triggers = Manifest::parse(FULL).unwrap().triggers;
        let sources: Vec<_> = triggers.iter().map(|trigger| trigger.source.to_string()).collect();
        assert_eq!(sources, ["topic news", "http POST /count/{id}"]);
    }

    #[test]
    fn a_name_is_enough() {
        assert_eq!(Manifest::parse("name = \"x\"").unwrap().spec(), ComponentSpec::default());
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_known_one() {
        for (wrong, suggestion) in [
            ("nmae = \"x\"", "did you mean `name`?"),
            ("name = \"x\"\n[functions.f]\nmemroy = \"1MiB\"", "did you mean `memory`?"),
            ("name = \"x\"\n[functions.f]\nmemoize = true", "did you mean `memoise`?"),
            ("name = \"x\"\n[agents.a]\nidel = \"1m\"", "did you mean `idle`?"),
            ("name = \"x\"\n[[triggers]]\nname = \"t\"\ntopci = \"a\"", "did you mean `topic`?"),
            ("name = \"x\"\n[capability]\nagents = []", "did you mean `capabilities`?"),
        ] {
            let error = Manifest::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(suggestion), "{error}");
        }
    }

    #[test]
    fn wrong_values_say_what_right_ones_look_like() {
        for (wrong, hint) in [
            ("name = \"1x\"", "start with a letter"),
            ("name = \"x\"\n[functions.f]\nmemory = \"much\"", "64MiB"),
            ("name = \"x\"\n[functions.f]\nmemory = \"5GiB\"", "4GiB at most"),
            ("name = \"x\"\n[functions.f]\ntimeout = \"soon\"", "5s"),
            ("name = \"x\"\n[functions.f]\nconcurrency = 0", "use 1 or more"),
            ("name = \"x\"\n[agents.a]\naffinity = \"room/{key}\"", "agent:TYPE/KEY"),
            ("name = \"x\"\n[agents.a]\naffinity = \"agent:room/all\"", "share one cell"),
            ("name = \"x\"\n[[triggers]]\nname = \"t\"\ntopic = \"a\"", "one of `function`"),
            ("name = \"x\"\n[[triggers]]\nname = \"t\"\nhttp = \"a\"\nfunction = \"f\"", "POST /orders"),
            ("name = \"x\"\n[capabilities]\nagents = [\"crate\"]", "`crate/*`"),
            ("name = \"x\"\n[capabilities]\nmaps = [\"words\"]", "`words/*`"),
            ("name = \"x\"\n[capabilities]\nobjects = [\"images\"]", "`images/*:read`"),
            ("name = \"x\"\n[capabilities]\nobjects = [\"images/*\"]", "`:read,write`"),
        ] {
            let error = Manifest::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
