//! The paper's prediction case: batches of ten documents, from which a model removes dirty words. The same model, in the same
//! run: in a function, in an agent, behind a queue that is stored, and behind a bare ZeroMQ server.
//!
//! Every way has the same batches and gives the same bytes, which is checked. A function keeps nothing, so the model comes with each
//! batch; an agent keeps it. The queue is what the paper's Lambda had to use: the batch is stored before anybody looks at it, and so
//! is the answer, which the client asks for until it is there.

use anyhow::{Context as _, ensure};
use models::blacklist::{Blacklist, SEPARATOR};
use stride_agents::Ask;
use stride_ids::{Name, Payload};
use stride_runtime::{Call, ComponentSpec};
use stride_sim::Clock;

use super::{
    documents::Documents,
    node::Server,
    rig::{Rig, address},
    table::{Against, Figures, Latencies, ratio},
    traffic::{Connection, Request},
    zeromq::ZeroMq,
};

const ROUNDS: usize = 12;
const TEXT: &str = "text/plain";
/// How often an answer is asked for before the queue counts as stuck.
const POLLS_MAX: usize = 10_000;

/// A batch with what is to come back, in the forms that the ways need.
struct Batch {
    text: Vec<u8>,
    cleaned: Vec<u8>,
    with_model: Vec<u8>,
    to_function: Request,
    to_agent: Request,
    to_queue: Request,
    from_queue: Request,
}

/// Which ways there are, each with how long a batch took.
struct Ways {
    native: Latencies,
    zeromq: Latencies,
    agent: Latencies,
    function: Latencies,
    queue: Latencies,
    agent_in_process: Latencies,
    function_in_process: Latencies,
}

pub(crate) async fn measure(clock: &Clock, figures: &mut Figures, tiny: bool) -> anyhow::Result<()> {
    let Documents { batches: mut texts, words, words_count } = Documents::of_this_machine()?;
    if tiny {
        texts.truncate(2);
    }
    let dir = tempfile::tempdir()?;
    // Compiling libzmq is not for a test, and whoever cannot compile it sees the rest.
    let mut zeromq = None;
    if !tiny {
        let started = ZeroMq::predicting(&dir.path().join("zeromq"), &words, &texts);
        zeromq = started.inspect_err(|e| eprintln!("there is no ZeroMQ to compare with: {e:#}")).ok();
    }
    let node = Server::node(&dir.path().join("data"))?;
    node.deploy("prediction").await?;
    let rig = Rig::open(clock, &dir.path().join("rig"), "prediction", ComponentSpec::default()).await?;
    let model = Blacklist::new(&words);
    let batches: Vec<Batch> =
        texts.into_iter().enumerate().map(|(n, text)| Batch::new(n, text, &words, &model)).collect();
    let bytes: usize = batches.iter().map(|batch| batch.text.len()).sum();

    let mut connection = Connection::open(node.address).await?;
    let learn = serde_json::to_vec(&words)?;
    connection.send(&Request::post("/v1/agents/predictor/paper/learn", "application/json", &learn)).await?;
    ask_in_process(&rig, "learn", "application/json", learn).await?;
    let mut ways = Ways::new();
    // The first round touches everything for the first time.
    for round in 0..if tiny { 2 } else { ROUNDS + 1 } {
        if round == 1 {
            ways = Ways::new();
        }
        ways.native(clock, &model, &batches);
        if let Some(zeromq) = &mut zeromq {
            zeromq.time(batches.len(), &mut ways.zeromq)?;
        }
        ways.over_http(clock, &mut connection, &batches).await?;
        ways.in_process(clock, &rig, &batches).await?;
    }
    ways.show(figures, zeromq.is_some());
    let average = bytes / batches.len() / 1024;
    let input = format!("{} batches of 10, {average} KiB each, {words_count} dirty words", batches.len());
    figures.value("  the input: Markdown files of this machine's crates", input, None);
    for (what, value) in PAPER {
        figures.value(what, value.into(), None);
    }
    Ok(())
}

/// What the paper measured, per batch of ten documents.
const PAPER: [(&str, &str); 4] = [
    ("  paper: Lambda, model fetched and answer stored in S3", "559 ms"),
    ("  paper: Lambda, model compiled in, answer through SQS", "447 ms"),
    ("  paper: EC2 behind SQS", "13 ms"),
    ("  paper: EC2 behind ZeroMQ", "2.8 ms"),
];

impl Batch {
    fn new(n: usize, text: Vec<u8>, words: &str, model: &Blacklist) -> Self {
        let mut cleaned = text.clone();
        model.clean(&mut cleaned);
        let with_model = [words.as_bytes(), &[SEPARATOR], &text].concat();
        let agent = |method: &str, content_type: &str, body: &[u8]| {
            Request::post(&format!("/v1/agents/predictor/paper/{method}"), content_type, body)
        };
        let id = format!("\"batch-{n}\"");
        Self {
            to_function: Request::post("/v1/functions/prediction/predict", TEXT, &with_model),
            to_agent: agent("predict", TEXT, &text),
            to_queue: agent("submit?mode=tell", &format!("{TEXT}; id={id}"), &text),
            from_queue: agent("collect", "application/json", id.as_bytes()),
            text,
            cleaned,
            with_model,
        }
    }
}

impl Ways {
    fn new() -> Self {
        let [native, zeromq, agent, function, queue, agent_in_process, function_in_process] =
            [(); 7].map(|()| Latencies::new());
        Self { native, zeromq, agent, function, queue, agent_in_process, function_in_process }
    }

    /// The model alone: what no way can be without.
    fn native(&mut self, clock: &Clock, model: &Blacklist, batches: &[Batch]) {
        for batch in batches {
            let mut text = batch.text.clone();
            let began = clock.now();
            model.clean(std::hint::black_box(&mut text));
            self.native.add(clock.now() - began);
        }
    }

    async fn over_http(&mut self, clock: &Clock, connection: &mut Connection, batches: &[Batch]) -> anyhow::Result<()> {
        for batch in batches {
            let began = clock.now();
            let answer = connection.ask(&batch.to_agent).await?;
            self.agent.add(clock.now() - began);
            ensure!(answer == batch.cleaned, "the agent answered something else than the model");
        }
        for batch in batches {
            let began = clock.now();
            let answer = connection.ask(&batch.to_function).await?;
            self.function.add(clock.now() - began);
            ensure!(answer == batch.cleaned, "the function answered something else than the model");
        }
        for batch in batches {
            let began = clock.now();
            connection.send(&batch.to_queue).await?;
            let mut polls = 0;
            while connection.ask(&batch.from_queue).await?.is_empty() {
                polls += 1;
                ensure!(polls < POLLS_MAX, "the queue gives no answer");
            }
            self.queue.add(clock.now() - began);
            ensure!(connection.body() == batch.cleaned, "the queue answered something else than the model");
        }
        Ok(())
    }

    async fn in_process(&mut self, clock: &Clock, rig: &Rig, batches: &[Batch]) -> anyhow::Result<()> {
        let (tenant, component) = (Name::default_tenant(), Name::new("prediction")?);
        for batch in batches {
            let text = batch.text.clone();
            let began = clock.now();
            let answer = ask_in_process(rig, "predict", TEXT, text).await?;
            self.agent_in_process.add(clock.now() - began);
            ensure!(answer.body == batch.cleaned, "the agent answered something else than the model");
        }
        for batch in batches {
            let input = Payload { content_type: TEXT.into(), body: batch.with_model.clone().into() };
            let (tenant, component, function) = (tenant.clone(), component.clone(), "predict".to_owned());
            let began = clock.now();
            let called =
                rig.functions.call(Call { tenant, component, function, input, data: Vec::new(), trace: None }).await;
            self.function_in_process.add(clock.now() - began);
            let answer = called.context("a call failed")?.payload;
            ensure!(answer.body == batch.cleaned, "the function answered something else than the model");
        }
        Ok(())
    }

    fn show(&self, figures: &mut Figures, with_floor: bool) {
        figures.latency("batch: the model alone, native", &self.native, None);
        if with_floor {
            figures.latency("batch: bare ZeroMQ REQ/REP, native model", &self.zeromq, None);
        }
        let against = |latencies: &Latencies, goal| {
            let ratio = ratio(latencies.p50(), self.zeromq.p50());
            with_floor.then_some(Against { baseline: "bare ZeroMQ", ratio, goal })
        };
        let ways = [
            ("batch: warm agent over HTTP", &self.agent, "p50 <= 1.5x"),
            ("batch: function over HTTP, fresh instance, model sent along", &self.function, ""),
            ("batch: stored queue over HTTP, tell and collect", &self.queue, ""),
            ("batch: warm agent in process", &self.agent_in_process, ""),
            ("batch: function in process, fresh instance, model sent along", &self.function_in_process, ""),
        ];
        for (what, latencies, goal) in ways {
            figures.latency(what, latencies, against(latencies, goal));
        }
    }
}

async fn ask_in_process(rig: &Rig, method: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Payload> {
    let input = Payload { content_type: content_type.into(), body: body.into() };
    let address = address("predictor", "paper")?;
    let ask = Ask { address, method: method.to_owned(), input, idempotency_key: None, trace: None };
    Ok(rig.engine.ask(ask).await?.payload)
}
