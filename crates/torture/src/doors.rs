//! The way in: HTTP to nodes that may not answer. An answer is an answer; everything else leaves the outcome unknown.

use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use reqwest::{Client, StatusCode, multipart};
use serde_json::Value;
use stride_sim::Clock;

use crate::Error;

/// What came back.
#[derive(Debug)]
pub(crate) enum Said {
    Answer(Value),
    /// The guest said no.
    Refused,
    /// Nothing, or that it cannot be done now: it may have been done.
    Unknown,
}

/// Where the nodes are. A node that starts again may be elsewhere.
pub(crate) struct Doors {
    http: Client,
    clock: Clock,
    urls: RwLock<Vec<String>>,
    /// Answers that no fault explains.
    odd: Mutex<Vec<String>>,
}

/// Of how many odd answers the text is kept.
const ODD_MAX: usize = 100;

impl Doors {
    pub(crate) fn new(nodes: usize, clock: Clock) -> Self {
        // There may be a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: Client::new(), clock, urls: RwLock::new(vec![String::new(); nodes]), odd: Mutex::default() }
    }

    pub(crate) fn moved(&self, node: usize, url: String) {
        self.urls.write()[node] = url;
    }

    fn url(&self, node: usize, path: &str) -> String {
        format!("{}{path}", self.urls.read()[node])
    }

    /// Asks one node, for so long.
    pub(crate) async fn ask(&self, node: usize, path: &str, key: Option<&str>, body: String, limit: Duration) -> Said {
        let mut request = self.http.post(self.url(node, path)).body(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.clock.timeout(limit, async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.text().await?))
        });
        let Ok(Ok((status, text))) = answer.await else { return Said::Unknown };
        match status {
            StatusCode::OK => match serde_json::from_str(&text) {
                Ok(value) => Said::Answer(value),
                Err(_) => self.is_odd(path, status, &text),
            },
            StatusCode::UNPROCESSABLE_ENTITY => Said::Refused,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Said::Unknown
            }
            _ => self.is_odd(path, status, &text),
        }
    }

    fn is_odd(&self, path: &str, status: StatusCode, text: &str) -> Said {
        self.note(format!("{path} was answered {status}: {}", text.trim()));
        Said::Unknown
    }

    pub(crate) fn note(&self, odd: String) {
        let mut noted = self.odd.lock();
        if noted.len() < ODD_MAX && !noted.contains(&odd) {
            noted.push(odd);
        }
    }

    pub(crate) fn odd(&self) -> Vec<String> {
        self.odd.lock().clone()
    }

    /// What a node says at a path; none if it does not within `limit`.
    pub(crate) async fn get(&self, node: usize, path: &str, limit: Duration) -> Option<String> {
        let request = self.http.get(self.url(node, path));
        let text = async { request.send().await?.error_for_status()?.text().await };
        self.clock.timeout(limit, text).await.ok()?.ok()
    }

    /// Deploys a component at one node, for all.
    pub(crate) async fn deploy(&self, node: usize, component: Vec<u8>, manifest: String) -> Result<(), Error> {
        let part = multipart::Part::bytes(component);
        let form = multipart::Form::new().text("manifest", manifest).part("component", part);
        let response = self.http.post(self.url(node, "/v1/deployments")).multipart(form).send().await?;
        let status = response.status();
        if status == StatusCode::CREATED {
            return Ok(());
        }
        Err(Error::Deploy { said: format!("{status}: {}", response.text().await?) })
    }
}
