//! What a map's agent does in a turn: the bookkeeping. Whether an item has its result already is decided here, where nothing
//! can come in between.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use stride_agents::{
    Turn,
    native::{Asked, NativeType, answer},
};
use stride_ids::{Address, Code, Failure, Payload};

use crate::{
    message::{
        self, BEGIN, BeginAsked, END, EndAsked, FOLD, FOLDED, FoldAsked, FoldedAsked, METHODS, PLAN, Place, PlanAsked,
        Planned, RECORD, REDUCED, Recorded, Results, ResultsAsked, STATUS, UNDONE, Undone, UndoneAsked,
    },
    row::{self, Notice, OPEN, Open, Outcome, Output, PAGES, Page, Run, State},
};

/// How many bytes of results a map keeps. What is over that fails, and the message says what to do.
const RESULTS_BYTES_MAX: u64 = 256 << 20;
/// How many rows are read at a time, how many one answer has at most, and after how many bytes it ends.
const ROWS: usize = 32;
const ROWS_MAX: usize = 1_024;
const ANSWER_BYTES: usize = 1 << 20;

/// The agents that keep maps.
pub const MAPS: NativeType = NativeType { name: "stride-map", methods: &METHODS, handle };

/// Handles one message of a map's agent.
fn handle(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    Ok(match asked.method {
        BEGIN => answer(&begin(turn, asked.input()?)?),
        PLAN => answer(&plan(turn, asked.input()?)?),
        RECORD => answer(&record(turn, asked.input()?)?),
        FOLD => answer(&fold(turn, asked.input()?)?),
        END => answer(&end(turn, asked.input()?)?),
        STATUS => answer(&load(turn)?),
        UNDONE => answer(&undone(turn, &asked.input()?)?),
        message::RESULTS => answer(&results(turn, &asked.input()?)?),
        FOLDED => answer(&folded(turn, &asked.input()?)?),
        REDUCED => answer(&reduced(turn)?),
        _ => return Err(asked.unknown("map")),
    })
}

fn begin(turn: &mut Turn, BeginAsked::First { spec, versions, at, notice, key }: BeginAsked) -> Result<(), Failure> {
    if turn.load().is_some() {
        return Err(Failure::new(Code::Conflict, "there is a map of that id already"));
    }
    save(turn, &Run { notice, key, ..Run::begun(spec, versions, at) })
}

fn plan(turn: &mut Turn, PlanAsked { before, items, cursor, is_last }: PlanAsked) -> Result<Planned, Failure> {
    let mut run = load(turn)?;
    if run.state != State::Running {
        return Ok(Planned::Ended);
    }
    if run.cursor != before {
        // It was asked before and is the newest page.
        return Ok(Planned::Page {
            page: run.pages.saturating_sub(1),
            first: run.items.saturating_sub(items.len() as u64),
        });
    }
    let (page, first) = (run.pages, run.items);
    run.cursor = cursor;
    run.is_planned = is_last;
    run.items += items.len() as u64;
    if !items.is_empty() {
        run.pages += 1;
        set(turn, row::numbered(OPEN, page), &Open::all(items.len()))?;
        set(turn, row::numbered(PAGES, page), &Page { first, items })?;
    }
    save(turn, &run)?;
    Ok(Planned::Page { page, first })
}

/// Takes note of results. One for an item that has its result already, or that was never planned, is passed over.
fn record(turn: &mut Turn, recorded: Vec<Recorded>) -> Result<(), Failure> {
    let mut run = load(turn)?;
    let mut pages: BTreeMap<u64, Vec<Recorded>> = BTreeMap::new();
    for one in recorded {
        pages.entry(one.place.page).or_default().push(one);
    }
    for (page, recorded) in pages {
        let name = row::numbered(OPEN, page);
        // A page without this row has all its results.
        let Some(mut open) = get::<Open>(turn, "page", &name)? else { continue };
        for Recorded { place, outcome, course } in recorded {
            if open.close(place.index) {
                run.hedged += u64::from(course.is_hedged);
                run.memoised += u64::from(course.is_memoised);
                let outcome = counted(&mut run, outcome);
                set(turn, row::numbered(row::RESULTS, place.number), &outcome)?;
            }
        }
        if open.is_empty() {
            turn.delete(name)?;
            turn.delete(row::numbered(PAGES, page))?;
        } else {
            set(turn, name, &open)?;
        }
    }
    save(turn, &run)
}

/// Counts a result, which fails if the map keeps as much as it may.
fn counted(run: &mut Run, Outcome { name, result }: Outcome) -> Outcome {
    let kept = result.as_ref().map_or(0, Output::kept_bytes) as u64;
    let fits = run.bytes.saturating_add(kept) <= RESULTS_BYTES_MAX;
    let full = || {
        let message = format!(
            "the map keeps {} bytes of results already; {RESULTS_BYTES_MAX} is the most. Use --out, so that results are objects",
            run.bytes
        );
        Failure::new(Code::PayloadTooLarge, message)
    };
    let result = result.and_then(|output| if fits { Ok(output) } else { Err(full()) });
    run.done += 1;
    match &result {
        Ok(_) => run.bytes += kept,
        Err(failure) => match run.failed.iter_mut().find(|(code, _)| *code == failure.code) {
            Some((_, count)) => *count += 1,
            None => run.failed.push((failure.code, 1)),
        },
    }
    Outcome { name, result }
}

fn fold(turn: &mut Turn, FoldAsked { level, values }: FoldAsked) -> Result<(), Failure> {
    for (number, value) in values {
        set(turn, row::numbered(&row::level(level), number), &value)?;
    }
    Ok(())
}

/// Ends the map, if nothing ended it before. The map as it is then.
fn end(turn: &mut Turn, EndAsked { state, at, reduced }: EndAsked) -> Result<Run, Failure> {
    let mut run = load(turn)?;
    if run.state != State::Running {
        return Ok(run);
    }
    if state == State::Done && (!run.is_planned || run.done < run.items) {
        let message = format!("{} of {} items have a result; the map goes on with the next start", run.done, run.items);
        return Err(Failure::new(Code::Internal, message));
    }
    if let Some(reduced) = reduced {
        set(turn, row::REDUCED.to_owned(), &reduced)?;
    }
    run.state = state;
    run.ended_at = Some(at);
    save(turn, &run)?;
    if let Some(Notice { agent, method }) = run.notice.clone() {
        let ended = ended(turn.address(), &run);
        turn.tell(agent, method, ended)?;
    }
    Ok(run)
}

/// What an agent is told of a map that has ended.
fn ended(map: &Address, run: &Run) -> Payload {
    let (state, cause) = run.state.told();
    let cause = cause.map(|Failure { code, message }| json!({"code": code, "message": message}));
    let failed: u64 = run.failed.iter().map(|(_, items)| items).sum();
    let Run { items, done, .. } = run;
    let told = json!({"map": map.key, "state": state, "cause": cause, "items": items, "done": done, "failed": failed});
    Payload::json(told.to_string())
}

fn undone(turn: &Turn, UndoneAsked { after }: &UndoneAsked) -> Result<Option<Undone>, Failure> {
    let after = after.map(|page| row::numbered(OPEN, page));
    let rows = turn.scan(OPEN, after.as_deref(), 1)?;
    let Some((name, bytes)) = rows.into_iter().next() else { return Ok(None) };
    let (page, open): (u64, Open) = (row::number_of(OPEN, &name)?, row::SCHEMA.decode("page", &bytes)?);
    let lost = || Failure::new(Code::Internal, format!("page {page} of a map has lost its items"));
    let Page { first, items } = get(turn, "page", &row::numbered(PAGES, page))?.ok_or_else(lost)?;
    let placed = items.into_iter().enumerate().filter(|(index, _)| open.has(*index));
    let items = placed.map(|(index, item)| (Place { page, index, number: first + index as u64 }, item)).collect();
    Ok(Some(Undone { page, items }))
}

fn results(turn: &Turn, ResultsAsked { from }: &ResultsAsked) -> Result<Results, Failure> {
    Ok(Results { state: load(turn)?.state, outcomes: values(turn, row::RESULTS, *from)? })
}

fn folded(turn: &Turn, FoldedAsked { level, from }: &FoldedAsked) -> Result<Vec<(u64, Payload)>, Failure> {
    values(turn, &row::level(*level), *from)
}

fn reduced(turn: &Turn) -> Result<Option<Output>, Failure> {
    get(turn, "reduced result", row::REDUCED)
}

/// Numbered rows from `from` on, as many as fit into an answer.
fn values<T: DeserializeOwned>(turn: &Turn, prefix: &str, from: u64) -> Result<Vec<(u64, T)>, Failure> {
    let mut after = from.checked_sub(1).map(|before| row::numbered(prefix, before));
    let (mut values, mut bytes) = (Vec::new(), 0);
    while values.len() < ROWS_MAX {
        let rows = turn.scan(prefix, after.as_deref(), ROWS)?;
        let is_last = rows.len() < ROWS;
        for (name, value) in rows {
            bytes += value.len();
            values.push((row::number_of(prefix, &name)?, row::SCHEMA.decode("result", &value)?));
            after = Some(name);
            if bytes >= ANSWER_BYTES {
                return Ok(values);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(values)
}

fn load(turn: &Turn) -> Result<Run, Failure> {
    let bytes = turn.load().ok_or_else(|| Failure::not_found("map", turn.address().key.as_str(), None))?;
    Run::decode(&bytes)
}

fn save(turn: &mut Turn, run: &Run) -> Result<(), Failure> {
    Ok(turn.save(run.encode())?)
}

fn get<T: DeserializeOwned>(turn: &Turn, what: &'static str, name: &str) -> Result<Option<T>, Failure> {
    let bytes = turn.get(name)?;
    bytes.map(|bytes| row::SCHEMA.decode(what, &bytes)).transpose()
}

fn set(turn: &mut Turn, name: String, value: &impl Serialize) -> Result<(), Failure> {
    Ok(turn.set(name, row::SCHEMA.encode(value))?)
}
