//! `GET /v1/explain?of=COMPONENT/FUNCTION&data=BUCKET/KEY`: where work would run, and why. JSON for programs; text for who asks
//! for `text/plain`.

use std::fmt::Write as _;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytesize::ByteSize;
use serde::Serialize;
use stride_ids::{Code, Failure};
use stride_placement::Explanation;
use stride_runtime::{DataName, Datum, Explained, Work};

use crate::{
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
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum AboutWork {
    Function,
    Agent { cell: u16, live: bool, waiting: usize },
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
            Work::Agent { cell, is_live, waiting } => Self::Agent { cell: cell.0, live: is_live, waiting },
        }
    }
}

impl From<Datum> for AboutDatum {
    fn from(Datum { reference, cached_bytes, stored_here }: Datum) -> Self {
        let labels = reference.labels.iter().map(ToString::to_string).collect();
        Self { datum: reference.datum.to_string(), bytes: reference.size.0, cached_bytes, stored_here, labels }
    }
}

pub(crate) async fn explain(
    State(gateway): State<Shared>,
    headers: HeaderMap,
    Params(params): Params<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let tenant = request::tenant(&headers)?;
    let (mut of, mut data) = (None, Vec::new());
    for (name, value) in params {
        match name.as_str() {
            "of" => of = Some(value),
            "data" => data.push(value.parse::<DataName>().map_err(invalid)?),
            _ => return Err(invalid(format!("there is no parameter `{name}`; there are `of` and `data`")).into()),
        }
    }
    let what =
        "say what is asked about: of=COMPONENT/FUNCTION or of=TYPE/KEY, and data=BUCKET/KEY as often as you like";
    let of = of.ok_or_else(|| invalid(what))?;
    let parts = of.split_once('/').ok_or_else(|| Failure::new(Code::InvalidRequest, what))?;
    let explained = gateway.functions.explain(&tenant, parts, &data).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepted.starts_with("text/plain") {
        return Ok(text(&of, &explained).into_response());
    }
    let Explained { work, data, plan, findings } = explained;
    let plan = stride_placement::json(&plan);
    let findings = findings.iter().map(ToString::to_string).collect();
    let data = data.into_iter().map(AboutDatum::from).collect();
    Ok(Json(Answer { of, work: work.into(), plan, findings, data }).into_response())
}

/// What a person reads.
fn text(of: &str, Explained { work, data, plan, findings }: &Explained) -> String {
    let mut text = match work {
        Work::Function => format!("{of} is a function\n"),
        Work::Agent { cell, is_live, waiting } => {
            let lives = if *is_live { "in memory" } else { "not in memory" };
            format!("{of} is an agent of {cell}, {lives}, with {waiting} messages waiting; it runs where its cell is\n")
        }
    };
    text.push_str(&stride_placement::text(plan));
    text.push('\n');
    for finding in findings {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "finding: {finding}");
    }
    for Datum { reference, cached_bytes, stored_here } in data.iter().take(LINES_MAX) {
        let labels: Vec<_> = reference.labels.iter().map(ToString::to_string).collect();
        let labels = if labels.is_empty() { "anywhere".to_owned() } else { format!("where {} is", labels.join(", ")) };
        let stored = if *stored_here { "on this disk" } else { "elsewhere" };
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
