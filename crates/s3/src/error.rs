//! What went wrong, with S3's codes, which say to clients what to do.

use s3s::{S3Error, S3ErrorCode};
use stride_data::Error;
use stride_ids::Code;

/// What went wrong with objects.
pub(crate) fn of(error: Error) -> S3Error {
    let code = match &error {
        Error::NoBucket { .. } => S3ErrorCode::NoSuchBucket,
        Error::NoObject { .. } => S3ErrorCode::NoSuchKey,
        Error::NoUpload { .. } => S3ErrorCode::NoSuchUpload,
        Error::BadPart { .. } => S3ErrorCode::InvalidPart,
        Error::Unmet { .. } => S3ErrorCode::PreconditionFailed,
        Error::Range { .. } => S3ErrorCode::InvalidRange,
        Error::BrokenOff { .. } => S3ErrorCode::IncompleteBody,
        other => match other.code() {
            Code::InvalidRequest => S3ErrorCode::InvalidArgument,
            Code::PayloadTooLarge => S3ErrorCode::EntityTooLarge,
            Code::Overloaded => S3ErrorCode::SlowDown,
            Code::Unavailable => S3ErrorCode::ServiceUnavailable,
            _ => S3ErrorCode::InternalError,
        },
    };
    if matches!(code, S3ErrorCode::InternalError | S3ErrorCode::ServiceUnavailable) {
        tracing::warn!(%error, "an S3 request failed");
    }
    S3Error::with_message(code, error.to_string())
}

/// Something in the request that cannot be.
pub(crate) fn invalid(message: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message)
}

/// Something that S3 has and Stride has not.
pub(crate) fn refused(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("{what}, which this node does not have; leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_clients_act_on() {
        let object = || "a/b".to_owned();
        for (error, code, status) in [
            (Error::NoBucket { bucket: "a".into() }, "NoSuchBucket", 404),
            (Error::NoObject { object: object(), hint: String::new() }, "NoSuchKey", 404),
            (Error::Range { object: object(), len: 1 }, "InvalidRange", 416),
            (Error::BadPart { object: object(), number: 2 }, "InvalidPart", 400),
            (Error::Busy { max: 1 }, "SlowDown", 503),
            (Error::Full, "ServiceUnavailable", 503),
            (Error::TooLarge { object: object(), max: 1 }, "EntityTooLarge", 400),
            (Error::BrokenOff { object: object(), why: String::new() }, "IncompleteBody", 400),
        ] {
            let error = of(error);
            assert_eq!(error.code().as_str(), code);
            assert_eq!(error.code().status_code().unwrap().as_u16(), status, "{code}");
        }
    }
}
