//! Where a call runs: here, or on the node that has its data or the time for it.
//!
//! Always true: a call is sent to one node at a time, and to another only if it is known that nothing has begun there, or if the
//! function is pure; what another node sent is run here or refused, and never sent on; whoever runs a call has looked itself whether
//! labels allow it here.
//! Not here: the decision (see `placement`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use bytesize::ByteSize;
use stride_agents::NotDone;
use stride_data::{Error, Locality};
use stride_ids::{Address, BucketName, Code, Failure, Name, ObjectName, Payload};
use stride_maps::{Input, Part};
use stride_placement::{
    Hardware, Holding, Input as Known, Label, Labels, NodeId, Origin, Plan, Reference, Refusal, Request, plan,
};

use crate::{
    copies::Reads,
    explain::Datum,
    functions::{Called, Ended, Function, Functions},
    gate::Gate,
    here::{Here, LINK_RATE, datum},
    others::{Elsewhere, Errand, Others, Ran, Report, pairs},
    spec::ComponentSpec,
};

/// How long it takes until a call has begun on another node, beside its bytes.
const HOP: Duration = Duration::from_micros(200);
/// How many bytes are fetched in that time. Where less is, nobody looks.
pub(crate) const HOP_BYTES: u64 = LINK_RATE.0 / 5_000;

/// One call.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the function gets.
    pub input: Input,
    /// Objects that it will read. One that is not there is no reason to be anywhere.
    pub data: Vec<ObjectName>,
    /// The agent that it is planned for as if that called it. Where that is, it costs nothing to begin.
    pub beside: Option<Address>,
    /// The class of hardware that a node has to have for it.
    pub hardware: Option<Name>,
    /// The class of hardware that it is to run on if a node has it and takes it.
    pub prefers: Option<Name>,
    /// The node that is preferred among those that are equally good, if that was planned.
    pub home: Option<NodeId>,
    /// What a node has to carry for it, whatever the function itself demands (see [`Functions::place`]).
    pub keeps_to: Arc<[Reference]>,
    /// The trace that it is part of, as a `traceparent`.
    pub trace: Option<String>,
}

impl Job {
    /// A call that refers to nothing.
    pub fn of(payload: Payload, trace: Option<String>) -> Self {
        Self {
            input: Input::Payload(payload),
            data: Vec::new(),
            beside: None,
            hardware: None,
            prefers: None,
            home: None,
            keeps_to: Arc::default(),
            trace,
        }
    }
}

impl Functions {
    /// Lets calls run on other nodes, too. To be called once.
    pub fn bring_others(&self, elsewhere: Arc<dyn Elsewhere>) {
        let is_first = self.others.set(Others::new(elsewhere, self.registry.host().clock.clone())).is_ok();
        debug_assert!(is_first, "a node has one way to the others");
    }

    /// What this node says of itself to the others: with its caches, if those are news, and with how long functions run that ran.
    ///
    /// # Errors
    /// If the node has no objects yet, or not any more.
    pub fn report(&self, is_open: bool, with_sketch: bool, ran: Vec<Ran>) -> Result<Report, Failure> {
        let Here { site, objects } = self.registry.host().here()?;
        let (load, _) = self.load();
        Ok(Report {
            node: site.node.0.clone(),
            is_open,
            labels: pairs(&site.labels),
            hardware: site.hardware.iter().map(|class| class.0.clone()).collect(),
            price: site.price.0,
            cores: site.cores,
            accepted: load.accepted,
            work: load.work,
            ran,
            sketch: with_sketch.then(|| objects.sketch().0),
        })
    }

    /// Takes what another node says of itself.
    pub fn heard(&self, report: Report) {
        if let Some(others) = self.others.get() {
            others.heard(report);
        }
    }

    /// The others.
    pub(crate) fn other_nodes(&self) -> BTreeSet<NodeId> {
        let mut known = Known::default();
        self.others.get().inspect(|others| others.onto(&mut known, &[], &BTreeSet::new()));
        known.nodes().map(|(id, _)| id.clone()).collect()
    }

    /// The node to which an object is brought that nobody has: the one with the object's cell, where the agents are that are close to
    /// it.
    pub(crate) fn home(&self, object: &ObjectName) -> Option<NodeId> {
        self.others.get()?.elsewhere.home(object.cell(self.engine.cell_count()))
    }

    /// The node with an agent's cell.
    fn node_of(&self, agent: &Address) -> Option<NodeId> {
        self.others.get()?.elsewhere.home(self.engine.cell_id(agent))
    }

    /// On how many nodes calls may run.
    pub fn nodes(&self) -> usize {
        1 + self.others.get().map_or(0, Others::count)
    }

    /// What calls of a function with data of these buckets have to keep to, if some node takes them.
    ///
    /// # Errors
    /// `capability_denied` if the labels of data do not allow it anywhere.
    pub async fn place(&self, function: &Function, buckets: &[BucketName]) -> Result<Arc<[Reference]>, Failure> {
        let component = &function.component;
        if component.spec.objects.is_empty() && buckets.is_empty() {
            return Ok(Arc::default());
        }
        let here = component.host.here()?;
        let references = here.references(&component.tenant, &component.spec, buckets).await?;
        let gate = self.gate(function);
        let data: Vec<Datum> = references.iter().cloned().map(Datum::unknown).collect();
        let request = Request { run: gate.mean_run(), ..Request::default() };
        match self.planned(&here, request, &data, self.load().1, &BTreeSet::new()).1 {
            Ok(_) => Ok(references.into()),
            Err(refusal) => Err(here.refused(&function.to_string(), &refusal)),
        }
    }

    /// The nodes as they are, and what they hold of these objects, for whoever plans ahead of calls.
    ///
    /// # Errors
    /// If it cannot be looked at. An object that is not there is held by nobody.
    pub async fn surroundings(&self, objects: &[ObjectName]) -> Result<Known, Failure> {
        let here = self.registry.host().here()?;
        let data = objects_of(&here, objects).await?;
        Ok(self.known(&here, &data, self.load().1, &BTreeSet::new()))
    }

    /// All that is known: of this node as it is, of the others as they said.
    pub(crate) fn known(
        &self,
        here: &Here<'_>,
        data: &[Datum],
        accepted_max: u32,
        left_out: &BTreeSet<NodeId>,
    ) -> Known {
        let (mut known, id) = (Known::default(), &here.site.node);
        if !left_out.contains(id) {
            known.set_node(id.clone(), here.site.node(self.load().0, accepted_max));
        }
        for Datum { reference, near_bytes, .. } in data {
            let holding = Holding { here: ByteSize(*near_bytes), coming: ByteSize(0) };
            known.set_holding(&reference.datum, id, holding);
        }
        if let Some(others) = self.others.get() {
            others.onto(&mut known, data, left_out);
        }
        known
    }

    /// Makes a plan from all that is known.
    pub(crate) fn planned(
        &self,
        here: &Here<'_>,
        request: Request,
        data: &[Datum],
        accepted_max: u32,
        left_out: &BTreeSet<NodeId>,
    ) -> (Known, Result<Plan, Refusal>, Request) {
        let known = self.known(here, data, accepted_max, left_out);
        let references = data.iter().map(|datum| datum.reference.clone()).collect();
        let request = Request { references, ..request };
        let planned = plan(&known, &request, &self.registry.host().chance);
        (known, planned, request)
    }

    /// Whether it is worth a plan: a call that refers to nothing runs where it is asked.
    pub(crate) fn is_placed(&self, function: &Function, job: &Job) -> bool {
        let reads = !job.data.is_empty() || !job.keeps_to.is_empty() || matches!(job.input, Input::Part(_));
        let refers = reads || job.beside.is_some();
        let demands = !function.component.spec.objects.is_empty() || job.hardware.is_some() || job.prefers.is_some();
        demands || (refers && self.others.get().is_some())
    }

    /// Runs a call where the plan says, and where the next one says if nothing has begun there.
    pub(crate) async fn place_and_call(
        &self,
        function: &Function,
        gate: &Arc<Gate>,
        job: Job,
    ) -> Result<Called, Failure> {
        let here = function.component.host.here()?;
        let data = self.data_of(&here, function, &job).await?;
        let bytes = match &job.input {
            Input::Payload(payload) => payload.body.len() as u64,
            Input::Part(_) => 0,
        };
        let asked_at = job.beside.as_ref().and_then(|agent| self.node_of(agent));
        let asked_at = asked_at.unwrap_or_else(|| here.site.node.clone());
        let demanded = job.hardware.clone().map(Hardware);
        let mut preferred = job.prefers.clone().map(Hardware);
        let labels = data.iter().map(|datum| &datum.reference.labels);
        let reads = Reads::of(&job.input, &job.data, labels, demanded.iter().cloned().collect());
        let mut request = Request {
            run: gate.mean_run(),
            origin: Some(Origin { node: asked_at, ..origin(&here, bytes, &data) }),
            home: job.home.clone().or_else(|| main_object(&job).and_then(|name| self.home(name))),
            hardware: demanded.iter().chain(&preferred).cloned().collect(),
            ..Request::default()
        };
        let (mut left_out, mut refused) = (BTreeSet::new(), None);
        loop {
            let (_, planned, _) = self.planned(&here, request.clone(), &data, self.load().1, &left_out);
            let node = match planned {
                Ok(plan) => plan.node().clone(),
                // To prefer something is no reason not to run.
                Err(_) if preferred.take().is_some() => {
                    request.hardware = demanded.iter().cloned().collect();
                    continue;
                }
                Err(refusal) => {
                    return self.counted(Err(refused.unwrap_or_else(|| here.refused(&function.to_string(), &refusal))));
                }
            };
            if node == here.site.node {
                match self.call_here(function, gate, job.input.clone(), job.trace.clone(), &reads).await {
                    Ok(called) => return self.counted(Ok(called)),
                    Err(Ended::Failed(failure)) => return self.counted(Err(failure)),
                    Err(Ended::NotBegun(failure)) => refused = Some(failure),
                }
            } else if let Some(others) = self.others.get() {
                others.sent(&node, request.run, &data);
                match others.elsewhere.run(&node, errand(function, &job, &data)).await {
                    Ok(called) => {
                        gate.note_run(called.run);
                        return Ok(Called { node: Some(node.0), ..called });
                    }
                    Err(NotDone::Failed(failure)) => return Err(failure),
                    Err(NotDone::Unknown(failure)) => {
                        others.lost(&node);
                        if !function.purity().is_pure() {
                            return Err(failure);
                        }
                    }
                    Err(_) => {}
                }
                refused.get_or_insert_with(|| {
                    Failure::new(
                        Code::Overloaded,
                        format!("`{function}` is not taken by {node} at the moment; try again"),
                    )
                });
            }
            left_out.insert(node);
        }
    }

    /// Has work on parts of objects done on another node, if the plan says so: what that answers. `None`: it is to be done here.
    /// Only for work that may be done twice.
    ///
    /// # Errors
    /// `capability_denied` if the labels of data do not allow it anywhere; what the work fails with.
    pub async fn send_work(&self, tenant: &Name, parts: &[Part], work: Bytes) -> Result<Option<Bytes>, Failure> {
        let here = self.registry.host().here()?;
        let labelled = buckets_of(&here, tenant, parts).await?;
        let mut data: Vec<Datum> = labelled.into_iter().map(Datum::unknown).collect();
        for part in parts {
            data.push(here.part(part).await?);
        }
        let first = parts.first().filter(|part| part.begin == 0);
        let request = Request {
            origin: Some(origin(&here, work.len() as u64, &data)),
            home: first.and_then(|part| self.home(&part.object)),
            ..Request::default()
        };
        let mut left_out = BTreeSet::new();
        loop {
            let planned = self.planned(&here, request.clone(), &data, self.load().1, &left_out).1;
            let node = planned.map_err(|refusal| here.refused("work on lines", &refusal))?.node().clone();
            let Some(others) = self.others.get().filter(|_| node != here.site.node) else { return Ok(None) };
            others.sent(&node, request.run, &data);
            match others.elsewhere.work(&node, work.clone()).await {
                Ok(answer) => return Ok(Some(answer)),
                Err(NotDone::Failed(failure)) => return Err(failure),
                Err(NotDone::Unknown(_)) => others.lost(&node),
                Err(_) => {}
            }
            left_out.insert(node);
        }
    }

    /// Whether labels allow work on parts of objects on this node.
    ///
    /// # Errors
    /// If the labels cannot be looked at.
    pub async fn may_work(&self, tenant: &Name, parts: &[Part]) -> Result<bool, Failure> {
        let here = self.registry.host().here()?;
        let labelled = buckets_of(&here, tenant, parts).await?;
        Ok(labelled.iter().all(|bucket| bucket.labels.missing_from(&here.site.labels).is_none()))
    }

    /// Runs what another node has sent, or says that nothing has begun.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if labels do not allow it here or the function is full.
    pub async fn errand(&self, function: &Function, errand: Errand) -> Result<Called, NotDone> {
        let component = &function.component;
        let here = component.host.here()?;
        let demands: Result<Labels, _> = errand.labels.iter().map(|(key, value)| Label::new(key, value)).collect();
        let Ok(demands) = demands else { return Err(NotDone::NotHere) };
        // Labels may have changed since it was sent, and of the function's own data only this node's look counts.
        let own = here.references(&component.tenant, &component.spec, &[]).await?;
        let all = || own.iter().map(|reference| &reference.labels).chain([&demands]);
        if all().any(|labels| labels.missing_from(&here.site.labels).is_some()) {
            return Err(NotDone::NotHere);
        }
        let Errand { input, data, hardware, trace, .. } = errand;
        let reads = Reads::of(&input, &data, all(), hardware.map(Hardware).into_iter().collect());
        let outcome = match self.call_here(function, &self.gate(function), input, trace, &reads).await {
            Ok(called) => Ok(called),
            Err(Ended::Failed(failure)) => Err(failure),
            Err(Ended::NotBegun(_)) => return Err(NotDone::NotHere),
        };
        Ok(self.counted(outcome)?)
    }

    /// What a call refers to, and how much of it is where.
    async fn data_of(&self, here: &Here<'_>, function: &Function, job: &Job) -> Result<Vec<Datum>, Failure> {
        let component = &function.component;
        let granted = here.references(&component.tenant, &component.spec, &[]).await?;
        let mut data: Vec<Datum> =
            granted.into_iter().chain(job.keeps_to.iter().cloned()).map(Datum::unknown).collect();
        data.extend(objects_of(here, &job.data).await?);
        if let Input::Part(part) = &job.input
            && self.others.get().is_some()
        {
            data.push(here.part(part).await?);
        }
        Ok(data)
    }
}

/// The buckets that parts are of, with their labels.
async fn buckets_of(here: &Here<'_>, tenant: &Name, parts: &[Part]) -> Result<Vec<Reference>, Failure> {
    let buckets: BTreeSet<BucketName> = parts.iter().map(|part| part.object.bucket.clone()).collect();
    here.references(tenant, &ComponentSpec::default(), &buckets.into_iter().collect::<Vec<_>>()).await
}

/// Where these objects are. One that is not there is nowhere.
pub(crate) async fn objects_of(here: &Here<'_>, objects: &[ObjectName]) -> Result<Vec<Datum>, Failure> {
    let mut data = Vec::new();
    for name in objects {
        match here.object(name).await {
            Ok(found) => data.push(found),
            Err(Error::NoObject { .. } | Error::NoBucket { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(data)
}

/// The object that a call is about. Of a map over parts only the first one is its object's: the others are to be spread.
fn main_object(job: &Job) -> Option<&ObjectName> {
    match (job.data.first(), &job.input) {
        (Some(name), _) => Some(name),
        (None, Input::Part(part)) if part.begin == 0 => Some(&part.object),
        _ => None,
    }
}

/// Where a call with an input of so many bytes is before it is placed.
pub(crate) fn origin(here: &Here<'_>, bytes: u64, data: &[Datum]) -> Origin {
    let travels = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / LINK_RATE.0);
    // Beside bytes that have to move a small input is nothing, and to count it would bring them to whoever is asked instead of to one node.
    let hop = match data.iter().any(|datum| datum.reference.size.0 > 0) {
        true if travels < HOP => Duration::ZERO,
        true => travels,
        false => HOP + travels,
    };
    Origin { node: here.site.node.clone(), hop }
}

fn errand(function: &Function, job: &Job, data: &[Datum]) -> Errand {
    let component = &function.component;
    Errand {
        tenant: component.tenant.clone(),
        component: component.name.clone(),
        function: function.name.clone(),
        version: component.version.to_string(),
        input: job.input.clone(),
        data: job.data.clone(),
        labels: data.iter().flat_map(|datum| pairs(&datum.reference.labels)).collect(),
        hardware: job.hardware.clone(),
        trace: job.trace.clone(),
    }
}

impl Here<'_> {
    /// The part of an object that an item is. Its labels are what the map keeps to.
    async fn part(&self, part: &Part) -> Result<Datum, Failure> {
        let name = format!("{}@{}", part.object, part.begin);
        let size = ByteSize(part.end.saturating_sub(part.begin));
        let unknown = Datum::unknown(Reference { datum: datum(&name)?, size, labels: Labels::default() });
        if size.0 <= HOP_BYTES {
            return Ok(unknown);
        }
        match self.objects.locality(&part.object, Some(part.version)).await {
            Ok(locality) => Ok(of_range(unknown, &locality, part.begin, part.end)),
            // Whoever reads it says so.
            Err(Error::NoObject { .. } | Error::NoBucket { .. }) => Ok(unknown),
            Err(error) => Err(error.into()),
        }
    }
}

/// Of an object only what lies in a range.
fn of_range(datum: Datum, locality: &Locality, begin: u64, end: u64) -> Datum {
    let (mut at, mut near_bytes, mut chunks) = (0, 0, Vec::new());
    for chunk in &locality.chunks {
        let len = (at + chunk.len).min(end).saturating_sub(at.max(begin));
        at += chunk.len;
        if len > 0 {
            near_bytes += if chunk.is_near { len } else { 0 };
            chunks.push((chunk.print, len));
        }
    }
    Datum { near_bytes, chunks, ..datum }
}
