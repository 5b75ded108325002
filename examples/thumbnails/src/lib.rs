//! Makes small pictures of large ones: JPEG and PNG in, JPEG out.
//!
//! `thumbnail` reads a picture where it is kept and puts the small one into another bucket. What travels is a name:
//!
//! ```sh
//! stride deploy examples/thumbnails
//! stride put holiday.jpg photos/2026/holiday.jpg
//! stride call thumbnails/thumbnail '{"key": "2026/holiday.jpg"}'
//! stride get thumbs/2026/holiday.jpg small.jpg
//! ```
//!
//! Buckets with other names go into its input as well as into [capabilities] in stride.toml. `small` takes the picture itself and
//! answers with the small one.

use std::io::Cursor;

use picture::{JPEG, encode, shrink, unreadable};
use stride::prelude::*;

mod picture;

/// How wide and how high a thumbnail is at most, if nobody says so.
const MAX: u32 = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "photos")]
    bucket: String,
    key: String,
    /// The bucket that gets the thumbnail, under the same key.
    #[serde(default = "thumbs")]
    to: String,
    #[serde(default = "max")]
    max: u32,
}

fn photos() -> String {
    "photos".into()
}

fn thumbs() -> String {
    "thumbs".into()
}

fn max() -> u32 {
    MAX
}

#[derive(Serialize)]
struct Made {
    object: String,
    width: u32,
    height: u32,
    bytes: u64,
}

#[stride::function]
fn thumbnail(wanted: Wanted) -> Result<Made, Failure> {
    let Wanted { bucket, key, to, max } = wanted;
    let picture = objects::open(&bucket, &key)?;
    let small = shrink(picture, max).map_err(|why| unreadable(&format!("`{bucket}/{key}`"), &why))?;
    let jpeg = encode(&small)?;
    let put = objects::put(&to, &key, JPEG, &jpeg)?;
    Ok(Made { object: format!("{to}/{key}"), width: small.width(), height: small.height(), bytes: put.size })
}

/// The same for a picture that is sent along.
#[stride::function]
fn small(picture: Payload) -> Result<Payload, Failure> {
    let small = shrink(Cursor::new(picture.body), MAX).map_err(|why| unreadable("the body", &why))?;
    Ok(Payload { content_type: JPEG.into(), body: encode(&small)? })
}
