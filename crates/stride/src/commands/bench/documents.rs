//! The documents of the prediction case: what the authors of this machine's crates wrote about them, which is there wherever
//! Stride was built.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, ensure};
use models::blacklist::SEPARATOR;

/// About what a document has, in bytes: it ends with the line that reaches this.
const DOCUMENT_LEN: usize = 4_096;
/// A line can be so long that it makes a document larger than this; it is left out.
const DOCUMENT_LEN_MAX: usize = 5_120;
/// Documents in a batch, as in the paper.
const BATCH: usize = 10;
const BATCHES_MAX: usize = 32;

/// Documents in batches, and the words that are to be replaced in them.
pub(crate) struct Documents {
    pub(crate) batches: Vec<Vec<u8>>,
    /// Separated by spaces.
    pub(crate) words: String,
    pub(crate) words_count: usize,
}

impl Documents {
    /// Cuts the Markdown files of all crates that Cargo has unpacked.
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let unpacked = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
        let pattern = format!("{}/*/*/*.md", glob::Pattern::escape(&unpacked.to_string_lossy()));
        let mut documents = Vec::new();
        for path in glob::glob(&pattern)? {
            // What is not text is no document.
            let Ok(text) = String::from_utf8(std::fs::read(path?)?) else { continue };
            cut(&text, &mut documents);
            if documents.len() >= BATCH * BATCHES_MAX {
                break;
            }
        }
        let separator = [SEPARATOR];
        let batches: Vec<_> =
            documents.chunks_exact(BATCH).take(BATCHES_MAX).map(|ten| ten.join(&separator[..])).collect();
        ensure!(!batches.is_empty(), "{} has not enough text; build something with Cargo", unpacked.display());
        let words = dirty(&batches);
        Ok(Self { batches, words_count: words.len(), words: words.join(" ") })
    }
}

fn cut(text: &str, documents: &mut Vec<Vec<u8>>) {
    let mut document = Vec::new();
    for line in text.split_inclusive('\n') {
        document.extend(line.bytes().filter(|byte| *byte != SEPARATOR));
        if document.len() >= DOCUMENT_LEN {
            let whole = std::mem::take(&mut document);
            if whole.len() <= DOCUMENT_LEN_MAX {
                documents.push(whole);
            }
        }
    }
}

/// Every twentieth word, in the order of the alphabet: nobody has to agree on what is dirty.
fn dirty(batches: &[Vec<u8>]) -> Vec<String> {
    let words = batches.iter().flat_map(|batch| batch.split(|byte| !byte.is_ascii_alphabetic()));
    let words: BTreeSet<_> = words.filter(|word| word.len() > 2).map(<[u8]>::to_ascii_lowercase).collect();
    words.into_iter().step_by(20).filter_map(|word| String::from_utf8(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_lines_and_what_is_too_short_or_too_long_is_left_out() {
        let line = format!("{}\n", "a".repeat(1_023));
        let mut documents = Vec::new();
        cut(&line.repeat(9), &mut documents);
        assert_eq!(documents.iter().map(Vec::len).collect::<Vec<_>>(), [4_096, 4_096]);
        cut(&"b".repeat(DOCUMENT_LEN_MAX + 1), &mut documents);
        assert_eq!(documents.len(), 2);
    }

    #[test]
    fn a_twentieth_of_the_words_is_dirty() {
        let text: String = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}{a}\n"))).collect();
        let words = dirty(&[text.into_bytes()]);
        assert_eq!((words.len(), words[0].as_str(), words[1].as_str()), ((26 * 26usize).div_ceil(20), "aaa", "aua"));
    }
}
