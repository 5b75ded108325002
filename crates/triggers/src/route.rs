//! Routes: `POST /orders/{id}`, and which of them a request takes.

use std::{fmt, str::FromStr};

use stride_ids::{Code, Failure};

/// How many parts a path may have.
const SEGMENTS_MAX: usize = 32;
const EXAMPLE: &str = "write a method and a path, such as `POST /orders/{id}`";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Puts something in the place of what is there.
    Put,
    /// Changes what is there.
    Patch,
    /// Removes.
    Delete,
}

const METHODS: [(Method, &str); 5] = [
    (Method::Get, "GET"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Patch, "PATCH"),
    (Method::Delete, "DELETE"),
];

impl Method {
    fn as_str(self) -> &'static str {
        METHODS.iter().find(|(method, _)| *method == self).map_or("", |(_, text)| text)
    }
}

impl FromStr for Method {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        METHODS.iter().find(|(_, known)| *known == text).map(|(method, _)| *method).ok_or(())
    }
}

/// A method and the pattern of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Capture(String),
}

impl Segment {
    fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(literal) => Some(literal),
            Self::Capture(_) => None,
        }
    }
}

/// Why a text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no route: {why}")]
pub struct InvalidRoute {
    text: String,
    why: &'static str,
}

/// A request that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    /// What the parts in braces stand for, by their names.
    pub(crate) params: Vec<(String, String)>,
}

impl FromStr for Route {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let wrong = |why| InvalidRoute { text: text.chars().take(100).collect(), why };
        let (method, path) = text.split_once(' ').ok_or_else(|| wrong(EXAMPLE))?;
        let method = method.parse().map_err(|()| wrong("its method is GET, POST, PUT, PATCH or DELETE"))?;
        let path = path.trim().strip_prefix('/').ok_or_else(|| wrong("its path begins with `/`"))?;
        let mut segments = Vec::new();
        for part in path.split('/') {
            let segment = match part.strip_prefix('{').map(|rest| rest.strip_suffix('}')) {
                None if part.is_empty() || part.contains(['{', '}', '?', '#', ' ']) => return Err(wrong(EXAMPLE)),
                None => Segment::Literal(part.to_owned()),
                Some(Some(name)) if is_name(name) => Segment::Capture(name.to_owned()),
                Some(_) => return Err(wrong("in braces stands a name of letters, digits and `_`")),
            };
            if matches!(segment, Segment::Capture(_)) && segments.contains(&segment) {
                return Err(wrong("two parts in braces have the same name"));
            }
            segments.push(segment);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(wrong("its path has more than 32 parts"));
        }
        Ok(Self { method, segments })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Route {
    /// What a path is to this route, whatever the method; none if it is for another one. The parts are decoded.
    pub(crate) fn matches(&self, path: &[String]) -> Option<Routed> {
        let mut params = Vec::new();
        if path.len() != self.segments.len() {
            return None;
        }
        for (segment, part) in self.segments.iter().zip(path) {
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Capture(name) if !part.is_empty() => params.push((name.clone(), part.clone())),
                _ => return None,
            }
        }
        Some(Routed { params })
    }

    /// Two routes with the same shape take the same requests.
    pub(crate) fn shape(&self) -> (Method, Vec<Option<&str>>) {
        (self.method, self.segments.iter().map(Segment::literal).collect())
    }

    /// Of two routes that take a request, the one with the smaller value is meant: words come before braces.
    pub(crate) fn generality(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| segment.literal().is_none()).collect()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.as_str())?;
        f.write_str(" ")?;
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::Capture(name) => write!(f, "/{{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// The decoded parts of a path that begins with `/`.
///
/// # Errors
/// If a part is not UTF-8.
pub(crate) fn parts(path: &str) -> Result<Vec<String>, Failure> {
    let decoded = |part| percent_encoding::percent_decode_str(part).decode_utf8().map(|text| text.into_owned());
    let parts: Result<_, _> = path.trim_start_matches('/').split('/').map(decoded).collect();
    parts.map_err(|_| Failure::new(Code::InvalidRequest, "the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn a_route_takes_paths_of_its_shape_and_names_their_parts() {
        let of = |path: &str| route("POST /orders/{id}/items/{n}").matches(&parts(path).unwrap()).map(|r| r.params);
        let named = |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect());
        assert_eq!(of("/orders/a%2Fb/items/2"), named(&[("id", "a/b"), ("n", "2")]));
        for other in ["/orders/a", "/orders/a/items/", "/orders//items/2", "/order/a/items/2", "/orders/a/items/2/x"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn words_come_before_braces_and_names_make_no_difference() {
        let (word, braces) = (route("GET /orders/new"), route("GET /orders/{id}"));
        assert!(word.generality() < braces.generality());
        assert_eq!(braces.shape(), route("GET /orders/{key}").shape());
        assert_ne!(braces.shape(), route("PUT /orders/{id}").shape());
        assert_eq!(route("GET  /a/{b}").to_string(), "GET /a/{b}");
    }

    #[test]
    fn what_is_no_route_is_refused_with_why() {
        for (text, says) in [
            ("/orders", "POST /orders"),
            ("FETCH /orders", "GET, POST"),
            ("GET orders", "begins with `/`"),
            ("GET /a//b", "such as"),
            ("GET /a{b}", "such as"),
            ("GET /{a b}", "in braces"),
            ("GET /{a", "in braces"),
            ("GET /{a}/{a}", "the same name"),
            ("GET /a?b=c", "such as"),
        ] {
            let error = Route::from_str(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
