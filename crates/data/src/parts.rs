//! What a bucket's agent does about uploads in parts. A part is a row with its chunks, as a version is, so a sweep leaves
//! them; completing makes the newest version out of the parts in one turn, so an object is never there by halves.

use std::collections::BTreeMap;

use stride_agents::Turn;
use stride_ids::{Code, Failure, VersionId};

use crate::{
    chunk::ETag,
    index::{bucket, bucket_or_new, change, no_bucket},
    message::{
        AbortAsked, BeginAsked, Changed, CompleteAsked, Completed, Headers, Parts, PartsAsked, PutPartAsked, Uploads,
        UploadsAsked,
    },
    multipart::{PARTS_MAX, PartNumber, UploadId, UploadStatus},
    row::{self, Content, Hashes, UploadRow, Version},
    upload::OBJECT_LEN_MAX,
};

/// How many rows are read at a time.
const ROWS: usize = 1_000;

/// Begins an upload, and makes the bucket if it is not there.
pub(crate) fn begin(turn: &mut Turn, asked: BeginAsked) -> Result<UploadId, Failure> {
    let BeginAsked { key, at, content_type, headers } = asked;
    let mut bucket = bucket_or_new(turn, at)?;
    bucket.last = VersionId(bucket.last.0 + 1);
    let id = UploadId(bucket.last.0);
    let upload = UploadRow { key, at, content_type, headers, len: 0 };
    turn.set(row::upload(id), row::SCHEMA.encode(&upload))?;
    turn.save(row::SCHEMA.encode(&bucket))?;
    Ok(id)
}

/// Keeps a part, in the place of the one that had its number. Whether there was one.
pub(crate) fn put(turn: &mut Turn, asked: PutPartAsked) -> Result<bool, Failure> {
    let PutPartAsked { key, upload: id, number, at, content } = asked;
    let mut upload = upload(turn, id, &key)?;
    let name = row::part(id, number);
    let before = turn.get(&name)?;
    let before = before.map(|bytes| row::SCHEMA.decode::<Version>("part", &bytes)).transpose()?;
    let len_before = before.iter().filter_map(|part| part.content.as_ref()).map(|content| content.len).sum();
    upload.len = upload.len.saturating_sub(len_before).saturating_add(content.len);
    if upload.len > OBJECT_LEN_MAX {
        let message = format!("the parts would have more than the {OBJECT_LEN_MAX} bytes that an object may have");
        return Err(Failure::new(Code::PayloadTooLarge, message));
    }
    let part = Version { id: VersionId(id.0), at, content: Some(content) };
    turn.set(name, row::SCHEMA.encode(&part))?;
    turn.set(row::upload(id), row::SCHEMA.encode(&upload))?;
    Ok(before.is_some())
}

/// Makes the newest version of an object out of parts, and forgets the upload.
pub(crate) fn complete(turn: &mut Turn, asked: CompleteAsked) -> Result<Completed, Failure> {
    let CompleteAsked { key, upload: id, at, parts: wanted, rewritten, conditions } = asked;
    let upload = upload(turn, id, &key)?;
    let mut stored = all(turn, id)?;
    let numbers: Vec<_> = stored.keys().copied().collect();
    let mut chosen = Vec::new();
    let mut last = 0;
    for (number, etag) in wanted {
        match stored.remove(&number) {
            Some(content) if number > last && content.etag == etag => chosen.push(content),
            _ => return Ok(Completed::BadPart(number)),
        }
        last = number;
    }
    let left_out = !stored.is_empty();
    let is_rewritten = rewritten.is_some();
    let Some(content) = rewritten.or_else(|| joined(&chosen)) else { return Ok(Completed::Rewrite) };
    let content = Content { content_type: upload.content_type, headers: upload.headers, ..content };
    let Some(bucket) = bucket(turn)? else { return Err(no_bucket(turn)) };
    let changed = change(turn, bucket, &key, at, Some(content.clone()), &conditions)?;
    let (version, freed) = match changed {
        Changed::Done { version, freed } => (version, freed),
        Changed::Unmet(unmet) => return Ok(Completed::Unmet(unmet)),
        Changed::NotFound(_) => return Err(Failure::new(Code::Internal, "a put found nothing to put")),
    };
    forget(turn, id, &numbers)?;
    Ok(Completed::Done { version, content, freed: freed || left_out || is_rewritten })
}

/// One behind the other, if every part but the last ends where a chunk ends.
fn joined(parts: &[Content]) -> Option<Content> {
    let (last, before) = parts.split_last()?;
    let chunk_len = parts.first()?.chunk_len;
    let fits = |part: &Content| part.chunk_len == chunk_len && part.len.is_multiple_of(u64::from(chunk_len));
    if last.chunk_len != chunk_len || !before.iter().all(fits) {
        return None;
    }
    let hashes: Vec<_> = parts.iter().flat_map(|part| part.hashes.iter()).collect();
    let (hashes, len) = (Hashes::of(&hashes), parts.iter().map(|part| part.len).sum());
    let etag = ETag::of(hashes.as_bytes(), len);
    Some(Content { len, chunk_len, etag, content_type: String::new(), headers: Headers::new(), hashes })
}

/// Forgets an upload and its parts.
pub(crate) fn abort(turn: &mut Turn, AbortAsked { key, upload: id }: &AbortAsked) -> Result<(), Failure> {
    upload(turn, *id, key)?;
    let numbers: Vec<_> = all(turn, *id)?.into_keys().collect();
    forget(turn, *id, &numbers)
}

fn forget(turn: &mut Turn, id: UploadId, numbers: &[PartNumber]) -> Result<(), Failure> {
    for number in numbers {
        turn.delete(row::part(id, *number))?;
    }
    Ok(turn.delete(row::upload(id))?)
}

pub(crate) fn list(turn: &Turn, asked: &PartsAsked) -> Result<Parts, Failure> {
    let PartsAsked { key, upload: id, after, limit } = asked;
    upload(turn, *id, key)?;
    let limit = (*limit).min(ROWS);
    let rows = turn.scan(&row::all_parts(*id), Some(&row::part(*id, *after)), limit)?;
    let is_last = rows.len() < limit;
    let parts = rows.iter().map(|(name, bytes)| Ok((row::number_of(name)?, row::SCHEMA.decode("part", bytes)?)));
    Ok(Parts { parts: parts.collect::<Result<_, Failure>>()?, is_last })
}

pub(crate) fn uploads(turn: &Turn, asked: &UploadsAsked) -> Result<Uploads, Failure> {
    let UploadsAsked { after, limit } = asked;
    if bucket(turn)?.is_none() {
        return Err(no_bucket(turn));
    }
    let limit = (*limit).min(ROWS);
    let mut after = after.map(row::after_upload);
    let mut uploads = Vec::new();
    while uploads.len() < limit {
        let rows = turn.scan(row::UPLOADS, after.as_deref(), 1)?;
        let Some((name, bytes)) = rows.first() else { return Ok(Uploads { uploads, is_last: true }) };
        let id = UploadId::of_row(name)?;
        let UploadRow { key, at, .. } = row::SCHEMA.decode("upload", bytes)?;
        uploads.push(UploadStatus { id, key, begun_at: at });
        after = Some(row::after_upload(id));
    }
    Ok(Uploads { uploads, is_last: false })
}

fn upload(turn: &Turn, id: UploadId, key: &stride_ids::ObjectKey) -> Result<UploadRow, Failure> {
    // A failure, so that nothing is committed.
    let missing = || Failure::not_found("upload", &id.to_string(), None);
    let bytes = turn.get(&row::upload(id))?.ok_or_else(missing)?;
    let upload: UploadRow = row::SCHEMA.decode("upload", &bytes)?;
    if upload.key == *key { Ok(upload) } else { Err(missing()) }
}

/// All parts of an upload by their numbers.
fn all(turn: &Turn, id: UploadId) -> Result<BTreeMap<PartNumber, Content>, Failure> {
    let mut parts = BTreeMap::new();
    let mut after = None;
    for _ in 0..=usize::from(PARTS_MAX) / ROWS {
        let rows = turn.scan(&row::all_parts(id), after.as_deref(), ROWS)?;
        for (name, bytes) in &rows {
            let part: Version = row::SCHEMA.decode("part", bytes)?;
            if let Some(content) = part.content {
                parts.insert(row::number_of(name)?, content);
            }
        }
        match rows.into_iter().last() {
            Some((name, _)) => after = Some(name),
            None => break,
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkHash;

    fn part(byte: &'static [u8], len: u64) -> Content {
        let hashes = Hashes::of(&[ChunkHash::of(byte)]);
        let etag = ETag::of(hashes.as_bytes(), len);
        Content { len, chunk_len: 4, etag, content_type: String::new(), headers: Headers::new(), hashes }
    }

    #[test]
    fn parts_are_joined_if_all_but_the_last_end_where_a_chunk_ends() {
        let whole = joined(&[part(b"a", 4), part(b"b", 4), part(b"c", 1)]).unwrap();
        assert_eq!((whole.len, whole.hashes.iter().count()), (9, 3));
        assert_eq!(whole.etag, ETag::of(whole.hashes.as_bytes(), 9));
        assert_eq!(joined(&[part(b"a", 3)]).unwrap().len, 3);
        assert!(joined(&[part(b"a", 3), part(b"b", 4)]).is_none());
        assert!(joined(&[part(b"a", 4), Content { chunk_len: 8, ..part(b"b", 4) }]).is_none());
        assert!(joined(&[]).is_none());
    }
}
