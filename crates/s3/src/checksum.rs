//! What arrives is what was sent: the checksums that a client announces in headers or in trailers, over the bytes as they pass.
//!
//! Always true: bytes whose checksum does not fit end in an error, so nothing of them is stored.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use s3s::{
    S3Error, S3ErrorCode, StdError, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::{Checksum, StreamingBlob},
};

/// What the bytes of a request have to sum up to.
#[derive(Default)]
pub(crate) struct Announced {
    /// `Content-MD5`
    pub(crate) md5: Option<String>,
    /// `x-amz-checksum-*`
    pub(crate) sums: Checksum,
    /// `x-amz-trailer`: the name of the checksum that comes behind the bytes.
    pub(crate) trailer: Option<String>,
    pub(crate) trailing: Option<TrailingHeaders>,
}

/// What the bytes did sum up to, when they were all there.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<OnceLock<Result<Checksum, &'static str>>>);

impl Verdict {
    /// The checksums of what was stored.
    pub(crate) fn sums(&self) -> Checksum {
        self.0.get().and_then(|verdict| verdict.as_ref().ok()).cloned().unwrap_or_default()
    }

    /// Why it was not stored, if a checksum was the reason.
    pub(crate) fn mismatch(&self) -> Option<S3Error> {
        let name = self.0.get()?.as_ref().err()?;
        Some(S3Error::with_message(
            S3ErrorCode::BadDigest,
            format!("the bytes do not have the {name} that was announced"),
        ))
    }
}

struct Sums {
    announced: Announced,
    hasher: ChecksumHasher,
    md5: Option<Md5>,
}

/// The bytes of `body`, which end in an error if they are not what was announced.
pub(crate) fn checked(
    body: Option<StreamingBlob>,
    announced: Announced,
) -> (impl Stream<Item = Result<Bytes, StdError>> + Send, Verdict) {
    let verdict = Verdict::default();
    let state = (body.unwrap_or_else(|| s3s::Body::empty().into()), Some(Sums::new(announced)), verdict.clone());
    let bytes = stream::try_unfold(state, |(mut body, mut sums, verdict)| async move {
        if let Some(bytes) = body.try_next().await? {
            if let Some(sums) = &mut sums {
                sums.update(&bytes);
            }
            return Ok(Some((bytes, (body, sums, verdict))));
        }
        if let Some(outcome) = sums.map(Sums::outcome) {
            let mismatch = outcome.as_ref().err().copied();
            // It is set once: here, where the bytes end.
            let _ = verdict.0.set(outcome);
            if let Some(name) = mismatch {
                return Err(StdError::from(format!("their {name} is not the one that was announced")));
            }
        }
        Ok(None)
    });
    (bytes, verdict)
}

impl Sums {
    fn new(announced: Announced) -> Self {
        let Announced { md5, sums, trailer, .. } = &announced;
        let wanted = |sum: &Option<String>, name: &str| {
            sum.is_some() || trailer.as_deref().is_some_and(|trailer| trailer.trim().eq_ignore_ascii_case(name))
        };
        let hasher = ChecksumHasher {
            crc32: wanted(&sums.checksum_crc32, CRC32).then(Crc32::new),
            crc32c: wanted(&sums.checksum_crc32c, CRC32C).then(Crc32c::new),
            sha1: wanted(&sums.checksum_sha1, SHA1).then(Sha1::new),
            sha256: wanted(&sums.checksum_sha256, SHA256).then(Sha256::new),
            crc64nvme: wanted(&sums.checksum_crc64nvme, CRC64).then(Crc64Nvme::new),
        };
        let md5 = md5.is_some().then(Md5::new);
        Self { announced, hasher, md5 }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// The checksums, or the name of the one that does not fit.
    fn outcome(self) -> Result<Checksum, &'static str> {
        let Announced { md5, sums, trailing, .. } = self.announced;
        let found = self.hasher.finalize();
        let md5_found = self.md5.map(|md5| base64_simd::STANDARD.encode_to_string(md5.finalize()));
        let in_trailer = |name: &str| {
            let value = |headers: &axum::http::HeaderMap| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
            trailing.as_ref().and_then(|trailing| trailing.read(value).flatten())
        };
        for (name, announced, found) in [
            ("Content-MD5", md5, &md5_found),
            (CRC32, sums.checksum_crc32, &found.checksum_crc32),
            (CRC32C, sums.checksum_crc32c, &found.checksum_crc32c),
            (SHA1, sums.checksum_sha1, &found.checksum_sha1),
            (SHA256, sums.checksum_sha256, &found.checksum_sha256),
            (CRC64, sums.checksum_crc64nvme, &found.checksum_crc64nvme),
        ] {
            // A checksum that was announced for the trailers and is not there does not fit either.
            if found.is_some() && announced.or_else(|| in_trailer(name)) != *found {
                return Err(name);
            }
        }
        Ok(found)
    }
}

const CRC32: &str = "x-amz-checksum-crc32";
const CRC32C: &str = "x-amz-checksum-crc32c";
const CRC64: &str = "x-amz-checksum-crc64nvme";
const SHA1: &str = "x-amz-checksum-sha1";
const SHA256: &str = "x-amz-checksum-sha256";

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(announced: Announced) -> (Result<Vec<Bytes>, StdError>, Verdict) {
        let body = s3s::Body::from(Bytes::from_static(b"123456789"));
        let (bytes, verdict) = checked(Some(body.into()), announced);
        (bytes.try_collect().await, verdict)
    }

    #[tokio::test]
    async fn bytes_pass_if_they_sum_up_to_what_was_announced() {
        let sums = Checksum { checksum_crc32: Some("y/Q5Jg==".into()), ..Checksum::default() };
        let md5 = Some("JfnnlDI7RTiF9RgfG2JNCw==".to_owned());
        let (bytes, verdict) = put(Announced { md5, sums, ..Announced::default() }).await;
        assert_eq!(bytes.unwrap(), [Bytes::from_static(b"123456789")]);
        assert_eq!(verdict.sums().checksum_crc32.as_deref(), Some("y/Q5Jg=="));
        assert!(verdict.mismatch().is_none());
    }

    #[tokio::test]
    async fn bytes_that_do_not_end_in_an_error_that_names_the_checksum() {
        let wrong = || Some("AAAAAA==".to_owned());
        for (announced, name) in [
            (Announced { md5: wrong(), ..Announced::default() }, "Content-MD5"),
            (
                Announced {
                    sums: Checksum { checksum_crc32c: wrong(), ..Checksum::default() },
                    ..Announced::default()
                },
                CRC32C,
            ),
            (Announced { trailer: Some(CRC64.into()), ..Announced::default() }, CRC64),
        ] {
            let (bytes, verdict) = put(announced).await;
            assert!(bytes.unwrap_err().to_string().contains(name));
            assert_eq!(verdict.mismatch().unwrap().code().as_str(), "BadDigest");
        }
    }
}
