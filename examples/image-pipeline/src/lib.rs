//! What a pipeline of pictures works with: a function that makes one small, an agent that is the index, and one that is told.
//!
//! The pipeline is a flow, `pictures.json`. Its input is the reference to an object, so that whatever sees a picture come can start it.

use std::collections::BTreeMap;

use picture::{JPEG, encode, shrink, unreadable};
use stride::prelude::*;

#[path = "../../thumbnails/src/picture.rs"]
mod picture;
#[cfg(test)]
mod tests;

const GALLERY: &str = "gallery";

#[derive(Deserialize)]
struct Wanted {
    bucket: String,
    key: String,
    max: u32,
}

/// A picture that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    key: String,
    width: u32,
    height: u32,
}

/// Makes one size of a picture, and puts it where the size says.
#[stride::function]
fn resize(wanted: Wanted) -> Result<Made, Failure> {
    let picture = objects::open(&wanted.bucket, &wanted.key)?;
    let (made, jpeg) = made(picture, &wanted)?;
    objects::put(GALLERY, &made.key, JPEG, &jpeg)?;
    Ok(made)
}

fn made(picture: impl std::io::BufRead + std::io::Seek, wanted: &Wanted) -> Result<(Made, Vec<u8>), Failure> {
    let Wanted { bucket, key, max } = wanted;
    let small = shrink(picture, *max).map_err(|why| unreadable(&format!("`{bucket}/{key}`"), &why))?;
    let made = Made { key: format!("{max}/{key}"), width: small.width(), height: small.height() };
    Ok((made, encode(&small)?))
}

/// The pictures that there are, each with its sizes.
#[derive(Default, Serialize, Deserialize)]
struct Gallery {
    pictures: BTreeMap<String, Vec<Made>>,
}

#[derive(Serialize, Deserialize)]
struct Picture {
    key: String,
    sizes: Vec<Made>,
}

#[stride::agent]
impl Gallery {
    /// Adds a picture, or replaces it. The answer is how many there are.
    fn add(&mut self, picture: Picture) -> usize {
        self.pictures.insert(picture.key, picture.sizes);
        self.pictures.len()
    }

    fn sizes(&self, key: String) -> Vec<Made> {
        self.pictures.get(&key).cloned().unwrap_or_default()
    }
}

/// Somebody who wants to know of new pictures.
#[derive(Default, Serialize, Deserialize)]
struct Visitor {
    news: Vec<String>,
}

#[stride::agent]
impl Visitor {
    fn notify(&mut self, news: String) {
        self.news.push(news);
    }

    fn news(&self) -> Vec<String> {
        self.news.clone()
    }
}
