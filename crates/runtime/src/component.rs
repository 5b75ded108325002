//! A component that is compiled, linked against what it may use, and has said what it offers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stride_ids::{CallId, Code, Failure, Name};
use wasmtime::Store;

use crate::{
    bindings::{Guest as Bindings, GuestPre, stride::guest::types},
    guest::{Guest, Reach},
    host::Host,
    logs::Origin,
    purity::Purity,
    registers::with_clean,
    spec::{ComponentSpec, FunctionSpec},
};

/// What a component may use while it is described.
const DESCRIBE_MEMORY_BYTES: usize = 64 << 20;
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a component offers, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exports {
    /// Function names.
    pub functions: Vec<String>,
    /// Agent types.
    pub agents: Vec<ExportedAgent>,
}

/// One agent type that a component offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedAgent {
    /// Its name.
    pub kind: Name,
    /// What can be asked.
    pub methods: Vec<ExportedMethod>,
}

/// One method of an agent type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedMethod {
    /// Its name.
    pub name: String,
    /// It changes nothing.
    pub read_only: bool,
}

/// A component that is ready to run.
pub struct Component {
    /// Whose it is.
    pub tenant: Name,
    /// Its name, from its manifest.
    pub name: Name,
    /// What tells it from another version of the same component.
    pub version: Arc<str>,
    /// What it offers.
    pub exports: Exports,
    /// What it asks for.
    pub spec: ComponentSpec,
    /// Whether its functions are pure.
    pub purity: Purity,
    /// Whether its imports let it see anything that differs from call to call, whatever it is granted.
    pub observes: bool,
    pub(crate) host: Arc<Host>,
    pre: GuestPre<Guest>,
}

impl Component {
    /// Compiles and links a component and asks it what it offers. Takes seconds for large components that are not in
    /// the cache, so call it where blocking is fine for the compilation.
    ///
    /// # Errors
    /// `invalid_request` if it is not a component for Stride or its spec names something it does not offer,
    /// `capability_denied` if it imports what the platform does not give.
    pub async fn load(
        host: &Arc<Host>,
        tenant: Name,
        name: Name,
        version: Arc<str>,
        spec: ComponentSpec,
        wasm: bytes::Bytes,
    ) -> Result<Self, Failure> {
        let compiler = host.clone();
        let compiled = tokio::task::spawn_blocking(move || compiler.code.load(&compiler.engine, &wasm)).await;
        let compiled =
            compiled.map_err(|e| Failure::new(Code::Internal, format!("compilation ended early: {e}")))??;
        let purity = Purity::of(&spec, &compiled, &host.engine);
        let observes = !Purity::of(&ComponentSpec::default(), &compiled, &host.engine).is_pure();
        let pre = host.linker.instantiate_pre(&compiled).map_err(|e| not_linked(&e))?;
        let pre = GuestPre::new(pre).map_err(|e| {
            let message =
                format!("the component does not export stride:guest/handler; build it with a Stride SDK ({e})");
            Failure::new(Code::InvalidRequest, message)
        })?;
        let exports = describe(host, &tenant, &name, &pre).await?;
        check_spec(&spec, &exports)?;
        check_pure(&spec, &purity)?;
        Ok(Self { tenant, name, version, exports, spec, purity, observes, host: host.clone(), pre })
    }

    /// A fresh instance, which may use so much memory and can reach nothing yet.
    pub(crate) async fn prepare(&self, memory_max: usize) -> Result<Box<Prepared>, Failure> {
        let origin = Origin { tenant: self.tenant.clone(), component: self.name.clone(), call: CallId(0), trace: None };
        let guest = Guest::new(&self.host, origin, memory_max, self.purity.seed(&self.version));
        instantiate(&self.host, &self.pre, guest).await
    }
}

/// An instance that waits for work.
pub(crate) struct Prepared {
    pub(crate) store: Store<Guest>,
    pub(crate) instance: Bindings,
}

impl Prepared {
    /// From now on the instance works for a call, and may reach this much.
    pub(crate) fn begin_call(&mut self, call: CallId, reach: Reach) {
        self.store.data_mut().begin(call, reach);
        // The epoch has moved on since the instance was made.
        self.store.set_epoch_deadline(1);
    }

    /// Runs a function: its own answer, or what ended it.
    pub(crate) async fn call(
        &mut self,
        function: &str,
        input: &types::Payload,
    ) -> Result<Result<types::Payload, types::Failure>, Failure> {
        let run = self.instance.stride_guest_handler().call_call(&mut self.store, function, input);
        let outcome = with_clean(run).await;
        let answer = outcome.map_err(|e| self.store.data().failure_of(&e))?;
        self.store.data().end_output();
        Ok(answer)
    }
}

async fn instantiate(host: &Host, pre: &GuestPre<Guest>, guest: Guest) -> Result<Box<Prepared>, Failure> {
    let mut store = Store::new(&host.engine, guest);
    store.limiter(|guest| &mut guest.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    match pre.instantiate_async(&mut store).await {
        Ok(instance) => Ok(Box::new(Prepared { store, instance })),
        Err(error) => Err(store.data().failure_of(&error)),
    }
}

fn not_linked(error: &wasmtime::Error) -> Failure {
    let message = format!("the component needs something that the platform does not give: {error:#}");
    Failure::new(Code::CapabilityDenied, message)
}

async fn describe(host: &Host, tenant: &Name, name: &Name, pre: &GuestPre<Guest>) -> Result<Exports, Failure> {
    let call = CallId(host.chance.next_u64());
    let origin = Origin { tenant: tenant.clone(), component: name.clone(), call, trace: None };
    let guest = Guest::new(host, origin, DESCRIBE_MEMORY_BYTES, None);
    let ask = async {
        let Prepared { mut store, instance } = *instantiate(host, pre, guest).await?;
        let described = instance.stride_guest_handler().call_describe(&mut store).await;
        described.map_err(|e| store.data().failure_of(&e))
    };
    let described = host.clock.timeout(DESCRIBE_TIMEOUT, ask).await;
    let unwell =
        |why: String| Failure::new(Code::InvalidRequest, format!("the component cannot say what it offers: {why}"));
    let described = described.map_err(|_| unwell("it takes too long".into()))?.map_err(|e| unwell(e.to_string()))?;

    let mut agents = Vec::new();
    for agent in described.agents {
        let kind = Name::new(&agent.kind).map_err(|e| unwell(e.to_string()))?;
        let method = |m: crate::bindings::exports::stride::guest::handler::Method| ExportedMethod {
            name: m.name,
            read_only: m.read_only,
        };
        agents.push(ExportedAgent { kind, methods: agent.methods.into_iter().map(method).collect() });
    }
    Ok(Exports { functions: described.functions, agents })
}

/// Refuses a spec for something that does not exist: most likely a typing error.
fn check_spec(spec: &ComponentSpec, exports: &Exports) -> Result<(), Failure> {
    let functions: BTreeSet<&str> = exports.functions.iter().map(String::as_str).collect();
    let agents: BTreeSet<&str> = exports.agents.iter().map(|agent| agent.kind.as_str()).collect();
    let named = spec.functions.keys().map(|f| ("functions", f, &functions));
    for (what, name, known) in named.chain(spec.agents.keys().map(|a| ("agents", a, &agents))) {
        if known.contains(name.as_str()) {
            continue;
        }
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "it offers none".to_owned(),
        };
        let message = format!("stride.toml has [{what}.{name}], but the component offers no such thing; {hint}");
        return Err(Failure::new(Code::InvalidRequest, message));
    }
    Ok(())
}

/// Refuses to keep answers that need not be the same the next time, and to use instances again that need not answer the same.
fn check_pure(spec: &ComponentSpec, purity: &Purity) -> Result<(), Failure> {
    let Purity::Impure(cause) = purity else { return Ok(()) };
    let asks = |function: &FunctionSpec| match function {
        FunctionSpec { memoise: true, .. } => Some("memoise"),
        FunctionSpec { reuse: true, .. } => Some("reuse"),
        _ => None,
    };
    let asked = spec.functions.iter().find_map(|(name, function)| Some((name, asks(function)?)));
    let Some((name, what)) = asked else { return Ok(()) };
    let message = format!(
        "stride.toml has {what} in [functions.{name}], but the function is not pure: {cause}. Take {what} out, or move the function \
         into a component of its own that does without"
    );
    Err(Failure::new(Code::InvalidRequest, message))
}

/// The name that is nearest to what somebody typed.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|name| strsim::damerau_levenshtein(typed, name))
}
