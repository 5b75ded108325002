//! Bytes with a content type.

use crate::bindings::stride::guest::types as wit;

/// A message as it is, undecoded. Take it as an argument or return it to decide about bytes and content type yourself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The media type, with its parameters.
    pub content_type: String,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Payload {
    /// A JSON payload; the caller vouches for the bytes.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self { content_type: "application/json".into(), body: body.into() }
    }

    /// A parameter of the content type, such as `path` in `application/octet-stream; path="src/main.rs"`.
    /// Percent-encoding in it is decoded; quotes around it may be there or not, a `;` has to be encoded.
    ///
    /// ```
    /// let payload = stride::Payload { content_type: "text/plain; path=\"a%20b.rs\"".into(), body: vec![] };
    /// assert_eq!(payload.param("path").as_deref(), Some("a b.rs"));
    /// assert_eq!(payload.param("charset"), None);
    /// ```
    pub fn param(&self, name: &str) -> Option<String> {
        let parameters = self.content_type.split(';').skip(1);
        let mut pairs = parameters.filter_map(|parameter| parameter.trim().split_once('='));
        let (_, value) = pairs.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        percent_decode(value.trim_matches('"'))
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

impl From<wit::Payload> for Payload {
    fn from(payload: wit::Payload) -> Self {
        Self { content_type: payload.content_type, body: payload.body }
    }
}

impl From<Payload> for wit::Payload {
    fn from(payload: Payload) -> Self {
        Self { content_type: payload.content_type, body: payload.body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded_and_broken_ones_are_not_there() {
        let param = |content_type: &str| Payload { content_type: content_type.into(), body: vec![] }.param("path");
        assert_eq!(param("a/b; x=1; PATH=c%2Fd"), Some("c/d".into()));
        assert_eq!(param("a/b; path=\"%C3%BC\""), Some("ü".into()));
        for broken in ["a/b", "a/b; path", "a/b; path=%f", "a/b; path=%zz", "a/b; path=%+f", "a/b; path=%ff"] {
            assert_eq!(param(broken), None, "{broken}");
        }
    }
}
