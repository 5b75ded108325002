//! Conditions of a request: go on only if the object has this tag, or another one, or none.

use serde::{Deserialize, Serialize};

use crate::chunk::ETag;

/// The tags that a condition names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tags {
    /// `*`: any, so what counts is whether there is an object.
    Any,
    /// One of these.
    OneOf(Vec<ETag>),
}

impl Tags {
    fn matches(&self, current: Option<&ETag>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.contains(current),
        }
    }
}

/// What has to be true of the object that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Its tag is one of these.
    pub if_match: Option<Tags>,
    /// Its tag is none of these.
    pub if_none_match: Option<Tags>,
}

/// Which condition is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmet {
    /// `If-Match`
    IfMatch,
    /// `If-None-Match`
    IfNoneMatch,
}

impl Conditions {
    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the conditions against the tag of the object that is there, if there is one.
    ///
    /// # Errors
    /// The first condition that is not met.
    pub fn check(&self, current: Option<&ETag>) -> Result<(), Unmet> {
        if self.if_match.as_ref().is_some_and(|tags| !tags.matches(current)) {
            return Err(Unmet::IfMatch);
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.matches(current)) {
            return Err(Unmet::IfNoneMatch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_met_as_http_means_them() {
        let (here, other) = (ETag::of(b"", 1), ETag::of(b"", 2));
        let one = |tag| Some(Tags::OneOf(vec![tag]));
        let any = || Some(Tags::Any);
        for (if_match, if_none_match, current, outcome) in [
            (None, None, None, Ok(())),
            (None, None, Some(here), Ok(())),
            (any(), None, Some(here), Ok(())),
            (any(), None, None, Err(Unmet::IfMatch)),
            (one(here), None, Some(here), Ok(())),
            (one(other), None, Some(here), Err(Unmet::IfMatch)),
            (one(other), None, None, Err(Unmet::IfMatch)),
            (None, any(), None, Ok(())),
            (None, any(), Some(here), Err(Unmet::IfNoneMatch)),
            (None, one(other), Some(here), Ok(())),
            (None, one(here), Some(here), Err(Unmet::IfNoneMatch)),
            (one(here), one(here), Some(here), Err(Unmet::IfNoneMatch)),
            (Some(Tags::OneOf(vec![])), None, Some(here), Err(Unmet::IfMatch)),
        ] {
            let conditions = Conditions { if_match, if_none_match };
            assert_eq!(conditions.check(current.as_ref()), outcome, "{conditions:?} {current:?}");
        }
    }
}
