//! `GET /v1/explain?of=COMPONENT/FUNCTION&data=BUCKET/KEY` and `?cell=N`: where work would run or a cell is, and why. JSON for
//! programs; text for who asks for `text/plain`.

use std::fmt::Write as _;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use bytesize::ByteSize;
use serde::Serialize;
use stride_ids::{CellId, Code, Failure};
use stride_placement::Explanation;
use stride_runtime::{DataName, Datum, Explained, Work};

use crate::{
    others::{self, CellPlace, Forwarded, NodeShare},
    problem::Problem,
    request::{self, Params, invalid},
    routes::Shared,
};

/// How many data the text names; JSON names all.
const LINES_MAX: usize = 20;

#[derive(Serialize)]
struct Answer {
    of: String,
    #[serde(flatten)]
    work: AboutWork,
    plan: Explanation,
    findings: Vec<String>,
    data: Vec<AboutDatum>,
    /// The node that is preferred among equally good ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    /// Of an agent in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<CellPlace>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum AboutWork {
    Function,
    Agent {
        cell: u16,
        live: bool,
        waiting: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        near: Option<String>,
    },
}

#[derive(Serialize)]
struct AboutDatum {
    datum: String,
    bytes: u64,
    cached_bytes: u64,
    stored_here: bool,
    labels: Vec<String>,
}

impl From<Work> for AboutWork {
    fn from(work: Work) -> Self {
        match work {
            Work::Function => Self::Function,
            Work::Agent { cell, is_live, waiting, near } => Self::Agent { cell: cell.0, live: is_live, waiting, near },
        }
    }
}

impl From<Datum> for AboutDatum {
    fn from(Datum { reference, cached_bytes, near_bytes, .. }: Datum) -> Self {
        let stored_here = near_bytes >= reference.size.0;
        let labels = reference.labels.iter().map(ToString::to_string).collect();
        Self { datum: reference.datum.to_string(), bytes: reference.size.0, cached_bytes, stored_here, labels }
    }
}

pub(crate) async fn explain(
    State(gateway): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    forwarded: Option<Extension<Forwarded>>,
    Params(params): Params<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let tenant = request::tenant(&headers)?;
    let (mut of, mut data, mut cell) = (None, Vec::new(), None);
    for (name, value) in params {
        match name.as_str() {
            "of" => of = Some(value),
            "data" => data.push(value.parse::<DataName>().map_err(invalid)?),
            "cell" => cell = Some(value.parse::<u16>().map_err(|e| invalid(format!("cell={value}: {e}")))?),
            _ => {
                let message = format!("there is no parameter `{name}`; there are `of`, `data` and `cell`");
                return Err(invalid(message).into());
            }
        }
    }
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_text = accepted.starts_with("text/plain");
    if let (Some(cell), None) = (cell, &of) {
        let place = place(&gateway, CellId(cell)).await?;
        return Ok(if is_text { cell_text(&place).into_response() } else { Json(place).into_response() });
    }
    let what =
        "say what is asked about: of=COMPONENT/FUNCTION or of=TYPE/KEY, and data=BUCKET/KEY as often as you like";
    let of = of.ok_or_else(|| invalid(what))?;
    let parts = of.split_once('/').ok_or_else(|| Failure::new(Code::InvalidRequest, what))?;
    let explained = gateway.functions.explain(&tenant, parts, &data).await?;
    let mut place = None;
    if let (Work::Agent { cell, .. }, true) = (&explained.work, gateway.others.is_some()) {
        // Its owner knows whether it is in memory and what waits for it.
        if let Some(said) = others::owner_says(&gateway, *cell, (&uri, &headers), forwarded).await? {
            return Ok(said);
        }
        place = Some(self::place(&gateway, *cell).await?);
    }
    if is_text {
        let cell = place.as_ref().map(cell_text).unwrap_or_default();
        return Ok((text(&of, &explained) + &cell).into_response());
    }
    let Explained { work, data, plan, findings, home } = explained;
    let home = home.map(|home| home.to_string());
    let plan = stride_placement::json(&plan);
    let findings = findings.iter().map(ToString::to_string).collect();
    let data = data.into_iter().map(AboutDatum::from).collect();
    Ok(Json(Answer { of, work: work.into(), plan, findings, data, home, place }).into_response())
}

/// What a person reads.
fn text(of: &str, Explained { work, data, plan, findings, home }: &Explained) -> String {
    let mut text = match work {
        Work::Function => format!("{of} is a function\n"),
        Work::Agent { cell, is_live, waiting, near } => {
            let lives = if *is_live { "in memory" } else { "not in memory" };
            let near = near
                .as_ref()
                .map(|near| format!("; its cell is that of {near}, to which it is close"))
                .unwrap_or_default();
            format!(
                "{of} is an agent of {cell}, {lives}, with {waiting} messages waiting; it runs where its cell is{near}\n"
            )
        }
    };
    text.push_str(&stride_placement::text(plan));
    text.push('\n');
    if let (Some(home), Some(first)) = (home, data.first()) {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "home: {home} has the cell of {} and is preferred among equals", first.reference.datum);
    }
    for finding in findings {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "finding: {finding}");
    }
    for Datum { reference, cached_bytes, near_bytes, .. } in data.iter().take(LINES_MAX) {
        let labels: Vec<_> = reference.labels.iter().map(ToString::to_string).collect();
        let labels = if labels.is_empty() { "anywhere".to_owned() } else { format!("where {} is", labels.join(", ")) };
        let stored = if *near_bytes >= reference.size.0 { "on this node" } else { "not all on this node" };
        let size = match reference.size {
            ByteSize(0) => "may be reached".to_owned(),
            size => format!("{size}, {} of it in memory, {stored}", ByteSize(*cached_bytes)),
        };
        let _ = writeln!(text, "data: {}: {size}; allowed {labels}", reference.datum);
    }
    if data.len() > LINES_MAX {
        let _ = writeln!(text, "data: {} more; --json names all", data.len() - LINES_MAX);
    }
    text
}

async fn place(gateway: &Shared, cell: CellId) -> Result<CellPlace, Failure> {
    let Some(others) = &gateway.others else {
        return Err(invalid("this node has all cells, because it is in no cluster"));
    };
    let count = gateway.engine.cell_count();
    if cell.0 >= count {
        return Err(invalid(format!("there is no cell {}; they have the numbers 0 to {}", cell.0, count - 1)));
    }
    others.cell(cell).await
}

/// What a person reads of a cell.
fn cell_text(place: &CellPlace) -> String {
    let CellPlace { cell, owner, wanted, why, pinned, epoch, bytes, busy, labels, database, moves_to, nodes } = place;
    let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
    let state = ByteSize(*bytes);
    let (owner, busy) = (name(owner), cores(u64::from(*busy)));
    let mut text =
        format!("cell {cell} is owned by {owner} in epoch {epoch}, with {state} of state and {busy} cores busy\n");
    let pin = pinned.as_ref().map(|node| format!("; pinned to {node}")).unwrap_or_default();
    let _ = writeln!(text, "it is to be owned by {}: {why}{pin}", name(wanted));
    if !labels.is_empty() {
        let _ = writeln!(text, "its agents use data that demands {}; {}", labels.join(", "), fits(place));
    }
    let goes = moves_to.map(|to| format!(", on its way to database {to}")).unwrap_or_default();
    let _ = writeln!(text, "its tail is in database {database}{goes}");
    for NodeShare { node, open, cores: has, cells, bytes, busy, fill, lacks } in nodes {
        let fill = match fill {
            Some(fill) if *open => format!("{fill:.2} of its share"),
            _ => "gets no cells, because it drains".to_owned(),
        };
        let (state, busy) = (ByteSize(*bytes), cores(*busy));
        let lacks = if lacks.is_empty() { String::new() } else { format!("; lacks {}", lacks.join(", ")) };
        let _ =
            writeln!(text, "node: {node}: {cells} cells, {state} of state, {busy} of {has} cores busy; {fill}{lacks}");
    }
    text
}

/// Whether a cell is where its labels are, and if not, why.
fn fits(CellPlace { owner, pinned, nodes, .. }: &CellPlace) -> String {
    let Some(NodeShare { node, lacks, .. }) = nodes.iter().find(|share| owner.as_ref() == Some(&share.node)) else {
        return "nobody has it now".into();
    };
    let fewest = nodes.iter().filter(|share| share.open).map(|share| share.lacks.len()).min();
    let why = match lacks.len() {
        0 => return format!("{node} carries that"),
        _ if pinned.as_ref() == Some(node) => "is what it is pinned to",
        count if fewest.is_some_and(|fewest| fewest < count) => "is not where it is to stay",
        _ => "no node that gets cells carries more of it",
    };
    format!("{node} lacks {} and {why}", lacks.join(", "))
}

/// Thousandths of a core.
fn cores(busy: u64) -> String {
    format!("{:.2}", busy as f64 / 1e3)
}
