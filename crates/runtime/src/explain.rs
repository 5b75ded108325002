//! Where work would run, and why: the plan that a call gets, made for somebody who looks. Nothing runs and nothing is read.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use bytesize::ByteSize;
use stride_data::{ChunkPrint, Error, Locality, Sketch};
use stride_ids::{Address, AgentKey, BucketName, CellId, Code, Failure, Name, ObjectKey, ObjectName};
use stride_placement::{Finding, NodeId, Plan, Reference, Refusal, Request, lint, lint_plan};

use crate::{
    component::Component,
    functions::Functions,
    here::{Here, datum},
    placing::origin,
};

/// How many objects a question may name, by themselves or by what their keys begin with.
const DATA_MAX: usize = 1_000;

/// Data that is asked about: an object, or all whose keys begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataName {
    bucket: BucketName,
    rest: String,
}

impl DataName {
    /// The object of that name, if it can be one.
    fn object(&self, tenant: &Name) -> Option<ObjectName> {
        let key = ObjectKey::new(&self.rest).ok()?;
        Some(ObjectName { tenant: tenant.clone(), bucket: self.bucket.clone(), key })
    }
}

impl FromStr for DataName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, rest) = text.split_once('/').unwrap_or((text, ""));
        let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
        Ok(Self { bucket, rest: rest.to_owned() })
    }
}

/// What was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A call of a function.
    Function,
    /// A turn of an agent, which runs where its cell is.
    Agent {
        /// Its cell.
        cell: CellId,
        /// Whether it is in memory.
        is_live: bool,
        /// How many messages wait for it.
        waiting: usize,
        /// What the rule of its type says that it is close to: it has the cell of that.
        near: Option<String>,
    },
}

/// What the work refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datum {
    /// As the plan knows it. No bytes: it may be read, and how much of it is not known.
    pub reference: Reference,
    /// How many of its bytes are in this node's memory.
    pub cached_bytes: u64,
    /// How many of its bytes are in this node's memory or on its disk.
    pub near_bytes: u64,
    /// What it consists of, as far as that was looked up, with the length of each.
    pub(crate) chunks: Vec<(ChunkPrint, u64)>,
}

impl Datum {
    /// One of which nobody knows where it is.
    pub(crate) fn unknown(reference: Reference) -> Self {
        Self { reference, cached_bytes: 0, near_bytes: 0, chunks: Vec::new() }
    }

    /// How many of its bytes a node has.
    pub(crate) fn bytes_in(&self, sketch: &Sketch) -> u64 {
        self.chunks.iter().filter(|(print, _)| sketch.has(*print)).map(|(_, len)| len).sum()
    }
}

/// A plan, and what it was made of.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What was asked about.
    pub work: Work,
    /// What it refers to.
    pub data: Vec<Datum>,
    /// Where it would run, or why nowhere.
    pub plan: Result<Plan, Refusal>,
    /// What looks wrong.
    pub findings: Vec<Finding>,
    /// The node that is preferred among equally good ones, because it has the cell of the first object.
    pub home: Option<NodeId>,
}

impl Functions {
    /// Says where a call of `component/function`, or a turn of the agent `type/key`, would run with this data.
    ///
    /// # Errors
    /// `not_found` if there is neither, or no such data; `invalid_request` for data with an agent, and for too much.
    pub async fn explain(&self, tenant: &Name, of: (&str, &str), data: &[DataName]) -> Result<Explained, Failure> {
        let function = match Name::new(of.0) {
            Ok(name) => self.find(tenant, &name, of.1, None),
            Err(e) => Err(Failure::new(Code::InvalidRequest, e.to_string())),
        };
        match (function, self.agent(tenant, of)) {
            (Ok(function), _) => {
                let request = Request { run: self.gate(&function).mean_run(), ..Request::default() };
                self.explained(&function.component, Work::Function, request, data).await
            }
            (Err(_), Some((component, _))) if !data.is_empty() => {
                let message = format!(
                    "`{}` of component `{}` is an agent type, and an agent runs where its cell is, whatever it reads; leave \
                     the data out",
                    of.0, component.name
                );
                Err(Failure::new(Code::InvalidRequest, message))
            }
            (Err(_), Some((component, address))) => {
                let status = self.engine.inspect(&address).await.ok();
                let rule = component.spec.agents.get(of.0).and_then(|spec| spec.affinity.as_ref());
                let work = Work::Agent {
                    cell: self.engine.cell_id(&address),
                    near: rule.and_then(|rule| rule.neighbour(&address)),
                    is_live: status.as_ref().is_some_and(|status| status.live),
                    waiting: status.map_or(0, |status| status.waiting),
                };
                self.explained(&component, work, Request::default(), &[]).await
            }
            (Err(failure), None) => Err(failure),
        }
    }

    fn agent(&self, tenant: &Name, (kind, key): (&str, &str)) -> Option<(Arc<Component>, Address)> {
        let (kind, key) = (Name::new(kind).ok()?, AgentKey::new(key).ok()?);
        let (component, _) = self.registry.served(tenant, &kind)?;
        Some((component, Address { tenant: tenant.clone(), kind, key }))
    }

    async fn explained(
        &self,
        component: &Component,
        work: Work,
        request: Request,
        named: &[DataName],
    ) -> Result<Explained, Failure> {
        let here = component.host.here()?;
        let mut data = Vec::new();
        for name in named {
            here.look(&component.tenant, name, &mut data).await?;
        }
        for reference in here.references(&component.tenant, &component.spec, &[]).await? {
            data.push(Datum::unknown(reference));
        }
        let first = named.first().and_then(|name| name.object(&component.tenant));
        let home = first.and_then(|object| self.home(&object));
        let (request, left_out) = match &work {
            Work::Function => {
                let origin = Some(origin(&here, 0, &data));
                (Request { origin, home: home.clone(), ..request }, BTreeSet::new())
            }
            // It runs where its cell is.
            Work::Agent { .. } => (request, self.other_nodes()),
        };
        // An agent has a mailbox of its own, so functions do not take its place.
        let accepted_max = if work == Work::Function { self.load().1 } else { u32::MAX };
        let (input, plan, request) = self.planned(&here, request, &data, accepted_max, &left_out);
        let mut findings = lint(&input, &request);
        findings.extend(plan.iter().flat_map(lint_plan));
        Ok(Explained { work, data, plan, findings, home })
    }
}

impl Here<'_> {
    /// Looks for an object of that name, and if there is none for those whose keys begin so.
    async fn look(
        &self,
        tenant: &Name,
        DataName { bucket, rest }: &DataName,
        data: &mut Vec<Datum>,
    ) -> Result<(), Failure> {
        let before = data.len();
        let named = |key| ObjectName { tenant: tenant.clone(), bucket: bucket.clone(), key };
        if let Ok(key) = ObjectKey::new(rest) {
            match self.object(&named(key)).await {
                Ok(found) => {
                    data.push(found);
                    return Ok(());
                }
                Err(Error::NoObject { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut after = None;
        loop {
            let page = self.objects.list(tenant, bucket, rest.clone(), after, DATA_MAX).await?;
            for (key, _) in page.objects {
                match self.object(&named(key)).await {
                    Ok(found) => data.push(found),
                    // It was deleted meanwhile.
                    Err(Error::NoObject { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                if data.len() > DATA_MAX {
                    let message = format!("there are more than {DATA_MAX} objects; name fewer of them");
                    return Err(Failure::new(Code::InvalidRequest, message));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if data.len() == before {
            let message = format!("there is no object `{bucket}/{rest}`, and none whose key begins so");
            return Err(Failure::new(Code::NotFound, message));
        }
        Ok(())
    }

    /// An object, and where it is.
    pub(crate) async fn object(&self, name: &ObjectName) -> Result<Datum, Error> {
        let Locality { status, cached_bytes, near_bytes, chunks } = self.objects.locality(name, None).await?;
        let labels = self.labels(&name.tenant, &name.bucket).await?;
        let reference = Reference { datum: datum(&name.to_string())?, size: ByteSize(status.len), labels };
        let chunks = chunks.into_iter().map(|chunk| (chunk.print, chunk.len)).collect();
        Ok(Datum { reference, cached_bytes, near_bytes, chunks })
    }
}
