//! From a flow that is kept to a plan, with what is deployed now.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use stride_agents::native::ask;
use stride_flows::{Draft, Known, Passes, Plan, plan::Hardware};
use stride_ids::{Code, Failure, Name};

use crate::{
    catalog::{Refused, Seen, named, texts},
    program::{self, GET, Signature, Version},
    shared::Surroundings,
    store,
};

/// How large a plan may be as JSON, in bytes: it is written in the turn in which a run begins, beside everything else.
const PLAN_BYTES_MAX: usize = 2 << 20;
/// How many plans are remembered.
const PLANS_MAX: usize = 256;

/// What a plan was made of: whose flow, its hash, and the passes that are switched off.
type MadeOf = (Name, String, Vec<String>);

/// A plan, and as a run keeps it.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) plan: Arc<Plan>,
    pub(crate) json: Bytes,
    /// The functions that it was made with, each with its component's version.
    functions: Arc<[(String, Option<String>)]>,
}

/// Plans that were made or read, so that each run need not do it again.
#[derive(Default)]
pub(crate) struct Plans {
    made: Mutex<HashMap<MadeOf, Planned>>,
    read: Mutex<HashMap<String, Arc<Plan>>>,
}

impl Plans {
    /// The plan that a run keeps.
    pub(crate) fn read(&self, id: &str, json: &[u8]) -> Result<Arc<Plan>, Failure> {
        if let Some(plan) = self.read.lock().get(id) {
            return Ok(plan.clone());
        }
        let broken = |e| Failure::new(Code::Internal, format!("the plan of a run cannot be read: {e}"));
        let plan: Arc<Plan> = Arc::new(serde_json::from_slice(json).map_err(broken)?);
        self.remember(&plan);
        Ok(plan)
    }

    fn remember(&self, plan: &Arc<Plan>) {
        let mut read = self.read.lock();
        if read.len() >= PLANS_MAX {
            read.clear();
        }
        read.insert(plan.id.clone(), plan.clone());
    }
}

/// A flow after its check.
pub(crate) struct Checked {
    pub(crate) program: stride_flows::Program,
    functions: Vec<(String, Option<String>)>,
    /// The nodes, if it has steps that are planned onto one.
    nodes: Option<stride_placement::Input>,
    hardware: Vec<Hardware>,
}

impl Checked {
    pub(crate) fn plan(&self, passes: &Passes) -> Plan {
        self.program.plan(passes, &Known { nodes: self.nodes.as_ref(), hardware: &self.hardware })
    }
}

impl Surroundings {
    /// Checks a draft against what is deployed.
    pub(crate) async fn check(&self, tenant: &Name, draft: Draft) -> Result<Checked, Refused> {
        let artefact = serde_json::to_value(&draft).unwrap_or(Value::Null);
        let mut flows = std::collections::BTreeMap::new();
        for name in named(&artefact, "subflow", "flow") {
            // A flow may run itself; it is as it will be.
            if name == draft.name.as_str() {
                let input = draft.graph.input.clone();
                flows.insert(name.to_owned(), stride_flows::Signature { input, ..Default::default() });
                continue;
            }
            let Ok(flow) = Name::new(name) else { continue };
            match ask::<Version>(&self.engine, &program::address(tenant, &flow), GET, &None::<u64>).await {
                Ok(version) => {
                    let Signature { input, output } = signature(&version)?;
                    flows.insert(name.to_owned(), stride_flows::Signature { input, output });
                }
                Err(Failure { code: Code::NotFound, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let functions = self.versions(tenant, &artefact);
        let program = draft.check(&Seen { tenant, catalog: &*self.catalog, flows })?;
        let nodes = self.nodes(tenant, &artefact).await?;
        Ok(Checked { program, functions, nodes, hardware: self.catalog.hardware() })
    }

    /// Every function that an artefact names, with the version that is in force.
    fn versions(&self, tenant: &Name, artefact: &Value) -> Vec<(String, Option<String>)> {
        texts(artefact, "function").into_iter().map(|name| (name.to_owned(), self.version(tenant, name))).collect()
    }

    /// The nodes, if there is an object that a step is close to. What is known only in a run is placed then.
    async fn nodes(&self, tenant: &Name, artefact: &Value) -> Result<Option<stride_placement::Input>, Failure> {
        let object = |affinity: &str| {
            let (bucket, key) = affinity.strip_prefix("object:")?.split_once('/')?;
            store::name(tenant, bucket, key).ok()
        };
        let objects: Vec<_> = texts(artefact, "affinity").into_iter().filter_map(object).collect();
        if objects.is_empty() { Ok(None) } else { self.catalog.nodes(&objects).await }
    }

    fn version(&self, tenant: &Name, function: &str) -> Option<String> {
        self.catalog.function(tenant, function).map(|(_, version)| version)
    }

    /// The plan of a version of a flow, made anew if other functions are in force than when it was made last.
    pub(crate) async fn plan(&self, plans: &Plans, tenant: &Name, version: &Version) -> Result<Planned, Refused> {
        let key = (tenant.clone(), version.digest.clone(), version.without.clone());
        let known = plans.made.lock().get(&key).cloned();
        if let Some(planned) = known
            && planned.functions.iter().all(|(name, version)| self.version(tenant, name) == *version)
        {
            return Ok(planned);
        }
        let checked = self.check(tenant, Draft::read(version.draft.as_bytes())?).await?;
        let plan = Arc::new(checked.plan(&passes(&version.without)?));
        let json = Bytes::from(serde_json::to_vec(&*plan).unwrap_or_default());
        if json.len() > PLAN_BYTES_MAX {
            let what = format!(
                "the plan has {} bytes and {PLAN_BYTES_MAX} is the most; put a part into a subflow",
                json.len()
            );
            return Err(Failure::new(Code::PayloadTooLarge, what).into());
        }
        plans.remember(&plan);
        let planned = Planned { plan, json, functions: checked.functions.into() };
        if checked.nodes.is_some() || !checked.hardware.is_empty() {
            // Where data is changes, and what functions take where; the next run looks again.
            return Ok(planned);
        }
        let mut made = plans.made.lock();
        if made.len() >= PLANS_MAX {
            made.clear();
        }
        made.insert(key, planned.clone());
        Ok(planned)
    }
}

/// All passes but these.
pub(crate) fn passes(without: &[String]) -> Result<Passes, Failure> {
    let invalid = |why| Failure::new(Code::InvalidRequest, why);
    without.iter().try_fold(Passes::all(), |passes, name| passes.without(name)).map_err(invalid)
}

fn signature(version: &Version) -> Result<Signature, Failure> {
    serde_json::from_str(&version.signature)
        .map_err(|e| Failure::new(Code::Internal, format!("what a flow takes cannot be read: {e}")))
}
