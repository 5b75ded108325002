//! Doing one command.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;
use stride_agents::Ask;
use stride_flows::{
    Command, Event,
    run::{Call, Execution, Message, Need},
    value::ObjectRef,
};
use stride_ids::{Address, AgentKey, Code, Failure, Name};
use stride_maps::{Callee, FunctionName, Input, Wishes};
use stride_sim::Backoff;

use crate::{
    afar,
    inside::{self, error},
    payload, read,
    shared::{Shared, Surroundings},
    store,
};

/// How long, all in all, a command waits for what is overloaded or away.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// The longest idempotency key, in bytes.
const KEY_LEN_MAX: usize = 256;

/// Does a command. None: nobody has to know what became of it.
pub(crate) async fn work(shared: &Arc<Shared>, run: &Address, command: Command) -> Option<Event> {
    let step = command.step()?.to_owned();
    let event = match command {
        Command::Call(call) => called(shared, run, &call).await,
        Command::Ask(message) => {
            ask(shared, run, message).await.map(|result| Event::Done { step: step.clone(), result })
        }
        Command::Read { step, number, source, after } => {
            let page = retry(shared, || read::page(shared, run, &step, &source, after.as_ref())).await;
            page.map(|(items, next)| Event::Page { step, number, items, next })
        }
        Command::Put { step, to, content } => {
            let put = retry(shared, || store::put(shared, run, &step, to.as_ref(), &content)).await;
            put.map(|object| Event::Done { step: step.clone(), result: object.to_value() })
        }
        _ => return None,
    };
    Some(event.unwrap_or_else(|failure| Event::Failed { step, error: error(&failure) }))
}

async fn called(shared: &Arc<Shared>, run: &Address, call: &Call) -> Result<Event, Failure> {
    match afar::send(shared, run, call).await? {
        Some(event) => Ok(event),
        None => Calls::new(shared, run).call(call).await,
    }
}

/// Does something until it is not refused for now.
async fn retry<T, F>(shared: &Shared, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let (mut backoff, mut waited) = (Backoff::default(), Duration::ZERO);
    loop {
        match attempt().await {
            Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }) if waited < WAIT_MAX => {}
            outcome => return outcome,
        }
        let pause = backoff.next(&shared.chance);
        shared.clock.sleep(pause).await;
        waited += pause;
    }
}

/// Asks an agent under a key that follows from the run and its step, so that what was asked before a crash is not done again.
async fn ask(
    shared: &Shared,
    run: &Address,
    Message { step, agent, key, method, input }: Message,
) -> Result<Value, Failure> {
    let engine = shared.surroundings()?.engine.clone();
    let address = inside::agent(&run.tenant, &agent, &key, &method)?;
    let said = format!("flow/{}{step}", run.key);
    let idempotency_key =
        if said.len() <= KEY_LEN_MAX { said } else { format!("flow/{}", blake3::hash(said.as_bytes()).to_hex()) };
    let input = payload::of_value(&input);
    let asked = || {
        let (address, method, input) = (address.clone(), method.clone(), input.clone());
        engine.ask(Ask { address, method, input, idempotency_key: Some(idempotency_key.clone()), trace: None })
    };
    payload::to_value(&retry(shared, asked).await?.payload)
}

/// Calls of functions, each found once.
pub(crate) struct Calls<'a> {
    shared: &'a Arc<Shared>,
    run: &'a Address,
    found: HashMap<String, Arc<dyn Callee>>,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, run: &'a Address) -> Self {
        Self { shared, run, found: HashMap::new() }
    }

    pub(crate) async fn call(&mut self, call: &Call) -> Result<Event, Failure> {
        let surroundings = self.shared.surroundings()?;
        let wishes = wishes(&self.run.tenant, call)?;
        let mut execution = Execution::new(call);
        let mut large = 0;
        while let Some(need) = execution.need() {
            let answer = match need {
                Need::Function { name, input, .. } => self.function(&surroundings, &name, &input, &wishes).await,
                Need::Lines(part) => read::lines(self.shared, self.run, &part).await.map(Value::from),
                Need::Put(value) => {
                    large += 1;
                    let step = format!("{}/!large-{large}", call.step);
                    let content = stride_flows::run::Content::Value(value);
                    let put = retry(self.shared, || store::put(self.shared, self.run, &step, None, &content)).await;
                    put.map(|object| object.to_value())
                }
            };
            execution.supply(answer.map_err(|failure| error(&failure)));
        }
        Ok(execution.finish())
    }

    async fn function(
        &mut self,
        surroundings: &Surroundings,
        name: &str,
        value: &Value,
        wishes: &Wishes,
    ) -> Result<Value, Failure> {
        let tenant = &self.run.tenant;
        let function = match self.found.get(name) {
            Some(function) => function.clone(),
            None => {
                let function = find(surroundings, tenant, name).await?;
                self.found.insert(name.to_owned(), function.clone());
                function
            }
        };
        let input = match ObjectRef::of(value) {
            // Read where the function runs, which is where the bytes are.
            Some(object) => Input::Part(store::whole(surroundings, tenant, &object).await?),
            None => Input::Payload(payload::of_value(value)),
        };
        if let Input::Part(part) = &input {
            function.place(std::slice::from_ref(&part.object.bucket)).await?;
        }
        let reply = retry(self.shared, || function.call(input.clone(), wishes.clone())).await?;
        payload::to_value(&reply.payload)
    }
}

/// Where a call would best run. What it should be close to is only advice, also if it says nothing that can be.
fn wishes(tenant: &Name, call: &Call) -> Result<Wishes, Failure> {
    let close_to = |what: &str| call.affinity.as_deref()?.strip_prefix(what)?.split_once('/');
    let near = close_to("object:").and_then(|(bucket, key)| store::name(tenant, bucket, key).ok());
    let beside = close_to("agent:").and_then(|(kind, key)| {
        Some(Address { tenant: tenant.clone(), kind: Name::new(kind).ok()?, key: AgentKey::new(key).ok()? })
    });
    let hardware = call.hardware.as_deref().map(Name::new).transpose();
    let prefers = call.prefers.as_deref().and_then(|class| Name::new(class).ok());
    let node = call.node.as_deref().and_then(|node| Name::new(node).ok());
    let near = near.into_iter().collect();
    Ok(Wishes { near, beside, hardware: hardware.map_err(|e| impossible(e.to_string()))?, prefers, node })
}

async fn find(surroundings: &Surroundings, tenant: &Name, name: &str) -> Result<Arc<dyn Callee>, Failure> {
    let name: FunctionName = name.parse().map_err(|why| Failure::new(Code::InvalidRequest, why))?;
    surroundings.caller.find(tenant, &name, None).await
}

/// What a step fails with that nobody can do.
pub(crate) fn impossible(what: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidRequest, what)
}
