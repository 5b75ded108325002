//! What guests print: kept line by line with the call that printed it, bounded, and passed on to `tracing`.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use stride_ids::{CallId, Name};
use stride_sim::{Clock, Timestamp};
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// How many lines a node keeps.
const LINES_MAX: usize = 10_000;
/// How much of one line is kept, in bytes.
const LINE_LEN_MAX: usize = 4_096;
/// How much of a run's stderr explains a trap, in bytes.
const EXPLANATION_LEN_MAX: usize = 1_024;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its usual name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line that a guest printed.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Its number on this node since the node started, from 1.
    pub seq: u64,
    /// When it was printed.
    pub at: Timestamp,
    /// Whose component it was.
    pub tenant: Name,
    /// Which component.
    pub component: Name,
    /// During which call or turn.
    pub call: CallId,
    /// As part of which trace, as a `traceparent`.
    pub trace: Option<String>,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, without the line's end.
    pub text: String,
}

/// The newest lines of all guests on a node.
#[derive(Debug)]
pub struct Logs {
    clock: Clock,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    newest: u64,
    kept: VecDeque<LogLine>,
}

impl Logs {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, lines: Mutex::default() }
    }

    /// The kept lines of a tenant after line `after`, oldest first, `limit` at most.
    pub fn read(&self, tenant: &Name, component: Option<&Name>, after: u64, limit: usize) -> Vec<LogLine> {
        let lines = self.lines.lock();
        let wanted = |line: &&LogLine| {
            line.seq > after && line.tenant == *tenant && component.is_none_or(|component| line.component == *component)
        };
        lines.kept.iter().filter(wanted).take(limit).cloned().collect()
    }

    fn write(&self, origin: &Origin, stream: Stream, text: String) {
        tracing::info!(target: "stride::guest", component = %origin.component, call = %origin.call, trace = origin.trace, stream = stream.as_str(), "{text}");
        let mut lines = self.lines.lock();
        lines.newest += 1;
        let line = LogLine {
            seq: lines.newest,
            at: self.clock.timestamp(),
            tenant: origin.tenant.clone(),
            component: origin.component.clone(),
            call: origin.call,
            trace: origin.trace.clone(),
            stream,
            text,
        };
        if lines.kept.len() == LINES_MAX {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    }
}

/// Who is printing.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) tenant: Name,
    pub(crate) component: Name,
    pub(crate) call: CallId,
    pub(crate) trace: Option<String>,
}

/// What one instance prints.
#[derive(Clone)]
pub(crate) struct Output(Arc<Shared>);

struct Shared {
    logs: Arc<Logs>,
    state: Mutex<State>,
}

struct State {
    origin: Origin,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The beginning of what the current run wrote to stderr.
    explanation: Vec<u8>,
}

impl Output {
    pub(crate) fn new(logs: Arc<Logs>, origin: Origin) -> Self {
        let state = State { origin, stdout: Vec::new(), stderr: Vec::new(), explanation: Vec::new() };
        Self(Arc::new(Shared { logs, state: Mutex::new(state) }))
    }

    pub(crate) fn stream(&self, stream: Stream) -> OutputTo {
        OutputTo { output: self.clone(), stream }
    }

    /// From now on lines belong to another call.
    pub(crate) fn begin(&self, call: CallId, trace: Option<String>) {
        let mut state = self.0.state.lock();
        (state.origin.call, state.origin.trace) = (call, trace);
        state.explanation.clear();
    }

    /// Ends open lines.
    pub(crate) fn end(&self) {
        let mut state = self.0.state.lock();
        let State { origin, stdout, stderr, .. } = &mut *state;
        for (stream, rest) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            if !rest.is_empty() {
                self.0.logs.write(origin, stream, text_of(&std::mem::take(rest)));
            }
        }
    }

    /// What the current run wrote to stderr, on one line.
    pub(crate) fn explanation(&self) -> String {
        let text = String::from_utf8_lossy(&self.0.state.lock().explanation).into_owned();
        // A panic ends in how to get a backtrace, which the host adds anyway.
        let said = text.split("note: run with `RUST_BACKTRACE").next().unwrap_or_default();
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.0.state.lock();
        let State { origin, stdout, stderr, explanation } = &mut *state;
        if stream == Stream::Stderr {
            let room = EXPLANATION_LEN_MAX - explanation.len();
            explanation.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let open = if stream == Stream::Stdout { stdout } else { stderr };
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LINE_LEN_MAX.saturating_sub(open.len());
            open.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.0.logs.write(origin, stream, text_of(&std::mem::take(open)));
            }
        }
    }
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

/// One of the two streams of an instance.
#[derive(Clone)]
pub(crate) struct OutputTo {
    output: Output,
    stream: Stream,
}

impl IsTerminal for OutputTo {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputTo {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only the older and newer WASI versions ask for this one; guests use 0.2, which asks for `p2_stream`.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for OutputTo {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputTo {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> (Arc<Logs>, Output) {
        let logs = Arc::new(Logs::new(Clock::manual()));
        let origin =
            Origin { tenant: Name::default_tenant(), component: Name::new("c").unwrap(), call: CallId(1), trace: None };
        (logs.clone(), Output::new(logs, origin))
    }

    fn texts(logs: &Logs) -> Vec<(u64, String)> {
        logs.read(&Name::default_tenant(), None, 0, usize::MAX).into_iter().map(|l| (l.call.0, l.text)).collect()
    }

    #[test]
    fn lines_belong_to_the_call_that_printed_them() {
        let (logs, output) = output();
        output.write(Stream::Stdout, b"one\ntw");
        output.write(Stream::Stdout, b"o\nthree");
        output.end();
        output.begin(CallId(2), None);
        output.write(Stream::Stdout, b"four\n");
        let expected = [(1, "one"), (1, "two"), (1, "three"), (2, "four")].map(|(c, t)| (c, t.to_owned()));
        assert_eq!(texts(&logs), expected);
    }

    #[test]
    fn a_guest_cannot_fill_memory_by_printing() {
        let (logs, output) = output();
        output.write(Stream::Stdout, &vec![b'x'; 10 * LINE_LEN_MAX]);
        output.write(Stream::Stderr, &vec![b'x'; 10 * LINE_LEN_MAX]);
        output.end();
        for _ in 0..LINES_MAX {
            output.write(Stream::Stdout, b"y\n");
        }
        let lines = texts(&logs);
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines.iter().all(|(_, text)| text.len() <= LINE_LEN_MAX));
        assert!(output.explanation().len() <= EXPLANATION_LEN_MAX);
    }

    #[test]
    fn a_tenant_reads_only_its_own_lines() {
        let (logs, output) = output();
        output.write(Stream::Stdout, b"mine\n");
        assert!(logs.read(&Name::new("other").unwrap(), None, 0, 10).is_empty());
        assert!(logs.read(&Name::default_tenant(), Some(&Name::new("d").unwrap()), 0, 10).is_empty());
        assert!(logs.read(&Name::default_tenant(), None, 1, 10).is_empty());
    }
}
