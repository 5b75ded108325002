//! Counts the words of texts: `stride map words/count --over texts/ --split lines --reduce words/sum`.

use stride::prelude::*;

/// The words of one text or of some of its lines.
#[stride::function]
fn count(text: Payload) -> usize {
    String::from_utf8_lossy(&text.body).split_whitespace().count()
}

/// What several counts come to. A reduction calls it with some of them, and then with what those calls answered.
#[stride::function]
fn sum(counts: Vec<u64>) -> u64 {
    counts.into_iter().sum()
}
