//! A thin HTTP client of a node: paths, headers, and problems as errors. It never retries; who calls knows what may be
//! repeated.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use stride_ids::{Code, Name};

use crate::{
    cli::{DEFAULT_URL, NodeArgs},
    report::Trouble,
};

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer, or only half of one.
    #[error("the node at {url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The node answered with a problem.
    #[error("{code}: {detail}")]
    Refused {
        /// The stable code. A text, because a newer node may know codes that this version does not.
        code: String,
        detail: String,
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// The code, for lists of failures.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { code, .. } => code,
        }
    }

    /// Whether it is worth trying again, and when.
    pub(crate) fn overloaded(&self) -> Option<Duration> {
        match self {
            Self::Refused { code, retry_after, .. } if code == Code::Overloaded.as_str() => {
                Some(retry_after.unwrap_or(Duration::from_secs(1)))
            }
            _ => None,
        }
    }
}

/// A body and what it is.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    /// The node knew the answer from an earlier call.
    pub(crate) is_memoised: bool,
}

impl Reply {
    pub(crate) fn is_json(&self) -> bool {
        stride_maps::line::is_json(&self.content_type)
    }
}

/// Talks to one node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    pub(crate) fn new(node: &NodeArgs) -> anyhow::Result<Self> {
        let wrong = |why: &str| Trouble::usage(format!("`{}` is not the address of a node", node.url)).why(why);
        // An empty variable is how a shell says that there is none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let url = if node.url.is_empty() { DEFAULT_URL } else { &node.url };
        let base: Url = url.parse().map_err(|_| wrong("it is not a URL such as http://127.0.0.1:7373"))?;
        if base.scheme() != "http" {
            return Err(wrong("this version speaks http only; for https, put a proxy in front").into());
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = given(&node.token) {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| Trouble::usage("the token has characters that no header can carry"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(tenant) = given(&node.tenant) {
            let tenant = Name::new(&tenant).map_err(|e| Trouble::usage(e.to_string()))?;
            headers.insert("stride-tenant", HeaderValue::from_str(tenant.as_str())?);
        }
        // A node is named outright, usually on this machine: a proxy meant for the web would only be in the way.
        // Nor is there TLS, so no certificates are read.
        let http = reqwest::Client::builder().default_headers(headers).no_proxy().tls_certs_only([]).build()?;
        Ok(Self { http, base })
    }

    /// Where the node is, as people write it.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request for `/v1/` and these segments, which are encoded here. No segment may be `.` or `..`, see `target`.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http URLs have paths").pop_if_empty().push("v1").extend(path);
        self.http.request(method, url)
    }

    /// Sends a request. Everything but a success is an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        Err(refusal(status, retry_after.map(Duration::from_secs), &body))
    }

    /// Sends a request and reads the whole reply.
    pub(crate) async fn reply(&self, request: RequestBuilder) -> Result<Reply, Error> {
        let response = self.send(request).await?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let is_memoised = response.headers().contains_key("stride-memoised");
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        Ok(Reply { content_type, body, is_memoised })
    }

    /// Sends a request and reads the reply as JSON of a known shape.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let reply = self.reply(request).await?;
        let url = self.url();
        serde_json::from_slice(&reply.body).map_err(|e| {
            let next = "see that STRIDE_URL names a Stride node of this version";
            Trouble::failed(format!("{url} did not answer as a node does")).why(e.to_string()).next(next).into()
        })
    }

    /// No answer, or only half of one.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Error {
        // The last cause is the one that says something: connection refused, reset, no such host.
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            why = deeper.to_string();
            cause = deeper.source();
        }
        Error::Unreachable { url: self.url().to_owned(), why }
    }
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        #[serde(default)]
        detail: String,
    }
    match serde_json::from_slice(body) {
        Ok(Problem { code, detail }) => Error::Refused { code, detail, retry_after },
        Err(_) => {
            let beginning: String = String::from_utf8_lossy(body).chars().take(200).collect();
            let detail = format!("the answer {status} is not from a Stride node: {beginning}");
            Error::Refused { code: Code::Internal.as_str().to_owned(), detail, retry_after }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        stride_data::use_tls();
        Client::new(&NodeArgs { url: url.to_owned(), token: None, tenant: None }).unwrap()
    }

    #[test]
    fn a_key_with_a_slash_stays_one_segment() {
        for base in ["http://127.0.0.1:7373", "http://127.0.0.1:7373/"] {
            let request = client(base).request(Method::GET, &["agents", "room", "a/b ü", "state"]).build().unwrap();
            assert_eq!(request.url().path(), "/v1/agents/room/a%2Fb%20%C3%BC/state");
        }
    }

    #[test]
    fn a_problem_keeps_its_code_and_anything_else_is_internal() {
        let body = br#"{"code":"overloaded","detail":"full"}"#;
        let error = refusal(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(3)), body);
        assert_eq!((error.code(), error.overloaded()), ("overloaded", Some(Duration::from_secs(3))));
        let error = refusal(StatusCode::BAD_GATEWAY, None, b"<html>");
        assert_eq!((error.code(), error.overloaded()), ("internal", None));
    }

    #[test]
    fn an_empty_variable_counts_as_none() {
        stride_data::use_tls();
        let empty = || Some(String::new());
        let client = Client::new(&NodeArgs { url: String::new(), token: empty(), tenant: empty() }).unwrap();
        assert_eq!(client.url(), DEFAULT_URL);
    }

    #[test]
    fn an_address_that_is_none_is_wrong_usage() {
        for url in ["nowhere", "https://example.com", "ftp://example.com"] {
            let error = Client::new(&NodeArgs { url: url.into(), token: None, tenant: None }).unwrap_err();
            assert!(error.to_string().contains(url), "{error}");
        }
    }
}
