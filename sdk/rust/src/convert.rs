//! A message as arguments, and a result as the answer. JSON both ways, unless a [`Payload`] says otherwise.

use std::{any::Any, error::Error, fmt::Display, io};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    failure::{Code, Failure},
    payload::Payload,
};

/// Decodes the only argument from the body. `name` and `expected`, its type, are for whoever got it wrong.
pub fn one_argument<T: DeserializeOwned>(input: &Payload, name: &str, expected: &str) -> Result<T, Failure> {
    serde_json::from_slice(&input.body).map_err(|e| {
        let hint = hint(&input.body, expected, &e);
        invalid(format!("the body has to be JSON for the argument `{name}` of type `{expected}`: {e}{hint}"))
    })
}

/// Decodes several arguments from a JSON array.
pub fn arguments<T: DeserializeOwned>(input: &Payload, names: &str, expected: &str) -> Result<T, Failure> {
    serde_json::from_slice(&input.body).map_err(|e| {
        let hint = if input.body.is_empty() { " (the body is empty)" } else { "" };
        invalid(format!("the body has to be a JSON array of the arguments [{names}] of types [{expected}]: {e}{hint}"))
    })
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}

/// The two mistakes that everybody makes once.
fn hint(body: &[u8], expected: &str, error: &serde_json::Error) -> &'static str {
    // Numbers and bool are the types with a small first letter, and quotes would not help there.
    let may_be_text = expected.starts_with(char::is_uppercase);
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => " (the body is empty)",
        // Nothing in JSON begins like this but `true`, `false` and `null`, so most likely it is a bare text.
        Some(byte) if error.is_syntax() && may_be_text && !b"{[\"-0123456789".contains(byte) => {
            " (a text needs quotes: \"...\")"
        }
        Some(_) => "",
    }
}

/// A result as JSON.
pub fn reply<T: Serialize + ?Sized>(value: &T) -> Result<Payload, Failure> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Failure::new(Code::Internal, format!("the reply cannot be written as JSON: {e}")))?;
    Ok(Payload::json(bytes))
}

/// An error of any type as a failure: a [`Failure`] stays what it is, also in a box or an [`io::Error`]; everything else is the
/// guest's own error.
pub fn failure<E: Display + 'static>(error: E) -> Failure {
    let message = error.to_string();
    let error: Box<dyn Any> = Box::new(error);
    let error = match error.downcast::<Failure>() {
        Ok(failure) => return *failure,
        Err(other) => other,
    };
    let error = match error.downcast::<io::Error>() {
        Ok(error) => return Failure::from(*error),
        Err(other) => other,
    };
    let boxed = match error.downcast::<Box<dyn Error + Send + Sync>>() {
        Ok(boxed) => Some(*boxed as Box<dyn Error>),
        Err(other) => other.downcast::<Box<dyn Error>>().ok().map(|boxed| *boxed),
    };
    match boxed.map(|boxed| boxed.downcast::<Failure>()) {
        Some(Ok(failure)) => *failure,
        _ => Failure::new(Code::GuestError, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str, expected: &str, told: &[&str]) {
        let failure = one_argument::<T>(&Payload::json(body), "it", expected).unwrap_err();
        assert_eq!(failure.code, Code::InvalidRequest);
        for part in ["argument `it`", expected].iter().chain(told) {
            assert!(failure.message.contains(part), "{failure}");
        }
    }

    #[test]
    fn an_argument_that_does_not_fit_says_what_would() {
        refused::<String>("hello", "String", &["(a text needs quotes"]);
        refused::<u64>("", "u64", &["(the body is empty)"]);
        refused::<u64>("\"five\"", "u64", &["invalid type: string \"five\""]);
        refused::<u64>("-1", "u64", &["-1"]);
        refused::<u64>("5 6", "u64", &["trailing"]);
        assert_eq!(one_argument::<u64>(&Payload::json(" 5\n"), "it", "u64").unwrap(), 5);
    }

    #[test]
    fn quotes_are_proposed_only_where_they_would_help() {
        for (body, expected) in [("five", "u64"), ("{not json", "String"), ("[1", "String"), ("\"open", "String")] {
            let failure = one_argument::<String>(&Payload::json(body), "it", expected).unwrap_err();
            assert!(!failure.message.contains("needs quotes"), "{failure}");
        }
    }

    #[test]
    fn several_arguments_are_an_array_of_as_many() {
        let several = |body: &str| arguments::<(u64, String)>(&Payload::json(body), "n, s", "u64, String");
        assert_eq!(several("[1, \"a\"]").unwrap(), (1, "a".into()));
        for wrong in ["[1]", "[1, \"a\", 2]", "1", "", "{}"] {
            let failure = several(wrong).unwrap_err();
            assert_eq!(failure.code, Code::InvalidRequest);
            assert!(failure.message.contains("[n, s]") && failure.message.contains("[u64, String]"), "{failure}");
        }
    }

    #[test]
    fn results_are_json_and_nothing_is_null() {
        assert_eq!(reply("a").unwrap(), Payload::json("\"a\""));
        assert_eq!(reply(&()).unwrap(), Payload::json("null"));
        assert_eq!(reply(&Some(5)).unwrap(), Payload::json("5"));
    }

    #[test]
    fn a_failure_keeps_its_code_and_other_errors_become_guest_errors() {
        let denied = || Failure::new(Code::CapabilityDenied, "no");
        assert_eq!(failure(denied()), denied());
        assert_eq!(failure(Box::<dyn Error>::from(denied())), denied());
        assert_eq!(failure(Box::<dyn Error + Send + Sync>::from(denied())), denied());
        assert_eq!(failure(io::Error::other(denied())), denied());
        let own = Failure::new(Code::GuestError, "out of luck");
        assert_eq!(failure(io::Error::other("out of luck")), own);
        assert_eq!(failure("out of luck"), own);
        assert_eq!(failure(Box::<dyn Error>::from("out of luck")), own);
    }
}
