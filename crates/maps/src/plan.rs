//! From a listing to items: which objects there are, and where each is cut.

use futures::TryStreamExt as _;
use stride_data::{Objects, Reader};
use stride_ids::{Code, Failure, Name, ObjectKey, ObjectName, VersionId};

use crate::{
    row::{Cursor, Item, PAGE, Within},
    run::Patience,
    spec::{Spec, Split},
    split::{self, Breaks},
};

/// How many objects are listed at a time if each may become many items.
const LISTED_TO_SPLIT: usize = 16;
/// How far a line break is looked for at first; each further look goes twice as far, up to the most.
const LOOK_FIRST: u64 = 64 << 10;
const LOOK_MAX: u64 = 4 << 20;

/// Plans the items of a map, a page at a time.
pub(crate) struct Planner<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) tenant: &'a Name,
    pub(crate) spec: &'a Spec,
    pub(crate) part_len: u64,
    pub(crate) patience: &'a Patience,
}

/// Some items.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) items: Vec<Item>,
    pub(crate) cursor: Cursor,
    /// There are no others behind them.
    pub(crate) is_last: bool,
}

impl Planner<'_> {
    /// The items behind `cursor`, a page of them at most.
    pub(crate) async fn page(&self, cursor: &Cursor) -> Result<Plan, Failure> {
        let mut plan = Plan { cursor: cursor.clone(), ..Plan::default() };
        if let Some(within) = plan.cursor.within.take() {
            plan.cursor.within = self.cut(within, &mut plan.items).await;
        }
        while plan.items.len() < PAGE && plan.cursor.within.is_none() && !plan.is_last {
            self.add_objects(&mut plan).await?;
        }
        Ok(plan)
    }

    async fn add_objects(&self, plan: &mut Plan) -> Result<(), Failure> {
        let room = PAGE - plan.items.len();
        let limit = if self.spec.split.is_some() { room.min(LISTED_TO_SPLIT) } else { room };
        let over = &self.spec.over;
        let after = plan.cursor.after.clone();
        let page = self.objects.list(self.tenant, &over.bucket, over.prefix.clone(), after, limit).await?;
        for (key, status) in page.objects {
            plan.cursor.after = Some(key.to_string());
            let (version, content_type) = (status.version, status.content_type);
            if self.spec.split.is_none() {
                let whole = Within { key, version, content_type, len: status.len, at: 0, part: 0 };
                plan.items.push(Item { part: None, ..item(&whole, status.len) });
                continue;
            }
            let content_type = match self.spec.split {
                Some(Split::Lines) => "text/plain".to_owned(),
                _ => content_type,
            };
            let within = Within { key, version, content_type, len: status.len, at: 0, part: 0 };
            plan.cursor.within = self.cut(within, &mut plan.items).await;
            if plan.items.len() == PAGE {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => plan.cursor.after = Some(next),
            None => plan.is_last = true,
        }
        Ok(())
    }

    /// Cuts an object until the page is full; what is left then. An object that cannot be read becomes an item that fails.
    async fn cut(&self, mut within: Within, items: &mut Vec<Item>) -> Option<Within> {
        let mut breaks = LineBreaks { planner: self, key: within.key.clone(), version: within.version, reader: None };
        while within.at < within.len {
            if items.len() == PAGE {
                return Some(within);
            }
            let end = match self.spec.split {
                Some(Split::Lines) => split::at_line(within.at, within.len, self.part_len, &mut breaks).await,
                _ => Ok(split::fixed(within.at, within.len, self.part_len)),
            };
            let end = match end {
                Ok(end) => end,
                Err(failure) => {
                    items.push(Item { refused: Some(failure), ..item(&within, within.len) });
                    return None;
                }
            };
            items.push(item(&within, end));
            within.at = end;
            within.part += 1;
        }
        None
    }
}

/// What is behind the last cut, up to `end`.
fn item(within: &Within, end: u64) -> Item {
    let Within { key, version, content_type, at, part, .. } = within.clone();
    Item { key, version, content_type, begin: at, end, part: Some(part), refused: None }
}

/// The line breaks of an object, which is opened when the first is looked for.
struct LineBreaks<'a> {
    planner: &'a Planner<'a>,
    key: ObjectKey,
    version: VersionId,
    reader: Option<Reader>,
}

impl Breaks for LineBreaks<'_> {
    async fn behind_break(&mut self, at: u64) -> Result<Option<u64>, Failure> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let Planner { objects, tenant, spec, patience, .. } = self.planner;
                let bucket = spec.over.bucket.clone();
                let name = ObjectName { tenant: (*tenant).clone(), bucket, key: self.key.clone() };
                patience.retry(|| open(objects, &name, self.version)).await.ok_or_else(stopped)??
            }
        };
        let found = find_break(&reader, at).await;
        self.reader = Some(reader);
        found
    }
}

async fn find_break(reader: &Reader, mut at: u64) -> Result<Option<u64>, Failure> {
    let (len, mut look) = (reader.status().len, LOOK_FIRST);
    while at < len {
        let mut pieces = std::pin::pin!(reader.stream(at..len.min(at + look)));
        while let Some(piece) = pieces.try_next().await? {
            if let Some(found) = piece.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(at + found as u64 + 1));
            }
            at += piece.len() as u64;
        }
        look = (look * 2).min(LOOK_MAX);
    }
    Ok(None)
}

/// Opens an object in the version that was listed.
pub(crate) async fn open(objects: &Objects, name: &ObjectName, version: VersionId) -> Result<Reader, Failure> {
    objects.open(name, Some(version)).await.map_err(|error| {
        let failure = Failure::from(error);
        match failure.code {
            Code::NotFound => {
                Failure::new(Code::NotFound, format!("`{name}` was replaced or deleted since the map listed it"))
            }
            _ => failure,
        }
    })
}

/// The node stops or the map was cancelled while something was waited for.
fn stopped() -> Failure {
    Failure::new(Code::Unavailable, "the map stopped")
}
