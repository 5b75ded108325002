//! The `Server-Timing` header: where the time of an answer went.

use std::{fmt::Write as _, time::Duration};

use axum::http::HeaderValue;

/// Formats phases as `queue;dur=0.012, run;dur=1.5`, in milliseconds.
pub(crate) fn server_timing(phases: &[(&str, Duration)]) -> HeaderValue {
    let mut text = String::with_capacity(96);
    for (name, took) in phases {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let micros = took.as_micros();
        write!(text, "{name};dur={}.{:03}", micros / 1000, micros % 1000).expect("writing to a String never fails");
    }
    HeaderValue::from_str(&text).expect("names and digits are valid in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_in_milliseconds() {
        let phases = [("queue", Duration::from_micros(12)), ("run", Duration::from_micros(1_500))];
        assert_eq!(server_timing(&phases), "queue;dur=0.012, run;dur=1.500");
    }
}
