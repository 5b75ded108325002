//! The flows of a tenant: each is an agent that keeps its versions. What is kept was checked.

use serde::{Deserialize, Serialize};
use stride_agents::{
    Turn,
    native::{Asked, NativeType, Schema, answer},
};
use stride_flows::Schema as Shape;
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};

pub(crate) const PUT: &str = "put";
pub(crate) const GET: &str = "get";
pub(crate) const LIST: &str = "list";
pub(crate) const REMOVE: &str = "remove";

/// How many versions of a flow are kept. Runs have plans of their own, so none is needed for those.
const VERSIONS_KEPT: usize = 32;

const SCHEMA: Schema = Schema(1);

/// The agents that keep flows.
pub const FLOWS: NativeType =
    NativeType { name: "stride-flow", methods: &[(PUT, false), (GET, true), (LIST, true), (REMOVE, false)], handle };

/// One version of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Which one; 0 before it is kept.
    pub(crate) version: u64,
    pub(crate) digest: String,
    pub(crate) at_ms: u64,
    /// As it was written, in JSON.
    pub(crate) draft: String,
    /// The passes that are switched off.
    pub(crate) without: Vec<String>,
    /// What it takes and gives, in JSON.
    pub(crate) signature: String,
}

/// A flow, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Its name.
    pub name: String,
    /// The version in force.
    pub version: u64,
    /// The hash of what was written.
    pub digest: String,
    /// When it was deployed, in milliseconds since 1970.
    pub deployed_ms: u64,
    /// The passes that are switched off.
    pub without: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Signature {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
}

/// The agent that keeps a flow.
pub(crate) fn address(tenant: &Name, flow: &Name) -> Address {
    let key = AgentKey::new(flow.as_str()).expect("a name is a key");
    Address { tenant: tenant.clone(), kind: FLOWS.name(), key }
}

fn handle(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    Ok(match asked.method {
        PUT => answer(&put(turn, asked.input()?)?),
        GET => answer(&get(turn, asked.input()?)?),
        LIST => answer(&list(turn)?),
        REMOVE => answer(&remove(turn)?),
        _ => return Err(asked.unknown("flow")),
    })
}

/// Keeps a version, unless it is the newest already.
fn put(turn: &mut Turn, version: Version) -> Result<u64, Failure> {
    let mut numbers = numbers(turn)?;
    if let Some(newest) = numbers.last() {
        let kept = load(turn, *newest)?;
        if kept.digest == version.digest && kept.without == version.without {
            return Ok(*newest);
        }
    }
    let number = numbers.last().map_or(1, |newest| newest + 1);
    numbers.push(number);
    while numbers.len() > VERSIONS_KEPT {
        turn.delete(row(numbers.remove(0)))?;
    }
    turn.set(row(number), SCHEMA.encode(&Version { version: number, ..version }))?;
    turn.save(SCHEMA.encode(&numbers))?;
    Ok(number)
}

/// Keeps no version any more. Runs go on, with the plans that they have.
fn remove(turn: &mut Turn) -> Result<(), Failure> {
    let numbers = numbers(turn)?;
    if numbers.is_empty() {
        return Err(unknown(turn.address()));
    }
    for number in numbers {
        turn.delete(row(number))?;
    }
    Ok(turn.save(SCHEMA.encode(&Vec::<u64>::new()))?)
}

fn get(turn: &Turn, version: Option<u64>) -> Result<Version, Failure> {
    let number = match version {
        Some(version) => version,
        None => *numbers(turn)?.last().ok_or_else(|| unknown(turn.address()))?,
    };
    load(turn, number)
}

fn list(turn: &Turn) -> Result<Vec<FlowStatus>, Failure> {
    let one = |number: u64| {
        let Version { version, digest, at_ms, without, .. } = load(turn, number)?;
        let name = turn.address().key.to_string();
        Ok(FlowStatus { name, version, digest, deployed_ms: at_ms, without })
    };
    numbers(turn)?.into_iter().rev().map(one).collect()
}

fn numbers(turn: &Turn) -> Result<Vec<u64>, Failure> {
    turn.load().map_or(Ok(Vec::new()), |bytes| SCHEMA.decode("flow", &bytes))
}

fn load(turn: &Turn, number: u64) -> Result<Version, Failure> {
    let bytes = turn.get(&row(number))?;
    let gone = || {
        let message =
            format!("there is no version {number} of flow `{}`; {VERSIONS_KEPT} are kept", turn.address().key);
        Failure::new(Code::NotFound, message)
    };
    SCHEMA.decode("version of a flow", &bytes.ok_or_else(gone)?)
}

fn row(number: u64) -> String {
    format!("v/{number:016x}")
}

pub(crate) fn unknown(flow: &Address) -> Failure {
    Failure::new(Code::NotFound, format!("there is no flow `{}`; deploy it with `stride flow deploy FILE`", flow.key))
}
