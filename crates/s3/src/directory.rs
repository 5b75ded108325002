//! Directories. S3 has none; clients make one by an empty object whose key ends in a slash (pyarrow and so pandas, Hadoop).
//!
//! Always true: such a put is answered and stores nothing. A directory is there as soon as something is in it, and whoever
//! goes through all objects with a prefix, as a map does, finds none that is no data.
//! Not here: such a key with bytes, which is refused as every key is that objects cannot have.

use futures::TryStreamExt as _;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{PutObjectInput, PutObjectOutput},
};

use crate::{error, front::Front, put::refuse};

/// The directory that a put is about.
pub(crate) fn named(input: &PutObjectInput) -> Option<String> {
    input.key.strip_suffix('/').map(str::to_owned)
}

/// Makes nothing but, as every put does, the bucket.
pub(crate) async fn make(
    front: &Front,
    directory: &str,
    req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let mut input = req.input;
    let name = front.writable(req.credentials.as_ref(), &input.bucket, directory)?;
    refuse!(input);
    let unreadable = |e: s3s::StdError| error::invalid(format!("the body cannot be read: {e}"));
    while let Some(body) = &mut input.body
        && let Some(bytes) = body.try_next().await.map_err(unreadable)?
    {
        if !bytes.is_empty() {
            return Err(error::invalid(format!("`{}` has bytes, so its key cannot end in a slash", input.key)));
        }
    }
    front.objects.make_bucket(&name.tenant, &name.bucket).await.map_err(error::of)?;
    Ok(S3Response::new(PutObjectOutput::default()))
}
