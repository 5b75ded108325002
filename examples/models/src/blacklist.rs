//! The model of the prediction case: a list of dirty words, which it replaces by punctuation marks.
//!
//! It works on bytes in place, because a batch of documents is one piece of text: whatever separates them is in no word.
//! A text that was UTF-8 stays UTF-8.

/// What stands between the documents of a batch, and between a model and a batch that travel together.
pub const SEPARATOR: u8 = 0x0c;

const MARKS: &[u8] = b"!@#$%&*";

/// Words, to be found by the hash of their letters.
#[derive(Debug, Default)]
pub struct Blacklist {
    /// A power of two of them, most of them empty, so that most words of a text are settled without comparing any.
    buckets: Vec<Vec<Box<[u8]>>>,
}

impl Blacklist {
    /// A model of these words, which are separated by white space. Capitals do not matter.
    pub fn new(words: &str) -> Self {
        let count = words.split_ascii_whitespace().count();
        let mut buckets = vec![Vec::new(); (count * 8).next_power_of_two()];
        for word in words.split_ascii_whitespace() {
            let word = word.to_ascii_lowercase().into_bytes().into_boxed_slice();
            let hash = word.iter().fold(HASH_OF_NOTHING, |hash, byte| hash_with(hash, *byte));
            let bucket = bucket_of(hash, buckets.len());
            buckets[bucket].push(word);
        }
        Self { buckets }
    }

    /// Replaces the words of `text` that are dirty.
    pub fn clean(&self, text: &mut [u8]) {
        let (mut begin, mut hash) = (0, HASH_OF_NOTHING);
        for at in 0..text.len() {
            if is_letter(text[at]) {
                hash = hash_with(hash, text[at]);
                continue;
            }
            self.settle(&mut text[begin..at], hash);
            (begin, hash) = (at + 1, HASH_OF_NOTHING);
        }
        self.settle(&mut text[begin..], hash);
    }

    fn settle(&self, word: &mut [u8], hash: u32) {
        if word.is_empty() || self.buckets.is_empty() {
            return;
        }
        let dirty = &self.buckets[bucket_of(hash, self.buckets.len())];
        if dirty.iter().any(|dirty| dirty.eq_ignore_ascii_case(word)) {
            word.iter_mut().zip(MARKS.iter().cycle()).for_each(|(letter, mark)| *letter = *mark);
        }
    }
}

const HASH_OF_NOTHING: u32 = 0x811c_9dc5;

/// FNV-1a over letters without their case: words are short, and most letters are read only for this.
fn hash_with(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193)
}

fn bucket_of(hash: u32, buckets: usize) -> usize {
    // The high bits depend on every letter, the low ones only on low ones.
    (hash ^ hash >> 15) as usize & (buckets - 1)
}

/// All that is not ASCII counts as a letter, so that no character is ever cut.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn cleaned(words: &str, text: &str, expected: &str) {
        let mut bytes = text.as_bytes().to_vec();
        Blacklist::new(words).clean(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn dirty_words_become_marks_of_their_length_and_the_rest_stays() {
        cleaned("foo barbazquux", "a foo, a Foo\u{c}a food; FOO", "a !@#, a !@#\u{c}a food; !@#");
        cleaned("foo barbazquux", "barbazquux-barbaz", "!@#$%&*!@#-barbaz");
    }

    #[test]
    fn capitals_do_not_matter_on_either_side() {
        cleaned("Foo", "foo FOO fOO", "!@# !@# !@#");
    }

    #[test]
    fn text_stays_utf_8_and_words_beyond_ascii_are_whole() {
        cleaned("weg stra\u{df}e", "weg, stra\u{df}e, Stra\u{df}en", "!@#, !@#$%&*, Stra\u{df}en");
    }

    #[test]
    fn nothing_is_dirty_for_an_empty_list_and_nothing_is_there_in_an_empty_text() {
        cleaned("", "all of it stays", "all of it stays");
        Blacklist::default().clean(&mut b"all".to_vec());
        cleaned("foo", "", "");
    }

    #[test]
    fn every_word_of_a_long_list_is_found() {
        let letters = |n: usize| n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
        let list: Vec<String> = (0..2_000).map(letters).collect();
        let model = Blacklist::new(&list.join("\n"));
        for word in &list {
            let mut text = word.clone().into_bytes();
            model.clean(&mut text);
            assert!(text.iter().all(|byte| MARKS.contains(byte)), "{word}");
        }
    }
}
