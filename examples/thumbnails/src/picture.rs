//! Small pictures of large ones: JPEG and PNG in, JPEG out. The example `image-pipeline` has this file, too.

use std::io::{BufRead, Seek};

use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits, codecs::jpeg::JpegEncoder};
use stride::{Code, Failure};

/// How much memory a picture may take while it is read, in bytes: 40 megapixels, and less than stride.toml grants.
const DECODED_BYTES_MAX: u64 = 160 << 20;
pub(crate) const JPEG: &str = "image/jpeg";
const QUALITY: u8 = 85;

/// Reads a picture and makes it fit into a square, the right way up. One that is small enough stays as large as it is.
pub(crate) fn shrink(picture: impl BufRead + Seek, max: u32) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(picture).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    let max = max.max(1);
    if image.width() > max || image.height() > max {
        image = image.thumbnail(max, max);
    }
    image.apply_orientation(orientation);
    Ok(image)
}

pub(crate) fn encode(image: &DynamicImage) -> Result<Vec<u8>, Failure> {
    let mut jpeg = Vec::new();
    // JPEG knows no transparency.
    let written = JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&image.to_rgb8());
    written.map_err(|e| Failure::new(Code::Internal, format!("the thumbnail cannot be written: {e}")))?;
    Ok(jpeg)
}

pub(crate) fn unreadable(what: &str, why: &image::ImageError) -> Failure {
    Failure::new(Code::GuestError, format!("{what} is not a picture that can be read: {why}"))
}
