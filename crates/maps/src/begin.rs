//! How a map begins: what it is asked to do is checked, and the versions of what it calls are written down.
//!
//! From outside and from functions it has begun when the answer comes. An agent tells the map's agent in its turn, so the map
//! begins with the turn's commit: a turn that fails has begun nothing, and of several attempts at a turn only the one that is committed
//! begins a map. Whoever finds it ([`Maps::take_up`]) works on it then.

use stride_agents::native::{answer, ask};
use stride_ids::{Address, Code, Failure, Name, Payload};

use crate::{
    caller::Callees,
    id::MapId,
    maps::{Inner, Maps, Working, ask_of},
    message::{BEGIN, BeginAsked},
    row::{Notice, Versions},
    run::Status,
    spec::Spec,
};

/// How many maps of a tenant may wait for others to end, beside those that run and are kept.
const WAITING_MAX: usize = 256;

/// How long an idempotency key may be, in bytes.
const KEY_LEN_MAX: usize = 256;

/// A map that was begun.
pub struct Begun {
    /// How far it is.
    pub status: Status,
    /// It was begun before, under the same key.
    pub is_replayed: bool,
}

/// What an agent tells in its turn, so that a map begins with it.
pub struct ToBegin {
    /// The map's id.
    pub id: MapId,
    /// Who is told.
    pub to: Address,
    /// Which method.
    pub method: &'static str,
    /// With what.
    pub input: Payload,
}

impl Maps {
    /// Begins a map. It is durable when this returns. Whoever asks again with the same `key` gets the map that was begun first, as long as
    /// that is kept.
    ///
    /// # Errors
    /// `not_found` for a function or a bucket that is not there, `invalid_request` for results that would become inputs,
    /// `capability_denied` if the labels of its buckets do not allow it here,
    /// `overloaded` if as many maps run as may, `conflict` for a key that was used for another map.
    pub async fn begin(&self, tenant: &Name, spec: Spec, key: Option<String>) -> Result<Begun, Failure> {
        let inner = &self.0;
        let Some(key) = key else { return self.begin_now(tenant, spec, None).await };
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            let message = format!("an idempotency key has 1 to {KEY_LEN_MAX} bytes; this one has {}", key.len());
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        let _one = inner.beginning.lock().await;
        for address in inner.addresses(tenant).await? {
            match ask_of(inner, &address).await {
                Ok(run) if run.key.as_ref() != Some(&key) => {}
                Ok(run) if run.spec == spec => {
                    return Ok(Begun { status: Status::new(MapId::of(&address), run), is_replayed: true });
                }
                Ok(_) => {
                    let message = "this idempotency key was used for another map; use a new key for a new map";
                    return Err(Failure::new(Code::Conflict, message));
                }
                // It has gone meanwhile.
                Err(Failure { code: Code::NotFound, .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.begin_now(tenant, spec, Some(key)).await
    }

    async fn begin_now(&self, tenant: &Name, spec: Spec, key: Option<String>) -> Result<Begun, Failure> {
        let inner = &self.0;
        let asked = inner.asked(tenant, spec, None, key).await?;
        let (id, address) = inner.new_map(tenant);
        let working = Working::begin(inner, &address)?;
        ask::<()>(&inner.engine, &address, BEGIN, &asked).await?;
        let status = self.status(tenant, &id).await?;
        // A map is worked on where its agent is; whoever has that takes it up.
        if inner.engine.is_here(&address) {
            working.go_on();
        }
        Ok(Begun { status, is_replayed: false })
    }

    /// What has to be told in a turn so that a map begins with the turn's commit. Until then nothing has begun. If too many run, it waits
    /// for its place. With `notice`, somebody is told when it has ended.
    ///
    /// # Errors
    /// As [`Maps::begin`]; `overloaded` if too many wait already.
    pub async fn to_begin(&self, tenant: &Name, spec: Spec, notice: Option<Notice>) -> Result<ToBegin, Failure> {
        let inner = &self.0;
        let asked = inner.asked(tenant, spec, notice, None).await?;
        let max = inner.settings.kept_max + inner.settings.running_max + WAITING_MAX;
        if inner.addresses(tenant).await?.len() >= max {
            let message = format!("{WAITING_MAX} maps wait already; begin this one when some have ended");
            return Err(Failure::new(Code::Overloaded, message));
        }
        let id = MapId::new(inner.clock.timestamp(), &inner.chance);
        Ok(ToBegin { to: id.address(tenant), id, method: BEGIN, input: answer(&asked) })
    }
}

/// How many ids are tried for one whose agent is here.
const TRIES: usize = 64;

impl Inner {
    /// An id for a new map, whose agent is on this node if that can be.
    fn new_map(&self, tenant: &Name) -> (MapId, Address) {
        let one = || {
            let id = MapId::new(self.clock.timestamp(), &self.chance);
            let address = id.address(tenant);
            (id, address)
        };
        let here = std::iter::repeat_with(one).take(TRIES).find(|(_, address)| self.engine.is_here(address));
        here.unwrap_or_else(one)
    }

    /// What the map's agent is asked, if it can be done.
    async fn asked(
        &self,
        tenant: &Name,
        spec: Spec,
        notice: Option<Notice>,
        key: Option<String>,
    ) -> Result<BeginAsked, Failure> {
        let callees = Callees::find(&*self.caller, tenant, &spec, &Versions::default()).await?;
        check(tenant, &spec)?;
        callees.place(&spec).await?;
        let (over, first) = (&spec.over, 1);
        self.objects.list(tenant, &over.bucket, over.prefix.clone(), None, first).await?;
        Ok(BeginAsked::First { spec, versions: callees.versions(), at: self.clock.timestamp(), notice, key })
    }
}

/// Refuses what could not be or would not end.
fn check(tenant: &Name, spec: &Spec) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(Code::InvalidRequest, message);
    spec.reduced_object(tenant)
        .map_err(|why| invalid(format!("--out names the object of the reduced result: {why}")))?;
    if let Some(out) = &spec.out
        && out.bucket == spec.over.bucket
        && (out.prefix.starts_with(&spec.over.prefix) || spec.over.prefix.starts_with(&out.prefix))
    {
        return Err(invalid(format!("results under `{out}` would become inputs of the map over `{}`", spec.over)));
    }
    Ok(())
}
