//! Failures as RFC 9457 problem details.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use stride_ids::{Code, Failure};
use stride_runs::{Refused, WrongAt};

/// A failure on its way out.
#[derive(Debug)]
pub(crate) struct Problem {
    failure: Failure,
    /// Where HTTP has a status of its own for something that shares its code with others.
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// All that is wrong with a flow.
    problems: Vec<WrongAt>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: Code,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [WrongAt],
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self { failure, status: None, headers: HeaderMap::new(), problems: Vec::new() }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let problems = match &refused {
            Refused::Problems(problems) => problems.iter().cloned().collect(),
            Refused::Failed(_) => Vec::new(),
        };
        Self { problems, ..Self::from(Failure::from(refused)) }
    }
}

impl Problem {
    /// The same under another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same with one more header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Failure { code, message } = &self.failure;
        let status = self.status.unwrap_or(status_of(*code));
        let body = Body {
            r#type: format!("urn:stride:problem:{code}"),
            title: title_of(*code),
            status: status.as_u16(),
            code: *code,
            detail: message,
            problems: &self.problems,
        };
        let body = serde_json::to_vec(&body).expect("a problem always encodes");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if *code == Code::Overloaded {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidRequest => StatusCode::BAD_REQUEST,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::GuestTrap | Code::LimitMemory => StatusCode::BAD_GATEWAY,
        Code::GuestError => StatusCode::UNPROCESSABLE_ENTITY,
        Code::LimitTime | Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::CapabilityDenied => StatusCode::FORBIDDEN,
        Code::ReentrantCall | Code::Conflict => StatusCode::CONFLICT,
        Code::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn title_of(code: Code) -> &'static str {
    match code {
        Code::NotFound => "There is nothing of that name",
        Code::InvalidRequest => "The request is wrong",
        Code::PayloadTooLarge => "The payload is too large",
        Code::GuestTrap => "The guest trapped",
        Code::GuestError => "The guest answered with an error",
        Code::LimitMemory => "The guest needed more memory than its limit",
        Code::LimitTime => "The guest ran longer than its limit",
        Code::CapabilityDenied => "The guest is not allowed to do that",
        Code::ReentrantCall => "The call would come back to an agent that waits for it",
        Code::Conflict => "The request contradicts what is stored",
        Code::Overloaded => "A queue is full",
        Code::DeadlineExceeded => "The deadline passed",
        Code::Unavailable => "The node cannot do this now",
        _ => "Something is wrong with the node",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_a_title_of_its_own() {
        let mut titles: Vec<_> = Code::ALL.iter().map(|code| title_of(*code)).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| status_of(*code).as_u16() >= 400));
    }

    #[test]
    fn an_overloaded_answer_says_when_to_come_back() {
        let response = Problem::from(Failure::new(Code::Overloaded, "full")).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
