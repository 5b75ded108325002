//! What the agent of a bucket does in a turn. Conditions are checked here, where nothing can come in between, and a turn is
//! durable before anybody hears of it.
//!
//! A condition that is not met is an answer and no failure: failures leave at once, an answer when what it says is durable.

use bytes::Bytes;
use stride_agents::{
    Turn,
    native::{Asked, answer},
};
use stride_ids::{Code, Failure, ObjectKey, Payload, VersionId};
use stride_sim::Timestamp;

use crate::{
    condition::Conditions,
    message::{
        ABORT, BEGIN, BucketSpec, BucketStatus, COMPLETE, CONFIGURE, Changed, ConfigureAsked, DELETE, DeleteAsked,
        FIND, FindAsked, Found, Headers, LIST, LIVE, ListAsked, Listed, Live, LiveAsked, MAKE, Missing, ObjectStatus,
        PARTS, PUT, PUT_PART, PutAsked, REMOVE, STATUS, UPLOADS,
    },
    parts,
    row::{self, Bucket, Content, NEWEST, Version},
    watch::{self, UNWATCH, WATCH},
};

/// How many versions of an object may be kept.
const VERSIONS_KEPT_MAX: u32 = 100;
/// How many labels a bucket may have, and how long each half of one may be, in bytes.
const LABELS_MAX: usize = 32;
const LABEL_LEN_MAX: usize = 64;
/// How many rows are read at a time, and in one turn: a row of a large object is large.
const ROWS: usize = 64;
const ROWS_MAX: usize = 4_096;
/// After how many chunks an answer ends that names the chunks in use.
const LIVE_MAX: usize = 128 << 10;
/// The state of a bucket that was removed.
const REMOVED: Bytes = Bytes::new();

/// Handles one message of a bucket's agent.
pub(crate) fn handle(turn: &mut Turn, asked: Asked<'_>) -> Result<Payload, Failure> {
    Ok(match asked.method {
        PUT => answer(&put(turn, asked.input()?)?),
        DELETE => answer(&delete(turn, asked.input()?)?),
        CONFIGURE => answer(&configure(turn, asked.input()?)?),
        FIND => answer(&find(turn, &asked.input()?)?),
        LIST => answer(&list(turn, &asked.input()?)?),
        STATUS => answer(&bucket(turn)?.map(status)),
        LIVE => answer(&live(turn, asked.input()?)?),
        MAKE => answer(&make(turn, asked.input()?)?),
        REMOVE => answer(&remove(turn)?),
        BEGIN => answer(&parts::begin(turn, asked.input()?)?),
        PUT_PART => answer(&parts::put(turn, asked.input()?)?),
        COMPLETE => answer(&parts::complete(turn, asked.input()?)?),
        ABORT => answer(&parts::abort(turn, &asked.input()?)?),
        PARTS => answer(&parts::list(turn, &asked.input()?)?),
        UPLOADS => answer(&parts::uploads(turn, &asked.input()?)?),
        WATCH => answer(&watch::watch(turn, &asked.input()?)?),
        UNWATCH => answer(&watch::unwatch(turn)?),
        _ => return Err(asked.unknown("bucket")),
    })
}

fn put(turn: &mut Turn, PutAsked { key, at, content, conditions }: PutAsked) -> Result<Changed, Failure> {
    let bucket = bucket_or_new(turn, at)?;
    change(turn, bucket, &key, at, Some(content), &conditions)
}

/// The bucket; one that is not there yet is as it will be made.
pub(crate) fn bucket_or_new(turn: &Turn, at: Timestamp) -> Result<Bucket, Failure> {
    Ok(bucket(turn)?.unwrap_or_else(|| made(at, BucketSpec::default())))
}

fn delete(turn: &mut Turn, DeleteAsked { key, at, conditions }: DeleteAsked) -> Result<Changed, Failure> {
    // A failure, so that nothing is committed: it would be the first turn of a bucket that nobody made.
    let bucket = bucket(turn)?.ok_or_else(|| no_bucket(turn))?;
    change(turn, bucket, &key, at, None, &conditions)
}

/// Puts a new version in the place of the newest one; without content, one that says that the object was deleted.
pub(crate) fn change(
    turn: &mut Turn,
    mut bucket: Bucket,
    key: &ObjectKey,
    at: Timestamp,
    content: Option<Content>,
    conditions: &Conditions,
) -> Result<Changed, Failure> {
    let before = version(turn, &row::newest(key))?;
    let has_content = |version: &&Version| version.content.is_some();
    if content.is_none() && before.as_ref().filter(has_content).is_none() {
        return Ok(Changed::NotFound(missing(before.as_ref())));
    }
    if let Err(unmet) = conditions.check(before.as_ref().and_then(Version::tag)) {
        return Ok(Changed::Unmet(unmet));
    }
    bucket.last = VersionId(bucket.last.0 + 1);
    if let Some(Version { content: Some(before), .. }) = &before {
        bucket.objects = bucket.objects.saturating_sub(1);
        bucket.bytes = bucket.bytes.saturating_sub(before.len);
    }
    if let Some(content) = &content {
        bucket.objects += 1;
        bucket.bytes = bucket.bytes.saturating_add(content.len);
    }
    let keeps_older = bucket.versions_kept > 1;
    let mut freed = false;
    match before {
        Some(before) if keeps_older => turn.set(row::older(key, before.id), row::SCHEMA.encode(&before))?,
        before => freed |= before.is_some(),
    }
    freed |= forget_older(turn, key, bucket.versions_kept)?;
    let version = Version { id: bucket.last, at, content };
    watch::tell(turn, key, &version)?;
    if version.content.is_some() || keeps_older {
        turn.set(row::newest(key), row::SCHEMA.encode(&version))?;
    } else {
        // Nothing is left that could be told from an object that never was.
        turn.delete(row::newest(key))?;
    }
    let version = bucket.last;
    turn.save(row::SCHEMA.encode(&bucket))?;
    Ok(Changed::Done { version, freed })
}

/// Leaves as many older versions of an object as are kept beside the newest. Whether there were more.
fn forget_older(turn: &mut Turn, key: &ObjectKey, kept: u32) -> Result<bool, Failure> {
    let older_max = kept.saturating_sub(1) as usize;
    // More than one too many is there only after fewer are to be kept; the rest goes with the next change.
    let rows = turn.scan(&row::all_older(key), None, older_max + ROWS)?;
    let too_many = rows.len().saturating_sub(older_max);
    for (name, _) in rows.into_iter().take(too_many) {
        turn.delete(name)?;
    }
    Ok(too_many > 0)
}

fn configure(turn: &mut Turn, ConfigureAsked { spec, at }: ConfigureAsked) -> Result<BucketStatus, Failure> {
    check(&spec)?;
    let asked = made(at, spec);
    let bucket = match bucket(turn)? {
        Some(bucket) => Bucket { labels: asked.labels, versions_kept: asked.versions_kept, ..bucket },
        None => asked,
    };
    turn.save(row::SCHEMA.encode(&bucket))?;
    Ok(status(bucket))
}

/// Makes a bucket, and leaves one alone that is there. Whether it was made.
fn make(turn: &mut Turn, at: Timestamp) -> Result<bool, Failure> {
    if bucket(turn)?.is_some() {
        return Ok(false);
    }
    turn.save(row::SCHEMA.encode(&made(at, BucketSpec::default())))?;
    Ok(true)
}

/// Removes a bucket in which nothing is: no version, and no upload in parts. Whether it was removed.
fn remove(turn: &mut Turn) -> Result<bool, Failure> {
    if bucket(turn)?.is_none() {
        return Err(no_bucket(turn));
    }
    // Those who watch it go on when it is made again.
    if turn.scan("", None, 1)?.iter().any(|(name, _)| !row::is_watcher(name)) {
        return Ok(false);
    }
    turn.save(REMOVED)?;
    Ok(true)
}

pub(crate) fn no_bucket(turn: &Turn) -> Failure {
    Failure::not_found("bucket", turn.address().key.as_str(), None)
}

fn check(spec: &BucketSpec) -> Result<(), Failure> {
    let invalid = |message: String| Err(Failure::new(Code::InvalidRequest, message));
    if let Some(kept) = spec.versions_kept.filter(|kept| !(1..=VERSIONS_KEPT_MAX).contains(kept)) {
        return invalid(format!("versions_kept is {kept}; use 1 to {VERSIONS_KEPT_MAX}"));
    }
    if spec.labels.len() > LABELS_MAX {
        return invalid(format!("there are {} labels; use {LABELS_MAX} at most", spec.labels.len()));
    }
    for text in spec.labels.iter().flat_map(|(name, value)| [name, value]) {
        if !(1..=LABEL_LEN_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
            let text: String = text.chars().take(LABEL_LEN_MAX).collect();
            return invalid(format!(
                "`{text}` cannot be part of a label; use 1 to {LABEL_LEN_MAX} bytes without control characters"
            ));
        }
    }
    Ok(())
}

/// A new bucket.
fn made(created_at: Timestamp, spec: BucketSpec) -> Bucket {
    Bucket {
        labels: spec.labels,
        versions_kept: spec.versions_kept.unwrap_or(1),
        created_at,
        last: VersionId::default(),
        objects: 0,
        bytes: 0,
    }
}

fn status(bucket: Bucket) -> BucketStatus {
    let Bucket { labels, versions_kept, created_at, objects, bytes, last: _ } = bucket;
    BucketStatus { labels, versions_kept, created_at, objects, bytes }
}

fn find(turn: &Turn, FindAsked { key, version: wanted }: &FindAsked) -> Result<Found, Failure> {
    if bucket(turn)?.is_none() {
        return Ok(Found::NotFound(Missing::Bucket));
    }
    let newest = version(turn, &row::newest(key))?;
    let found = match (wanted, &newest) {
        (Some(wanted), Some(newest)) if newest.id != *wanted => version(turn, &row::older(key, *wanted))?,
        (Some(wanted), None) => version(turn, &row::older(key, *wanted))?,
        _ => newest.clone(),
    };
    Ok(match found {
        Some(version) if version.content.is_some() => Found::Version(version),
        None if newest.is_some() => Found::NotFound(Missing::Version),
        other => Found::NotFound(missing(other.as_ref())),
    })
}

/// How to say that there is no content in the newest version.
fn missing(newest: Option<&Version>) -> Missing {
    newest.map_or(Missing::Object, |version| Missing::Deleted(version.id))
}

fn list(turn: &Turn, ListAsked { prefix, after, limit }: &ListAsked) -> Result<Listed, Failure> {
    if bucket(turn)?.is_none() {
        return Ok(Listed::NoBucket);
    }
    let prefix = format!("{NEWEST}{prefix}");
    let mut after = after.as_ref().map(|after| format!("{NEWEST}{after}"));
    let mut objects = Vec::new();
    // Deleted objects are passed over, but not so many in one turn that it would hold up all others.
    for _ in 0..ROWS_MAX / ROWS {
        let wanted = ROWS.min(limit - objects.len());
        let page = turn.scan(&prefix, after.as_deref(), wanted)?;
        let is_last = page.len() < wanted;
        after = page.last().map(|(name, _)| name.clone()).or(after);
        for (name, bytes) in page {
            if let Version { id, at, content: Some(content) } = row::SCHEMA.decode("version", &bytes)? {
                let content = Content { headers: Headers::new(), ..content };
                objects.push((key_of(&name)?, status_of(id, at, content)));
            }
        }
        if is_last {
            return Ok(Listed::Page { objects, next: None });
        }
        if objects.len() == *limit {
            break;
        }
    }
    let next = after.and_then(|name| name.strip_prefix(NEWEST).map(str::to_owned));
    Ok(Listed::Page { objects, next })
}

pub(crate) fn status_of(version: VersionId, created_at: Timestamp, content: Content) -> ObjectStatus {
    let Content { len, etag, content_type, headers, .. } = content;
    ObjectStatus { version, len, etag, content_type, headers, created_at }
}

fn key_of(name: &str) -> Result<ObjectKey, Failure> {
    let key = name.strip_prefix(NEWEST).unwrap_or_default();
    ObjectKey::new(key).map_err(|e| Failure::new(Code::Internal, format!("a stored row is damaged: {e}")))
}

fn live(turn: &Turn, LiveAsked { mut after }: LiveAsked) -> Result<Live, Failure> {
    let mut heads = Vec::new();
    for _ in 0..ROWS_MAX / ROWS {
        let page = turn.scan("", after.as_deref(), ROWS)?;
        let is_last = page.len() < ROWS;
        for (name, bytes) in page {
            if row::has_chunks(&name) {
                let version: Version = row::SCHEMA.decode("version", &bytes)?;
                heads.extend(version.content.iter().flat_map(|content| content.hashes.iter()).map(|hash| hash.head()));
            }
            after = Some(name);
            if heads.len() >= LIVE_MAX {
                return Ok(Live { heads, next: after });
            }
        }
        if is_last {
            return Ok(Live { heads, next: None });
        }
    }
    Ok(Live { heads, next: after })
}

/// None if it was never made, and if it was removed.
pub(crate) fn bucket(turn: &Turn) -> Result<Option<Bucket>, Failure> {
    let bytes = turn.load().filter(|bytes| *bytes != REMOVED);
    bytes.map(|bytes| row::SCHEMA.decode("bucket", &bytes)).transpose()
}

fn version(turn: &Turn, name: &str) -> Result<Option<Version>, Failure> {
    let bytes = turn.get(name)?;
    bytes.map(|bytes| row::SCHEMA.decode("version", &bytes)).transpose()
}
