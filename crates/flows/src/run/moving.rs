//! A run goes over to another plan, mostly that of a newer version of its flow.
//!
//! What is done stays done and what is going on goes on: parts of the two plans are the same if they are called the same and stand in the same place. A run can only go over if nothing would have to be
//! done before something that is done already, and if all that is going on is there in the new plan.

use std::collections::{BTreeMap, BTreeSet};

use stride_ids::{Code, Failure};

use super::{
    command::{Command, Event},
    machine::{Machine, Todo},
    row::Content,
    rows::{Frame, Rows, State, Task, Undo, for_all, save},
};
use crate::plan::{Body, Graph, Measure, Node, Plan, Port, Work};

/// Takes a run from one plan to another. `Err`: why it cannot be; nothing has changed then.
pub fn move_to(
    from: &Plan,
    to: &Plan,
    rows: &mut dyn Rows,
    now_ms: u64,
) -> Result<Result<Vec<Command>, Vec<String>>, Failure> {
    // Any event will do to load a run that has begun.
    let machine = Machine::load(from, rows, now_ms, &Event::Cancelled)?;
    if machine.header.state != State::Running {
        return Err(Failure::new(Code::Conflict, "the run has ended"));
    }
    if from.id == to.id {
        return Ok(Ok(Vec::new()));
    }
    let mut header = machine.header;
    let found = Found::read(rows)?;
    let places = Places::of(from, to);
    let problems = found.problems(from, to, &places, rows)?;
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    found.rewrite(from, to, &places, rows)?;
    header.plan.clone_from(&to.id);
    save(rows, "run", &header)?;
    let mut machine = Machine::load(to, rows, now_ms, &Event::Cancelled)?;
    machine.take_up(from, &found, &places)?;
    machine.settle()?;
    machine.store().map(Ok)
}

/// Which graph of the new plan a graph of the old one is.
struct Places(BTreeMap<usize, usize>);

impl Places {
    fn of(from: &Plan, to: &Plan) -> Self {
        let mut places = BTreeMap::from([(from.root, to.root)]);
        let mut left = vec![(from.root, to.root)];
        while let Some((old, new)) = left.pop() {
            for node in &from.graphs[old].nodes {
                let Some((_, twin)) = to.graphs[new].find(node.name.as_str()) else { continue };
                let bodies: BTreeMap<String, usize> = graphs(twin).collect();
                for (place, graph) in graphs(node) {
                    if let Some(twin) = bodies.get(&place) {
                        places.insert(graph, *twin);
                        left.push((graph, *twin));
                    }
                }
            }
        }
        Self(places)
    }

    /// The node of the new plan that a node of the old one is.
    fn node<'a>(&self, from: &Plan, to: &'a Plan, graph: usize, index: usize) -> Option<(usize, usize, &'a Node)> {
        let new = *self.0.get(&graph)?;
        let (at, node) = to.graphs[new].find(from.graphs[graph].nodes[index].name.as_str())?;
        Some((new, at, node))
    }
}

/// The graphs that a node holds, each with its place in the node.
fn graphs(node: &Node) -> impl Iterator<Item = (String, usize)> {
    let mut bodies: Vec<(String, &Body)> = Vec::new();
    match &node.work {
        Work::Each(each) => bodies.push(("each".into(), &each.body)),
        Work::Reduce { body, .. } | Work::Iterate { body, .. } => bodies.push(("body".into(), body)),
        Work::Branch { cases, otherwise } => {
            bodies.extend(cases.iter().enumerate().map(|(at, (_, body))| (format!("case {at}"), body)));
            bodies.extend(otherwise.iter().map(|body| ("otherwise".into(), body)));
        }
        Work::Parallel(branches) => {
            bodies.extend(branches.iter().map(|(name, body)| (format!("branch {name}"), body)));
        }
        _ => {}
    }
    bodies.extend(node.catch.iter().enumerate().map(|(at, caught)| (format!("catch {at}"), &caught.body)));
    bodies.extend(node.compensate.iter().map(|body| ("compensate".into(), body)));
    let graph = |(place, body): (String, &Body)| match body {
        Body::Graph(graph) => Some((place, *graph)),
        Body::Chain(_) => None,
    };
    bodies.into_iter().filter_map(graph).collect::<Vec<_>>().into_iter()
}

/// All of a run that names nodes by their index.
struct Found {
    frames: Vec<(String, Frame)>,
    tasks: Vec<(String, Task)>,
    undos: Vec<(String, Undo)>,
}

impl Found {
    fn read(rows: &mut dyn Rows) -> Result<Self, Failure> {
        fn all<T: Content>(rows: &mut dyn Rows, family: &str) -> Result<Vec<(String, T)>, Failure> {
            let mut all = Vec::new();
            for_all(rows, family, |_, key, row| {
                all.push((key.to_owned(), row.value(key)?));
                Ok(true)
            })?;
            Ok(all)
        }
        Ok(Self { frames: all(rows, "f/")?, tasks: all(rows, "n/")?, undos: all(rows, "c/")? })
    }

    /// The nodes of a frame that are going on, by name.
    fn going<'a>(&'a self, from: &'a Plan, frame: &'a str) -> BTreeSet<&'a str> {
        let of_frame = self.tasks.iter().filter(move |(_, task)| task.frame == frame);
        of_frame.map(|(_, task)| from.graphs[task.graph].nodes[task.index].name.as_str()).collect()
    }

    fn problems(&self, from: &Plan, to: &Plan, places: &Places, rows: &dyn Rows) -> Result<Vec<String>, Failure> {
        let mut problems = Vec::new();
        for (key, frame) in &self.frames {
            let id = &key[2..];
            if !places.0.contains_key(&frame.graph) {
                problems.push(format!("`{id}` is going on, and the new plan has no such part"));
            }
        }
        for (key, task) in &self.tasks {
            let node = &from.graphs[task.graph].nodes[task.index];
            let twin = places.node(from, to, task.graph, task.index);
            if twin.is_none_or(|(_, _, twin)| std::mem::discriminant(&twin.work) != std::mem::discriminant(&node.work))
            {
                problems.push(format!(
                    "`{}` is going on, and the new plan does not have it or does something else there",
                    &key[2..]
                ));
            }
        }
        for (_, undo) in &self.undos {
            let name = &from.graphs[undo.graph].nodes[undo.index].name;
            let twin = places.node(from, to, undo.graph, undo.index);
            if twin.is_none_or(|(_, _, twin)| twin.compensate.is_none()) {
                problems.push(format!("`{}/{name}` is done, and the new plan does not say what undoes it", undo.frame));
            }
        }
        for (key, frame) in self.frames.iter().filter(|(_, frame)| frame.failing.is_none()) {
            let Some(graph) = places.0.get(&frame.graph).map(|graph| &to.graphs[*graph]) else { continue };
            problems.extend(self.too_late(from, &key[2..], graph, rows)?);
        }
        Ok(problems)
    }

    /// New nodes of a frame that stand before something that is done or going on.
    fn too_late(&self, from: &Plan, frame: &str, graph: &Graph, rows: &dyn Rows) -> Result<Vec<String>, Failure> {
        let going = self.going(from, frame);
        let mut begun = Vec::new();
        for node in &graph.nodes {
            let is_done = rows.get(&format!("v/{frame}/{}", node.name))?.is_some();
            begun.push(is_done || going.contains(node.name.as_str()));
        }
        let late = graph.nodes.iter().enumerate().filter(|(index, _)| !begun[*index]);
        let late = late.filter_map(|(index, node)| {
            let reader = graph.readers(Port::Node(index)).into_iter().find(|reader| begun[*reader])?;
            let reader = &graph.nodes[reader].name;
            Some(format!("`{frame}/{}` would have to be done before `{frame}/{reader}`, which has begun", node.name))
        });
        Ok(late.collect())
    }

    fn rewrite(&self, from: &Plan, to: &Plan, places: &Places, rows: &mut dyn Rows) -> Result<(), Failure> {
        for (key, frame) in &self.frames {
            let Some(graph) = places.0.get(&frame.graph).copied() else { continue };
            let mut left = 0;
            for node in &to.graphs[graph].nodes {
                left += usize::from(rows.get(&format!("v/{}/{}", &key[2..], node.name))?.is_none());
            }
            save(rows, key, &Frame { graph, left, ..frame.clone() })?;
        }
        for (key, task) in &self.tasks {
            if let Some((graph, index, twin)) = places.node(from, to, task.graph, task.index) {
                // How often each rule was used says nothing about other rules.
                let retried = vec![0; twin.retry.len()];
                save(rows, key, &Task { graph, index, retried, ..task.clone() })?;
            }
        }
        for (key, undo) in &self.undos {
            if let Some((graph, index, _)) = places.node(from, to, undo.graph, undo.index) {
                save(rows, key, &Undo { graph, index, ..undo.clone() })?;
            }
        }
        rename_measures(places, rows)
    }
}

/// What nodes took goes with them.
fn rename_measures(places: &Places, rows: &mut dyn Rows) -> Result<(), Failure> {
    let mut measures: Vec<(String, Measure)> = Vec::new();
    for_all(rows, "m/", |rows, key, row| {
        measures.push((key[2..].to_owned(), row.value(key)?));
        rows.delete(key)?;
        Ok(true)
    })?;
    for (node, measure) in measures {
        let split = node.split_once('/').and_then(|(graph, name)| Some((graph.parse::<usize>().ok()?, name)));
        let renamed = split.and_then(|(graph, name)| Some(format!("{}/{name}", places.0.get(&graph)?)));
        save(rows, &format!("m/{}", renamed.unwrap_or(node)), &measure)?;
    }
    Ok(())
}

impl Machine<'_> {
    /// Begins what the new plan has and the old one had not, where nothing is waited for.
    fn take_up(&mut self, from: &Plan, found: &Found, places: &Places) -> Result<(), Failure> {
        let plan = self.plan;
        for (key, frame) in found.frames.iter().filter(|(_, frame)| frame.failing.is_none()) {
            let Some(graph) = places.0.get(&frame.graph).map(|graph| &plan.graphs[*graph]) else { continue };
            let id = &key[2..];
            let going = found.going(from, id);
            let mut is_over = true;
            for (index, node) in graph.nodes.iter().enumerate() {
                if self.rows.get(&format!("v/{id}/{}", node.name))?.is_some() {
                    continue;
                }
                is_over = false;
                if !going.contains(node.name.as_str()) && self.is_ready(id, graph, index)? {
                    self.todo.push_back(Todo::Start { frame: id.to_owned(), index });
                }
            }
            if is_over {
                self.todo.push_back(Todo::Ended { frame: id.to_owned() });
            }
        }
        Ok(())
    }
}
