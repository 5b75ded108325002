//! What S3 says about bytes, and what of it is kept: content type, a few headers, the client's own metadata. Conditions and
//! times in both directions.

use std::time::{Duration, SystemTime};

use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{self, ETagCondition, Timestamp, TimestampFormat},
};
use stride_data::{Conditions, ETag, Headers, ObjectStatus, Put, Tags};

/// Before the names of headers with the client's own metadata.
const META: &str = "x-amz-meta-";

/// What a client says about the bytes that it stores.
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: Option<dto::Metadata>,
}

/// The same of any input that has it.
macro_rules! described {
    ($input:expr) => {
        $crate::describe::Described {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take(),
        }
    };
}
pub(crate) use described;

/// Gives back to any output what was kept.
macro_rules! give_back {
    ($output:expr, $status:expr) => {{
        let described = $crate::describe::Described::kept($status)?;
        $output.content_type = described.content_type;
        $output.cache_control = described.cache_control;
        $output.content_disposition = described.content_disposition;
        $output.content_encoding = described.content_encoding;
        $output.content_language = described.content_language;
        $output.expires = described.expires;
        $output.metadata = described.metadata;
        $output.e_tag = Some($crate::describe::e_tag(&$status.etag));
        $output.last_modified = Some($crate::describe::time($status.created_at));
        $output.version_id = Some($status.version.to_string());
        $output.accept_ranges = Some("bytes".into());
    }};
}
pub(crate) use give_back;

impl Described {
    /// As it is stored.
    pub(crate) fn put(self, len: Option<i64>, conditions: Conditions) -> S3Result<Put> {
        let expires = self.expires.map(|expires| text_of(&expires)).transpose()?;
        let mut headers: Headers = [
            ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition),
            ("content-encoding", self.content_encoding.as_deref().and_then(lasting_encoding)),
            ("content-language", self.content_language),
            ("expires", expires),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        headers.extend(self.metadata.into_iter().flatten().map(|(name, value)| (format!("{META}{name}"), value)));
        let len = len.and_then(|len| u64::try_from(len).ok());
        Ok(Put { content_type: self.content_type, len, conditions, headers })
    }

    /// What was stored.
    pub(crate) fn kept(status: &ObjectStatus) -> S3Result<Self> {
        let header = |name: &str| status.headers.get(name).cloned();
        let unreadable = |e| S3Error::with_source(S3ErrorCode::InternalError, Box::new(e));
        let expires = header("expires").map(|text| Timestamp::parse(TimestampFormat::HttpDate, &text)).transpose();
        let own = |(name, value): (&String, &String)| Some((name.strip_prefix(META)?.to_owned(), value.clone()));
        let metadata: dto::Metadata = status.headers.iter().filter_map(own).collect();
        Ok(Self {
            content_type: Some(status.content_type.clone()),
            cache_control: header("cache-control"),
            content_disposition: header("content-disposition"),
            content_encoding: header("content-encoding"),
            content_language: header("content-language"),
            expires: expires.map_err(unreadable)?,
            metadata: (!metadata.is_empty()).then_some(metadata),
        })
    }
}

/// `aws-chunked` says how bytes travel, and nothing about them when they are there.
fn lasting_encoding(encoding: &str) -> Option<String> {
    let lasting: Vec<_> =
        encoding.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "aws-chunked").collect();
    (!lasting.is_empty()).then(|| lasting.join(","))
}

fn text_of(time: &Timestamp) -> S3Result<String> {
    let mut text = Vec::new();
    let wrong = |e| S3Error::with_source(S3ErrorCode::InvalidArgument, Box::new(e));
    time.format(TimestampFormat::HttpDate, &mut text).map_err(wrong)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn e_tag(etag: &ETag) -> dto::ETag {
    dto::ETag::Strong(etag.to_string())
}

/// A tag that a client names, if it is one of ours.
pub(crate) fn etag_of(tag: &dto::ETag) -> Option<ETag> {
    ETag::from_hex(tag.value())
}

pub(crate) fn time(at: stride_sim::Timestamp) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_millis(at)).into()
}

pub(crate) fn conditions(if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> Conditions {
    let tags = |condition: &ETagCondition| match condition {
        ETagCondition::Any => Tags::Any,
        // What is no tag of ours is a tag that nothing has.
        ETagCondition::ETag(tag) => Tags::OneOf(etag_of(tag).into_iter().collect()),
    };
    Conditions { if_match: if_match.map(tags), if_none_match: if_none_match.map(tags) }
}

/// What has to be true of an object before it is read.
pub(crate) struct Readable<'a> {
    pub(crate) if_match: Option<&'a ETagCondition>,
    pub(crate) if_none_match: Option<&'a ETagCondition>,
    pub(crate) if_modified_since: Option<&'a Timestamp>,
    pub(crate) if_unmodified_since: Option<&'a Timestamp>,
}

impl Readable<'_> {
    /// Whether there is anything to check.
    pub(crate) fn asks(&self) -> bool {
        let Self { if_match, if_none_match, if_modified_since, if_unmodified_since } = self;
        if_match.is_some() || if_none_match.is_some() || if_modified_since.is_some() || if_unmodified_since.is_some()
    }

    /// Whether it is read. Tags count more than times, as HTTP has it.
    pub(crate) fn check(&self, status: &ObjectStatus) -> S3Result<()> {
        use stride_data::Unmet;
        // Clients know the time in whole seconds.
        let at = time(status.created_at / 1000 * 1000);
        let unmodified = |since: Option<&Timestamp>| since.is_some_and(|since| at <= *since);
        match conditions(self.if_match, self.if_none_match).check(Some(&status.etag)) {
            Err(Unmet::IfMatch) => return Err(S3ErrorCode::PreconditionFailed.into()),
            Err(Unmet::IfNoneMatch) => return Err(S3ErrorCode::NotModified.into()),
            Ok(()) => {}
        }
        if self.if_match.is_none() && self.if_unmodified_since.is_some() && !unmodified(self.if_unmodified_since) {
            return Err(S3ErrorCode::PreconditionFailed.into());
        }
        if self.if_none_match.is_none() && unmodified(self.if_modified_since) {
            return Err(S3ErrorCode::NotModified.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stride_ids::VersionId;

    fn status(put: Put) -> ObjectStatus {
        let etag = ETag::from_hex(&"0a".repeat(32)).unwrap();
        let content_type = put.content_type.unwrap_or_default();
        ObjectStatus { version: VersionId(1), len: 0, etag, content_type, headers: put.headers, created_at: 5_500 }
    }

    #[test]
    fn what_a_client_says_about_bytes_comes_back_and_how_they_travelled_does_not() {
        let said = Described {
            content_type: Some("text/csv".into()),
            content_encoding: Some("aws-chunked,gzip".into()),
            expires: Some(time(86_400_000)),
            metadata: Some([("mtime".to_owned(), "1".to_owned())].into_iter().collect()),
            ..Described::default()
        };
        let kept = Described::kept(&status(said.put(None, Conditions::default()).unwrap())).unwrap();
        assert_eq!((kept.content_type.unwrap(), kept.content_encoding.unwrap()), ("text/csv".into(), "gzip".into()));
        assert_eq!(kept.expires, Some(time(86_400_000)));
        assert_eq!(kept.metadata.unwrap().get("mtime").map(String::as_str), Some("1"));
        assert!(lasting_encoding("aws-chunked").is_none());
    }

    #[test]
    fn conditions_for_reading_are_checked_as_http_has_it() {
        let status = status(Put::default());
        let (here, other) =
            (ETagCondition::ETag(e_tag(&status.etag)), ETagCondition::ETag(dto::ETag::Strong("abc-2".into())));
        let (second, third) = (time(5_000), time(4_000));
        let check = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
            let readable = Readable { if_match, if_none_match, if_modified_since, if_unmodified_since };
            readable.check(&status).err().map(|error| error.code().as_str().to_owned())
        };
        let (unmet, same) = (Some("PreconditionFailed".to_owned()), Some("NotModified".to_owned()));
        assert_eq!(check(None, None, None, None), None);
        assert_eq!(check(Some(&here), None, None, Some(&third)), None);
        assert_eq!(check(Some(&other), None, None, None), unmet);
        assert_eq!(check(None, Some(&here), None, None), same);
        assert_eq!(check(None, Some(&other), Some(&second), None), None);
        assert_eq!(check(None, None, Some(&second), None), same);
        assert_eq!(check(None, None, Some(&third), None), None);
        assert_eq!(check(None, None, None, Some(&third)), unmet);
        assert_eq!(check(None, None, None, Some(&second)), None);
    }
}
