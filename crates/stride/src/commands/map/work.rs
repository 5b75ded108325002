//! One input: read, call, and the line that says how it went.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, header::CONTENT_TYPE};
use stride_ids::{Code, Payload};
use stride_maps::line;
use stride_sim::{Chance, Clock};

use super::inputs::{Content, Input};
use crate::{
    client::{Client, Reply},
    target::FunctionTarget,
};

/// How long one input waits, all in all, for a node that is overloaded.
const OVERLOADED_MAX: Duration = Duration::from_secs(120);
/// The longest wait between two tries, whatever the node asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// How an input ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With this line; the node may have known the answer from an earlier call.
    Done { line: String, is_memoised: bool },
    /// With this line, for this reason.
    Failed { line: String, code: String },
    /// The map was stopped before its turn.
    Skipped,
}

/// Runs inputs.
#[derive(Debug)]
pub(crate) struct Worker {
    client: Client,
    target: FunctionTarget,
    clock: Clock,
    chance: Chance,
    stop: Arc<AtomicBool>,
}

struct Failed {
    code: String,
    message: String,
}

impl Failed {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.as_str().to_owned(), message: message.into() }
    }
}

impl Worker {
    pub(crate) fn new(client: Client, target: FunctionTarget, clock: Clock, stop: Arc<AtomicBool>) -> Self {
        Self { client, target, clock, chance: Chance::from_os(), stop }
    }

    pub(crate) async fn run(&self, input: Input) -> Outcome {
        if self.stop.load(Ordering::Relaxed) {
            return Outcome::Skipped;
        }
        let Input { name, content } = input;
        let outcome = match read(content).await {
            Ok((content_type, body)) => self.call(&content_type, body.into()).await,
            Err(failed) => Err(failed),
        };
        match outcome {
            Ok(Reply { content_type, body, is_memoised }) => {
                Outcome::Done { line: line::success(&name, &line::result(&content_type, &body)), is_memoised }
            }
            Err(Failed { code, message }) => Outcome::Failed { line: line::failure(&name, &code, &message), code },
        }
    }

    /// Calls the function; a node that is overloaded has not run it, so that is tried again.
    async fn call(&self, content_type: &str, body: bytes::Bytes) -> Result<Reply, Failed> {
        let mut waited = Duration::ZERO;
        loop {
            let request = self.client.request(Method::POST, &self.target.path());
            let request = request.header(CONTENT_TYPE, content_type).body(body.clone());
            let error = match self.client.reply(request).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match error.overloaded() {
                Some(asked) if waited < OVERLOADED_MAX && !self.stop.load(Ordering::Relaxed) => {
                    let wait = asked.min(RETRY_AFTER_MAX) + Duration::from_millis(self.chance.below(500));
                    self.clock.sleep(wait).await;
                    waited += wait;
                }
                _ => {
                    let message = match &error {
                        crate::client::Error::Refused { detail, .. } => detail.clone(),
                        unreachable @ crate::client::Error::Unreachable { .. } => unreachable.to_string(),
                    };
                    return Err(Failed { code: error.code().to_owned(), message });
                }
            }
        }
    }
}

/// The content type and the bytes of an input.
async fn read(content: Content) -> Result<(String, Vec<u8>), Failed> {
    let too_large = |bytes: u64| {
        let message = format!("it has {bytes} bytes or more; the limit is {}", Payload::LEN_MAX);
        Failed::new(Code::PayloadTooLarge, message)
    };
    match content {
        Content::Line(line) => Ok((Payload::JSON.to_owned(), line)),
        Content::TooLarge => Err(too_large(Payload::LEN_MAX as u64 + 1)),
        Content::Unreadable(why) => Err(unreadable(why)),
        Content::File { path, told } => {
            let content_type = format!("application/octet-stream; path=\"{}\"", encoded(&told));
            let read = tokio::task::spawn_blocking(move || {
                // A pipe or a device would never end.
                let status = std::fs::metadata(&path).map_err(|e| unreadable(e.to_string()))?;
                if !status.is_file() {
                    return Err(unreadable("it is not a file".into()));
                }
                if status.len() > Payload::LEN_MAX as u64 {
                    return Err(too_large(status.len()));
                }
                std::fs::read(&path).map_err(|e| unreadable(e.to_string()))
            });
            Ok((content_type, read.await.expect("reading a file does not panic")?))
        }
    }
}

fn unreadable(why: String) -> Failed {
    Failed { code: "unreadable".to_owned(), message: why }
}

/// A path for a header: everything but letters, digits, `-._~` and the slash is percent-encoded.
fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_into_a_header() {
        assert_eq!(encoded(Path::new("a-1.0/src/ü \"x\".rs")), "a-1.0/src/%C3%BC%20%22x%22.rs");
    }

    #[tokio::test]
    async fn what_is_too_large_or_no_file_fails_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(Payload::LEN_MAX as u64 + 1).unwrap();
        let file = |path: &Path| Content::File { path: path.to_owned(), told: "x".into() };
        assert_eq!(read(file(&large)).await.err().unwrap().code, "payload_too_large");
        assert_eq!(read(file(dir.path())).await.err().unwrap().code, "unreadable");
        assert_eq!(read(file(Path::new("/nowhere"))).await.err().unwrap().code, "unreadable");
    }
}
