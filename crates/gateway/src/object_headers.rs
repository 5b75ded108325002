//! The headers of requests for objects: conditions and ranges.

use axum::http::{HeaderMap, header};
use stride_data::{Conditions, ETag, RangeSpec, Tags};
use stride_ids::Failure;

use crate::request::{invalid, text};

/// What has to be true of the object that is there.
pub(crate) fn conditions(headers: &HeaderMap) -> Result<Conditions, Failure> {
    let tags = |name: header::HeaderName, weak_too| {
        let text = text(headers, name.as_str())?;
        text.map(|text| tags(text, weak_too).ok_or_else(|| invalid(not_tags(name.as_str(), text)))).transpose()
    };
    // A weak tag means bytes that may differ, which is good enough to read something else and not to replace it.
    Ok(Conditions { if_match: tags(header::IF_MATCH, false)?, if_none_match: tags(header::IF_NONE_MATCH, true)? })
}

fn not_tags(header: &str, text: &str) -> String {
    let text: String = text.chars().take(64).collect();
    format!("the header {header} is `{text}`; use * or tags in quotes with commas between them, such as \"0123ab\"")
}

/// `*`, or a list of tags. What is in quotes and no tag of ours is a tag that nothing has.
fn tags(text: &str, weak_too: bool) -> Option<Tags> {
    if text.trim() == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (is_weak, quoted) = part.strip_prefix("W/").map_or((false, part), |strong| (true, strong));
        let tag = quoted.strip_prefix('"')?.strip_suffix('"')?;
        tags.extend(ETag::from_hex(tag).filter(|_| weak_too || !is_weak));
    }
    Some(Tags::OneOf(tags))
}

/// The range that is asked for, of an object with this tag. A unit that is not bytes and several ranges at once are
/// answered with everything, as the standard allows.
pub(crate) fn range(headers: &HeaderMap, etag: &ETag) -> Result<Option<RangeSpec>, Failure> {
    let Some(text) = text(headers, header::RANGE.as_str())? else { return Ok(None) };
    if let Some(only_if) = self::text(headers, header::IF_RANGE.as_str())?
        && only_if != quoted(etag)
    {
        return Ok(None);
    }
    let Some(ranges) = text.trim().strip_prefix("bytes=") else { return Ok(None) };
    if ranges.contains(',') {
        return Ok(None);
    }
    let wrong = || invalid(format!("the header Range is `{text}`; use bytes=FIRST-LAST, bytes=FIRST- or bytes=-COUNT"));
    let number = |text: &str| match text.bytes().all(|c| c.is_ascii_digit()) {
        // A number that is too large for one is past every end.
        true => Ok(text.parse().unwrap_or(u64::MAX)),
        false => Err(wrong()),
    };
    Ok(Some(match ranges.trim().split_once('-').ok_or_else(wrong)? {
        ("", "") => return Err(wrong()),
        ("", count) => RangeSpec::Last(number(count)?),
        (first, "") => RangeSpec::From(number(first)?),
        (first, last) => RangeSpec::Between(number(first)?, number(last)?),
    }))
}

/// A tag as HTTP writes it.
pub(crate) fn quoted(etag: &ETag) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    fn tag() -> ETag {
        ETag::from_hex(&"ab".repeat(32)).unwrap()
    }

    #[test]
    fn tags_are_read_as_the_standard_writes_them() {
        let (tag, strong) = (tag(), quoted(&tag()));
        let of = |text: &str| conditions(&with(header::IF_MATCH, text)).unwrap().if_match.unwrap();
        assert_eq!(of("*"), Tags::Any);
        assert_eq!(of(&strong), Tags::OneOf(vec![tag]));
        assert_eq!(of(&format!(" \"foreign\" , {strong},")), Tags::OneOf(vec![tag]));
        assert_eq!(of(&format!("W/{strong}")), Tags::OneOf(vec![]));
        let none = conditions(&with(header::IF_NONE_MATCH, &format!("W/{strong}"))).unwrap().if_none_match;
        assert_eq!(none, Some(Tags::OneOf(vec![tag])));
        for bad in ["abc", "\"abc", "W/abc", "'abc'"] {
            assert!(conditions(&with(header::IF_MATCH, bad)).is_err(), "{bad}");
        }
        assert!(conditions(&HeaderMap::new()).unwrap().is_empty());
    }

    #[test]
    fn ranges_are_read_as_the_standard_writes_them() {
        use RangeSpec::{Between, From, Last};
        let of = |text: &str| range(&with(header::RANGE, text), &tag());
        for (text, meant) in [
            ("bytes=0-4", Some(Between(0, 4))),
            ("bytes=5-", Some(From(5))),
            ("bytes=-3", Some(Last(3))),
            ("bytes=5-2", Some(Between(5, 2))),
            ("bytes=0-99999999999999999999999", Some(Between(0, u64::MAX))),
            ("lines=0-4", None),
            ("bytes=0-1,4-5", None),
        ] {
            assert_eq!(of(text).unwrap(), meant, "{text}");
        }
        for bad in ["bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=+1-2"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_answered_with_everything() {
        let mut headers = with(header::RANGE, "bytes=0-4");
        headers.insert(header::IF_RANGE, quoted(&tag()).parse().unwrap());
        assert!(range(&headers, &tag()).unwrap().is_some());
        assert_eq!(range(&headers, &ETag::from_hex(&"cd".repeat(32)).unwrap()).unwrap(), None);
    }
}
