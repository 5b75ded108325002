//! What comes from outside: objects, their lines, windows of topics. A page at a time, each as large as a run takes at once.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_flows::{
    limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX},
    run::ReadFrom,
    value,
};
use stride_ids::{Address, BucketName, Code, Failure, Name, ObjectName, VersionId};

use crate::{
    shared::Shared,
    store,
    window::{Left, Topic},
    work::impossible,
};

/// About how many bytes of an object one call reads the lines of.
const PART_BYTES: u64 = 1 << 20;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Where the next page begins.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Behind which object.
    after: Option<String>,
    /// Within which.
    within: Option<Part>,
    /// What is left of a window: the messages behind the first number, up to the second.
    window: Option<Left>,
}

/// A part of an object in one version. It has the lines that begin in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    bucket: String,
    key: String,
    version: u64,
    begin: u64,
    end: u64,
    /// How long the object is.
    len: u64,
}

/// The part of an object that an item is.
pub(crate) fn part(tenant: &Name, item: &Value) -> Result<stride_maps::Part, Failure> {
    let Part { bucket, key, version, begin, end, .. } = Part::of(item)?;
    let (object, content_type) = (store::name(tenant, &bucket, &key)?, String::new());
    Ok(stride_maps::Part { object, version: VersionId(version), content_type, begin, end })
}

impl Part {
    fn of(item: &Value) -> Result<Self, Failure> {
        Self::deserialize(item).map_err(|e| impossible(format!("this is no part of an object: {e}")))
    }
}

type Page = (Vec<Value>, Option<Value>);

/// A page of a source.
pub(crate) async fn page(
    shared: &Arc<Shared>,
    run: &Address,
    step: &str,
    source: &ReadFrom,
    after: Option<&Value>,
) -> Result<Page, Failure> {
    let cursor = match after {
        Some(after) => Cursor::deserialize(after).map_err(|e| Failure::new(Code::Internal, e.to_string()))?,
        None => Cursor::default(),
    };
    match source {
        ReadFrom::Objects { bucket, prefix } => objects(shared, run, bucket, prefix, cursor).await,
        ReadFrom::Lines { bucket, prefix } => Lines { shared, run, bucket, prefix }.page(cursor).await,
        ReadFrom::Parts { bucket, prefix } => parts(shared, run, bucket, prefix, cursor).await,
        ReadFrom::Topic { topic, count_max, time_max_ms } => {
            let topic = Topic::of(shared, run, step, topic)?;
            let (items, left) = topic.page(cursor.window, *count_max, Duration::from_millis(*time_max_ms)).await?;
            Ok((items, left.map(|left| json!(Cursor { window: Some(left), ..Cursor::default() }))))
        }
    }
}

async fn objects(
    shared: &Arc<Shared>,
    run: &Address,
    bucket: &str,
    prefix: &str,
    cursor: Cursor,
) -> Result<Page, Failure> {
    let bucket = BucketName::new(bucket).map_err(|e| impossible(e.to_string()))?;
    let limit = PAGE_ITEMS_MAX / 4;
    let page =
        shared.surroundings()?.objects.list(&run.tenant, &bucket, prefix.to_owned(), cursor.after, limit).await?;
    let items = page.objects.iter().map(|(key, status)| store::object(status, &bucket, key)).collect();
    Ok((items, page.next.map(|after| json!(Cursor { after: Some(after), within: None, window: None }))))
}

/// Parts of about the same length. Where lines end is found when one is read.
async fn parts(
    shared: &Arc<Shared>,
    run: &Address,
    bucket: &str,
    prefix: &str,
    cursor: Cursor,
) -> Result<Page, Failure> {
    let mut items = Vec::new();
    let mut within = cursor.within;
    let mut after = cursor.after;
    loop {
        let mut part = match within.take() {
            Some(part) => part,
            None => match next_object(shared, run, bucket, prefix, after.clone()).await? {
                Some(part) => part,
                None => return Ok((items, None)),
            },
        };
        after = Some(part.key.clone());
        while part.begin < part.len {
            if items.len() == PAGE_ITEMS_MAX / 4 {
                return Ok((items, Some(json!(Cursor { after, within: Some(part), window: None }))));
            }
            part.end = part.len.min(part.begin + PART_BYTES);
            items.push(json!(part));
            part.begin = part.end;
        }
    }
}

/// The first object behind `after` that has anything.
async fn next_object(
    shared: &Arc<Shared>,
    run: &Address,
    bucket: &str,
    prefix: &str,
    mut after: Option<String>,
) -> Result<Option<Part>, Failure> {
    let name = BucketName::new(bucket).map_err(|e| impossible(e.to_string()))?;
    loop {
        let page = shared.surroundings()?.objects.list(&run.tenant, &name, prefix.to_owned(), after, 1).await?;
        if let Some((key, status)) = page.objects.first().filter(|(_, status)| status.len > 0) {
            let (bucket, key) = (bucket.to_owned(), key.to_string());
            return Ok(Some(Part {
                bucket,
                key,
                version: status.version.0,
                begin: 0,
                end: status.len,
                len: status.len,
            }));
        }
        let last = page.objects.last().map(|(key, _)| key.to_string());
        match page.next.or(last) {
            Some(next) => after = Some(next),
            None => return Ok(None),
        }
    }
}

/// The lines of all objects under a prefix, one behind the other.
struct Lines<'a> {
    shared: &'a Arc<Shared>,
    run: &'a Address,
    bucket: &'a str,
    prefix: &'a str,
}

impl Lines<'_> {
    async fn page(&self, Cursor { after, within, .. }: Cursor) -> Result<Page, Failure> {
        let part = match within {
            Some(part) => part,
            None => match next_object(self.shared, self.run, self.bucket, self.prefix, after).await? {
                Some(part) => part,
                None => return Ok((Vec::new(), None)),
            },
        };
        let mut read = Reading::default();
        let end = read.through(self.shared, self.run, &part).await?;
        let after = Some(part.key.clone());
        let within = (end < part.len).then_some(Part { begin: end, ..part });
        Ok((read.lines, Some(json!(Cursor { after, within, window: None }))))
    }
}

/// The lines that begin in a part that was given out as an item.
pub(crate) async fn lines(shared: &Arc<Shared>, run: &Address, part: &Value) -> Result<Vec<Value>, Failure> {
    let mut part = Part::of(part)?;
    let until = part.end;
    // From the byte before: what is there up to the first line break belongs to the part before, be it nothing.
    let is_first = part.begin == 0;
    part.begin = part.begin.saturating_sub(1);
    let mut read = Reading { until, items_max: usize::MAX, bytes_max: usize::MAX, ..Reading::default() };
    read.through(shared, run, &part).await?;
    if !is_first && !read.lines.is_empty() {
        read.lines.remove(0);
    }
    Ok(read.lines)
}

/// Lines that are being read.
struct Reading {
    lines: Vec<Value>,
    bytes: usize,
    /// How many lines are enough, and how many bytes of them.
    items_max: usize,
    bytes_max: usize,
    /// Only lines that begin before.
    until: u64,
}

impl Default for Reading {
    /// As much as one page has.
    fn default() -> Self {
        Self { lines: Vec::new(), bytes: 2, items_max: PAGE_ITEMS_MAX, bytes_max: PAGE_BYTES_MAX, until: u64::MAX }
    }
}

impl Reading {
    /// Reads from where the part begins; where the next line begins.
    async fn through(&mut self, shared: &Arc<Shared>, run: &Address, part: &Part) -> Result<u64, Failure> {
        let name: ObjectName = store::name(&run.tenant, &part.bucket, &part.key)?;
        let reader = shared.surroundings()?.objects.open(&name, Some(VersionId(part.version))).await?;
        let mut pieces = std::pin::pin!(reader.stream(part.begin..part.len));
        let (mut begin, mut line) = (part.begin, Vec::new());
        while let Some(piece) = pieces.try_next().await? {
            let mut rest = &piece[..];
            while let Some(found) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..found]);
                rest = &rest[found + 1..];
                if !self.take(&name, &line)? {
                    return Ok(begin);
                }
                begin += line.len() as u64 + 1;
                line.clear();
                if begin >= self.until {
                    return Ok(begin);
                }
            }
            line.extend_from_slice(rest);
            if line.len() > LINE_BYTES_MAX {
                return Err(too_long(&name));
            }
        }
        if !line.is_empty() && self.take(&name, &line)? {
            begin += line.len() as u64;
        }
        Ok(begin)
    }

    /// Takes a line, unless there is no room for it beside the others.
    fn take(&mut self, object: &ObjectName, line: &[u8]) -> Result<bool, Failure> {
        let text = Value::String(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned());
        let bytes = value::size(&text) + 1;
        if line.len() > LINE_BYTES_MAX || self.bytes.saturating_add(bytes) > self.bytes_max && self.lines.is_empty() {
            return Err(too_long(object));
        }
        if self.lines.len() == self.items_max || self.bytes + bytes > self.bytes_max {
            return Ok(false);
        }
        self.bytes += bytes;
        self.lines.push(text);
        Ok(true)
    }
}

fn too_long(object: &ObjectName) -> Failure {
    impossible(format!(
        "`{object}` has a line that is too long to be an item of a flow; let a function read the object"
    ))
}
