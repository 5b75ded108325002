//! The turns of a run.

use std::{collections::VecDeque, sync::Arc};

use serde_json::Value;
use stride_agents::Turn;
use stride_flows::{
    Command, Event, Plan, advance,
    run::{self, Call, Content, Execution, Message, Need, State},
    value,
};
use stride_ids::{Address, Code, Failure, Name};
use stride_maps::FunctionName;

use crate::{
    head::{self, Head, PLAN, Parent},
    inside::{self, Within, begun, error, is_within, is_work, within},
    message::{Ended, Out, PageAsked, Planned, Said, Status, StepStatus, Told, Took},
    payload,
    program::{self, GET, Version},
    rows::{Known, TurnRows},
    shared::Shared,
};

/// How much of what is to be done one answer says, in bytes.
const OUT_BYTES: usize = 1 << 20;
/// How many commands one turn does itself; what is more waits for the next.
const WITHIN_MAX: usize = 64;
/// How many pure calls one turn makes itself.
const CALLS_MAX: usize = 32;
/// How many steps and values a status shows, and how large such a value may be, in bytes.
const SHOWN: usize = 100;
const SHOWN_BYTES: usize = 4 << 10;

/// What a body remembers between turns. It is gone when a turn fails, and then it is read again.
#[derive(Default)]
pub(crate) struct Seen {
    plan: Option<Arc<Plan>>,
    head: Option<Head>,
    rows: Known,
}

impl Seen {
    /// How much memory the rows take, in bytes; the plan is shared.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}

/// A run in the midst of a turn.
pub(crate) struct Run<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) turn: Turn,
    pub(crate) head: Head,
    /// What the head was, if that is known to be stored.
    stored: Option<Head>,
    plan: Arc<Plan>,
    known: Known,
}

impl<'a> Run<'a> {
    /// A run that has begun, and what its body remembers of it.
    pub(crate) fn load(shared: &'a Arc<Shared>, turn: Turn, Seen { plan, head, rows }: Seen) -> Result<Self, Failure> {
        let head = match head {
            Some(head) => head,
            None => Head::need(&turn)?,
        };
        let plan = match plan {
            Some(plan) if plan.id == head.plan => plan,
            _ => {
                let lost = || Failure::new(Code::Internal, "a run has lost its plan");
                shared.plans.read(&head.plan, &turn.get(PLAN)?.ok_or_else(lost)?)?
            }
        };
        Ok(Self { shared, turn, stored: Some(head.clone()), head, plan, known: rows })
    }

    /// Ends: what the turn wrote, and what is worth remembering until the next one.
    pub(crate) fn end(mut self) -> Result<(Turn, Seen), Failure> {
        self.known.write(&mut self.turn)?;
        Ok((self.turn, Seen { plan: Some(self.plan), head: Some(self.head), rows: self.known.kept() }))
    }

    /// Begins a run, in the version of the flow that is in force. To begin it again with the same input changes nothing.
    pub(crate) async fn start(
        shared: &'a Arc<Shared>,
        mut turn: Turn,
        input: Value,
        parent: Option<Parent>,
    ) -> Result<Self, Failure> {
        let hash = head::hash(&input);
        if let Some(head) = Head::load(&turn)? {
            if head.input == hash && head.parent == parent {
                return Self::load(shared, turn, Seen::default());
            }
            let message =
                format!("there is a run `{}` already, with another input; choose another name", turn.address().key);
            return Err(Failure::new(Code::Conflict, message));
        }
        let Address { tenant, key, .. } = turn.address().clone();
        let (flow, _) = head::names(&key)?;
        let version = version(&mut turn, &tenant, &flow, None).await?;
        let planned = shared.surroundings()?.plan(&shared.plans, &tenant, &version).await?;
        let now_ms = shared.now_ms();
        turn.set(PLAN.to_owned(), planned.json)?;
        let head = Head {
            version: version.version,
            plan: planned.plan.id.clone(),
            input: hash,
            parent,
            started_ms: now_ms,
            ended_ms: None,
            watch_ms: None,
        };
        let mut this = Self { shared, turn, head, stored: None, plan: planned.plan, known: Known::none() };
        let run = key.to_string();
        this.go_on(vec![Event::Started { run, input }], Vec::new()).await?;
        Ok(this)
    }

    /// What became of what was out.
    pub(crate) async fn took(&mut self, Took { events, again }: Took) -> Result<Out, Failure> {
        let rows = self.rows()?;
        let commands = again.iter().map(|step| run::command(&rows, step));
        let again = commands.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        self.go_on(events, again).await
    }

    pub(crate) async fn ended(&mut self, Ended { step, result }: Ended) -> Result<(), Failure> {
        self.turn.delete(begun(&step))?;
        let event = match result {
            Ok(result) => Event::Done { step, result },
            Err(error) => Event::Failed { step, error },
        };
        self.go_on(vec![event], Vec::new()).await.map(drop)
    }

    pub(crate) async fn told(&mut self, Told { id, name, payload }: Told) -> Result<(), Failure> {
        // The same said twice without an id is one event.
        let id = id.unwrap_or_else(|| head::hash(&serde_json::json!([name, payload])));
        self.running()?;
        self.go_on(vec![Event::Event { id, name, payload }], Vec::new()).await.map(drop)
    }

    /// Somebody consents to what a step asks, or refuses it.
    pub(crate) async fn said(&mut self, consents: bool, said: Said) -> Result<(), Failure> {
        self.running()?;
        let by = said.by.unwrap_or_else(|| "somebody".into());
        let step = self.asking(said.step.as_deref())?;
        let event = match consents {
            true => Event::Approved { step, by, payload: said.payload },
            false => Event::Refused { step, by, reason: said.reason.unwrap_or_else(|| "no reason is given".into()) },
        };
        self.go_on(vec![event], Vec::new()).await.map(drop)
    }

    /// The step that is meant: its id, or its name if only one asks that is called so.
    fn asking(&mut self, named: Option<&str>) -> Result<String, Failure> {
        let all = all_out(&self.rows()?)?;
        let asking = all.iter().filter_map(|command| match command {
            Command::Approval { step, .. } => Some(step.as_str()),
            _ => None,
        });
        let asking: Vec<&str> = asking.collect();
        let is_meant = |step: &str| {
            named.is_none_or(|named| {
                step == named || step.rsplit('/').next().unwrap_or_default().split('~').next() == Some(named)
            })
        };
        let meant: Vec<&str> = asking.iter().copied().filter(|step| is_meant(step)).collect();
        match meant[..] {
            [step] => Ok(step.to_owned()),
            [] => {
                let those = if asking.is_empty() {
                    "no step asks anything now".to_owned()
                } else {
                    format!("those that ask: {}", asking.join(", "))
                };
                let which = named.map_or_else(String::new, |named| format!(" `{named}`"));
                Err(Failure::new(Code::NotFound, format!("no step{which} waits for an approval; {those}")))
            }
            _ => Err(Failure::new(Code::Conflict, format!("several steps ask; name one of {}", meant.join(", ")))),
        }
    }

    pub(crate) async fn cancel(&mut self) -> Result<(), Failure> {
        self.go_on(vec![Event::Cancelled], Vec::new()).await.map(drop)
    }

    pub(crate) async fn fired(&mut self, timer: String) -> Result<(), Failure> {
        self.go_on(vec![Event::Fired { timer }], Vec::new()).await.map(drop)
    }

    /// Goes over to a version of the flow, or to the one in force: what is to come is done as that says.
    pub(crate) async fn move_to(&mut self, number: Option<u64>) -> Result<(), Failure> {
        self.running()?;
        let Address { tenant, key, .. } = self.turn.address().clone();
        let (flow, _) = head::names(&key)?;
        let version = version(&mut self.turn, &tenant, &flow, number).await?;
        let planned = self.shared.surroundings()?.plan(&self.shared.plans, &tenant, &version).await?;
        let now_ms = self.shared.now_ms();
        let rows = &mut TurnRows::of(&mut self.turn, &mut self.known)?;
        let moved = run::move_to(&self.plan, &planned.plan, rows, now_ms)?;
        let commands = moved.map_err(|why| {
            let message = format!("run `{key}` cannot go over to version {}:\n{}", version.version, why.join("\n"));
            Failure::new(Code::Conflict, message)
        })?;
        self.turn.set(PLAN.to_owned(), planned.json)?;
        self.head.version = version.version;
        self.head.plan.clone_from(&planned.plan.id);
        self.plan = planned.plan;
        self.go_on(Vec::new(), commands).await.map(drop)
    }

    /// Looks whether somebody has to work on the run, and if so looks again later.
    pub(crate) fn watch(&mut self) -> Result<(), Failure> {
        self.head.watch_ms = None;
        let out = all_out(&self.rows()?)?;
        if self.head.ended_ms.is_none() && out.iter().any(is_work) {
            let (after, now) = (self.watch_after_ms(), self.shared.now_ms());
            inside::watch(&mut self.turn, &mut self.head, after, now)?;
        }
        self.save_head()
    }

    fn save_head(&mut self) -> Result<(), Failure> {
        if self.stored.as_ref() == Some(&self.head) { Ok(()) } else { self.head.save(&mut self.turn) }
    }

    fn rows(&mut self) -> Result<TurnRows<'_>, Failure> {
        TurnRows::of(&mut self.turn, &mut self.known)
    }

    fn watch_after_ms(&self) -> u64 {
        u64::try_from(self.shared.settings.watch.as_millis()).unwrap_or(u64::MAX)
    }

    fn running(&self) -> Result<(), Failure> {
        match self.head.ended_ms {
            None => Ok(()),
            Some(_) => Err(Failure::new(Code::Conflict, format!("run `{}` has ended", self.turn.address().key))),
        }
    }

    /// Takes note of events, and of all that follows from them within this turn.
    async fn go_on(&mut self, events: Vec<Event>, again: Vec<Command>) -> Result<Out, Failure> {
        let kept_ms = u64::try_from(self.shared.settings.kept.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.shared.now_ms();
        let deadline = self.shared.clock.now() + self.shared.settings.within_turn;
        let (mut events, mut commands) = (VecDeque::from(events), VecDeque::from(again));
        let (mut outside, mut done, mut calls) = (Vec::new(), 0, 0);
        loop {
            while let Some(command) = commands.pop_front() {
                if is_within(&command) && done == WITHIN_MAX {
                    outside.push(command);
                    continue;
                }
                done += usize::from(is_within(&command));
                match within(&mut self.turn, &mut self.head, command, kept_ms, now_ms)? {
                    Within::Done => {}
                    Within::Event(event) => events.push_back(event),
                    Within::Outside(command) => outside.push(command),
                }
            }
            if let Some(event) = events.pop_front() {
                commands.extend(advance(
                    &self.plan,
                    &mut TurnRows::of(&mut self.turn, &mut self.known)?,
                    now_ms,
                    event,
                )?);
                continue;
            }
            // What is pure and small is not worth a commit of its own: if this turn fails, it is as if it had not been called.
            let [Command::Call(call)] = &outside[..] else { break };
            if calls == CALLS_MAX || self.shared.clock.now() >= deadline {
                break;
            }
            let left = deadline.saturating_sub(self.shared.clock.now());
            let called = self.shared.clock.timeout(left, pure(self.shared, &self.turn.address().tenant, call)).await;
            let Ok(Some(event)) = called else { break };
            calls += 1;
            outside.clear();
            events.push_back(event);
        }
        if self.head.ended_ms.is_none() && outside.iter().any(is_work) {
            let after = self.watch_after_ms();
            inside::watch(&mut self.turn, &mut self.head, after, now_ms)?;
        }
        self.save_head()?;
        let bytes: usize = outside.iter().map(size).sum();
        Ok(if bytes > OUT_BYTES {
            Out { commands: Vec::new(), more: true }
        } else {
            Out { commands: outside, more: false }
        })
    }

    // --- what only reads ---

    pub(crate) fn out(&mut self, after: Option<&str>) -> Result<Out, Failure> {
        let commands = run::outstanding_after(&self.rows()?, after, OUT_BYTES)?;
        let more = !commands.is_empty();
        Ok(Out { commands, more })
    }

    pub(crate) fn page(&mut self, PageAsked { prefix, number }: &PageAsked) -> Result<Vec<Value>, Failure> {
        run::page(&self.rows()?, prefix, *number)
    }

    pub(crate) fn planned(&mut self) -> Result<Planned, Failure> {
        let measures = run::measures(&mut self.rows()?)?;
        Ok(Planned { plan: (*self.plan).clone(), measures })
    }

    pub(crate) fn status(&mut self) -> Result<Status, Failure> {
        let (flow, run) =
            head::names(&self.turn.address().key).map(|(flow, run)| (flow.to_string(), run.to_owned()))?;
        let rows = TurnRows::of(&mut self.turn, &mut self.known)?;
        let (state, result, error) = match run::state(&rows)? {
            None | Some(State::Running) => ("running", None, None),
            Some(State::Done(result)) => ("done", Some(result), None),
            Some(State::Failed(error)) => ("failed", None, Some(error)),
            Some(State::Cancelled) => ("cancelled", None, None),
        };
        let mut steps: Vec<StepStatus> = run::waits(&rows, SHOWN)?.into_iter().map(waiting).collect();
        if self.head.ended_ms.is_none() {
            let out = run::outstanding_after(&rows, None, OUT_BYTES)?;
            steps.extend(out.iter().filter_map(shown).take(SHOWN.saturating_sub(steps.len())));
        }
        let small = |(_, value): &(String, Value)| value::size(value) <= SHOWN_BYTES;
        let values = run::values(&rows, None, SHOWN)?.into_iter().filter(small).collect();
        let Head { version, started_ms, ended_ms, .. } = self.head;
        Ok(Status { flow, run, version, state: state.into(), result, error, started_ms, ended_ms, steps, values })
    }
}

/// A version of a flow, or the one that is in force.
async fn version(turn: &mut Turn, tenant: &Name, flow: &Name, number: Option<u64>) -> Result<Version, Failure> {
    let address = program::address(tenant, flow);
    let asked = stride_agents::native::answer(&number);
    let answer = turn.ask(address, GET.to_owned(), asked).await?;
    postcard::from_bytes(&answer.body)
        .map_err(|e| Failure::new(Code::Internal, format!("a flow answered what cannot be read: {e}")))
}

/// All commands that are out.
fn all_out(rows: &TurnRows<'_>) -> Result<Vec<Command>, Failure> {
    let mut all: Vec<Command> = Vec::new();
    loop {
        let after = all.last().and_then(|command| command.step().map(str::to_owned));
        let page = run::outstanding_after(rows, after.as_deref(), OUT_BYTES)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Makes a call if nothing in it has an effect, and nothing of it has to be somewhere else.
async fn pure(shared: &Shared, tenant: &Name, call: &Call) -> Option<Event> {
    let is_on_any = call.hardware.is_none() && call.prefers.is_none() && call.node.is_none();
    let is_free = call.affinity.is_none() && !call.near_data && is_on_any;
    if call.is_batch || !is_free {
        return None;
    }
    let mut chain = shared.surroundings().ok()?.caller.chain(tenant);
    let mut execution = Execution::new(call);
    while let Some(need) = execution.need() {
        let Need::Function { name, input, .. } = need else { return None };
        if value::ObjectRef::of(&input).is_some() {
            return None;
        }
        let name: FunctionName = name.parse().ok()?;
        execution.supply(match chain.call(&name, payload::of_value(&input)).await {
            Ok(answer) => payload::to_value(&answer?).map_err(|failure| error(&failure)),
            // Perhaps only for now: whoever does it has more patience.
            Err(Failure { code: Code::Overloaded | Code::Unavailable, .. }) => return None,
            Err(failure) => Err(error(&failure)),
        });
    }
    Some(execution.finish())
}

/// About how many bytes a command has.
fn size(command: &Command) -> usize {
    let of = |message: &Message| value::size(&message.input);
    let payload = match command {
        Command::Call(call) => {
            let items = call.items.iter();
            items.map(|item| value::size(&item.value) + item.input.as_ref().map_or(0, value::size)).sum()
        }
        Command::Ask(message) | Command::Tell(message) => of(message),
        Command::Publish { value, .. } => value::size(value),
        Command::Start { input, .. } => value::size(input),
        Command::Put { content: Content::Value(value), .. } => value::size(value),
        _ => 0,
    };
    payload + 512
}

fn waiting(wait: run::Wait) -> StepStatus {
    let (step, does, question, due_ms) = match wait {
        run::Wait::Event { step, name } => (step, "event", Some(Value::String(name)), None),
        run::Wait::Timer { step, at_ms } => (step, "timer", None, Some(at_ms)),
    };
    StepStatus { step, does: does.into(), question, of: None, due_ms }
}

fn shown(command: &Command) -> Option<StepStatus> {
    let (does, question, of) = match command {
        Command::Call(_) => ("call", None, None),
        Command::Read { .. } => ("read", None, None),
        Command::Ask(_) => ("ask", None, None),
        Command::Tell(_) => ("tell", None, None),
        Command::Publish { .. } => ("publish", None, None),
        Command::Put { .. } => ("put", None, None),
        Command::Start { flow, .. } => ("subflow", Some(Value::String(flow.clone())), None),
        Command::Approval { question, of, .. } => ("approval", Some(question.clone()), of.clone()),
        _ => return None,
    };
    Some(StepStatus { step: command.step()?.to_owned(), does: does.into(), question, of, due_ms: None })
}
