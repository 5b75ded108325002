//! Reads and writes objects, within what the manifest allows and beyond it.

use std::{
    io::{BufRead as _, Read as _, Seek as _, SeekFrom},
    time::{Duration, Instant},
};

use stride::{objects::Object, prelude::*};

/// The bytes at an offset, as text.
#[stride::function]
fn reads(bucket: String, key: String, offset: u64, length: usize) -> Result<String, Failure> {
    text_of(objects::open(&bucket, &key)?.read_at(offset, length)?)
}

#[stride::function]
fn reads_version(bucket: String, key: String, version: u64) -> Result<String, Failure> {
    text_of(objects::open_version(&bucket, &key, version)?.read_all()?)
}

/// What is read after seeking to some places in turn, four bytes at each, one after the other.
#[stride::function]
fn seeks(bucket: String, key: String, places: Vec<i64>) -> Result<String, Failure> {
    let mut object = objects::open(&bucket, &key)?;
    let mut read = Vec::new();
    for place in places {
        let to = if place < 0 { SeekFrom::End(place) } else { SeekFrom::Start(place.unsigned_abs()) };
        object.seek(to)?;
        object.by_ref().take(4).read_to_end(&mut read)?;
    }
    text_of(read)
}

fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|e| Failure::new(Code::GuestError, e.to_string()))
}

/// What reading an object in order has found, and how long the guest waited for the bytes.
#[derive(Serialize)]
struct Walked {
    bytes: usize,
    sum: u64,
    waited_us: u128,
}

/// Reads all of an object as often as is asked for, and adds its words up.
#[stride::function]
fn walks(bucket: String, key: String, times: u32) -> Result<Walked, Failure> {
    let mut object = objects::open(&bucket, &key)?;
    let mut walked = Walked { bytes: 0, sum: 0, waited_us: 0 };
    let mut waited = Duration::ZERO;
    for _ in 0..times {
        object.rewind()?;
        loop {
            let began = now();
            let piece = object.fill_buf()?;
            waited += began.elapsed();
            if piece.is_empty() {
                break;
            }
            let (words, rest) = piece.as_chunks::<8>();
            let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            walked.sum = rest.iter().fold(walked.sum.wrapping_add(sum), |sum, byte| sum.wrapping_add((*byte).into()));
            walked.bytes += piece.len();
            let read = piece.len();
            object.consume(read);
        }
    }
    walked.waited_us = waited.as_micros();
    Ok(walked)
}

#[expect(clippy::disallowed_methods, reason = "a guest's only clock is the host's")]
fn now() -> Instant {
    Instant::now()
}

#[stride::function]
fn lists(bucket: String, prefix: String) -> Result<Vec<String>, Failure> {
    objects::list(&bucket, &prefix).map(|entry| entry.map(|entry| entry.key)).collect()
}

/// Puts a text; the answer is its version.
#[stride::function]
fn puts(bucket: String, key: String, text: String) -> Result<u64, Failure> {
    Ok(objects::put(&bucket, &key, "text/plain", text.as_bytes())?.version)
}

#[stride::function]
fn deletes(bucket: String, key: String) -> Result<(), Failure> {
    objects::delete(&bucket, &key)
}

/// Has an object open so many times at once.
#[stride::function]
fn opens_often(bucket: String, key: String, times: u32) -> Result<usize, Failure> {
    let open: Vec<Object> = (0..times).map(|_| objects::open(&bucket, &key)).collect::<Result<_, _>>()?;
    Ok(open.len())
}

/// An agent that keeps an object open from turn to turn.
#[derive(Default, Serialize, Deserialize)]
struct Librarian {
    turns: u64,
    #[serde(skip)]
    open: Option<Object>,
}

#[stride::agent]
impl Librarian {
    /// Opens an object and reads its first bytes.
    fn begin(&mut self, bucket: String, key: String, length: usize) -> Result<String, Failure> {
        self.open = Some(objects::open(&bucket, &key)?);
        self.go_on(length)
    }

    /// Reads on in what is open.
    fn go_on(&mut self, length: usize) -> Result<String, Failure> {
        self.turns += 1;
        let object = self.open.as_mut();
        let object = object.ok_or_else(|| Failure::new(Code::GuestError, "nothing is open"))?;
        let offset = object.stream_position()?;
        let read = object.read_at(offset, length)?;
        object.seek(SeekFrom::Current(i64::try_from(read.len()).unwrap_or(i64::MAX)))?;
        text_of(read)
    }

    /// May read, but not put.
    fn copies(&self, bucket: String, key: String, to: String) -> Result<u64, Failure> {
        let bytes = objects::open(&bucket, &key)?.read_all()?;
        if to.is_empty() {
            return Ok(bytes.len() as u64);
        }
        Ok(objects::put(&to, &key, "text/plain", &bytes)?.version)
    }

    /// Puts, and fails.
    fn puts_then_fails(&mut self, bucket: String, key: String) -> Result<(), Failure> {
        objects::put(&bucket, &key, "", b"from a turn that failed")?;
        Err(Failure::new(Code::GuestError, "after putting"))
    }
}
