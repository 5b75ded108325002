//! The agents of a simulated node: accounts that pay each other, ring timers, fail, and change their version.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use stride_agents::{Bodies, Body, Kind, Method, Schedule, Turn};
use stride_ids::{Address, AgentKey, Code, Failure, Name, Payload};
use stride_sim::{Chance, Clock};

/// How far apart the ticks of a repeating timer are, in milliseconds.
pub(crate) const TICK: u64 = 700;

/// User code of all accounts, and what it keeps across lives: only how often it failed already.
pub(crate) struct Town {
    chance: Chance,
    clock: Clock,
    version: u64,
    /// Failures so far, by operation: nothing fails so often that it is parked, but for poison.
    failures: Arc<Mutex<HashMap<String, u32>>>,
}

pub(crate) fn account(key: &str) -> Address {
    Address { tenant: Name::default_tenant(), kind: Name::new("account").unwrap(), key: AgentKey::new(key).unwrap() }
}

impl Town {
    pub(crate) fn new(
        chance: Chance,
        clock: Clock,
        version: u64,
        failures: Arc<Mutex<HashMap<String, u32>>>,
    ) -> Arc<Self> {
        Arc::new(Self { chance, clock, version, failures })
    }

    fn kind_with(&self, version: u64) -> Arc<Kind> {
        let changing = [
            "add",
            "transfer",
            "credit",
            "collect",
            "withdraw",
            "remind",
            "ring",
            "begin_ticks",
            "end_ticks",
            "tick",
            "poison",
        ];
        let methods = changing.map(|name| (name.to_owned(), Method { read_only: false }));
        let mut methods: BTreeMap<_, _> = methods.into();
        methods.insert("get".into(), Method { read_only: true });
        let name = Name::new("account").unwrap();
        let idle = Duration::from_secs(1);
        Arc::new(Kind { component: name.clone(), version: version.to_string().into(), name, methods, idle })
    }
}

impl Bodies for Town {
    fn kind(&self, _: &Name, _: &Name) -> Option<Arc<Kind>> {
        Some(self.kind_with(self.version))
    }

    fn kind_of_version(&self, _: &Name, _: &Name, version: &str) -> Option<Arc<Kind>> {
        let version = version.parse().ok().filter(|version| *version < self.version)?;
        Some(self.kind_with(version))
    }

    fn nearest_kind(&self, _: &Name, _: &Name) -> Option<String> {
        None
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, _: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        let account = Account {
            version: kind.version.parse().unwrap(),
            chance: self.chance.clone(),
            clock: self.clock.clone(),
            failures: self.failures.clone(),
        };
        Box::pin(async { Ok(Box::new(account) as Box<dyn Body>) })
    }
}

struct Account {
    version: u64,
    chance: Chance,
    clock: Clock,
    failures: Arc<Mutex<HashMap<String, u32>>>,
}

fn trap(why: &str) -> Failure {
    Failure::new(Code::GuestTrap, why)
}

fn number(bytes: Option<Bytes>) -> i64 {
    bytes.map_or(0, |bytes| std::str::from_utf8(&bytes).unwrap().parse().unwrap())
}

/// Adds to a number in the keyed map, and returns what it was.
fn add_to(turn: &mut Turn, key: String, n: i64) -> i64 {
    let before = number(turn.get(&key).unwrap());
    turn.set(key, (before + n).to_string().into()).unwrap();
    before
}

fn text<'a>(input: &'a Value, field: &str) -> &'a str {
    input[field].as_str().unwrap()
}

impl Account {
    /// Fails now and then, but never often enough for a message to be parked.
    fn maybe_fail(&self, what: &str) -> Result<(), Failure> {
        let mut failures = self.failures.lock();
        let so_far = failures.entry(what.to_owned()).or_default();
        if *so_far < 3 && self.chance.hits(150) {
            *so_far += 1;
            return Err(trap("it fails now and then"));
        }
        Ok(())
    }

    async fn run(&self, turn: &mut Turn, method: &str, input: &Value) -> Result<Value, Failure> {
        let here = turn.address().key.to_string();
        let balance = number(turn.load());
        let save = |turn: &mut Turn, balance: i64| turn.save(balance.to_string().into()).unwrap();
        // A turn takes time, so that others run beside it.
        if self.chance.hits(300) {
            self.clock.sleep(Duration::from_micros(1 + self.chance.below(3_000))).await;
        }
        match method {
            "get" => return Ok(json!(balance)),
            "add" => {
                let balance = balance + input["n"].as_i64().unwrap();
                save(turn, balance);
                self.maybe_fail(&format!("add {}", text(input, "id")))?;
                return Ok(json!(balance));
            }
            "transfer" => {
                let (id, to, n) = (text(input, "id"), text(input, "to"), input["n"].as_i64().unwrap());
                add_to(turn, format!("did:{id}"), 1);
                save(turn, balance - n);
                let count = add_to(turn, format!("sent:{to}"), 1);
                let credit = json!({ "id": id, "from": here, "n": n, "count": count });
                turn.tell(account(to), "credit".into(), Payload::json(credit.to_string())).unwrap();
                self.maybe_fail(&format!("transfer {id}"))?;
            }
            "credit" => {
                let (id, from) = (text(input, "id"), text(input, "from"));
                self.maybe_fail(&format!("credit {id}"))?;
                add_to(turn, format!("credited:{id}"), 1);
                save(turn, balance + input["n"].as_i64().unwrap());
                let expected = add_to(turn, format!("got:{from}"), 1);
                if expected != input["count"].as_i64().unwrap() {
                    add_to(turn, format!("disorder:{from}:{expected}:{}", input["count"]), 1);
                }
            }
            "collect" => {
                let (id, from, n) = (text(input, "id"), text(input, "from"), input["n"].as_i64().unwrap());
                let withdraw = json!({ "id": id, "n": n });
                let answer = turn.ask(account(from), "withdraw".into(), Payload::json(withdraw.to_string())).await;
                match answer {
                    Ok(_) => {
                        add_to(turn, format!("did:{id}"), 1);
                        save(turn, balance + n);
                    }
                    // Nothing was withdrawn, and so nothing is collected.
                    Err(failure) if failure.code == Code::ReentrantCall => {
                        add_to(turn, format!("did:{id}"), 1);
                    }
                    Err(failure) => return Err(failure),
                }
                self.maybe_fail(&format!("collect {id}"))?;
            }
            "withdraw" => {
                add_to(turn, format!("withdrawn:{}", text(input, "id")), 1);
                save(turn, balance - input["n"].as_i64().unwrap());
            }
            "remind" => {
                let id = text(input, "id");
                add_to(turn, format!("did:{id}"), 1);
                let at = self.clock.timestamp() + input["n"].as_u64().unwrap();
                let ring = Payload::json(input.to_string());
                turn.set_timer(format!("remind {id}"), Schedule::At(at), "ring".into(), ring).unwrap();
            }
            "ring" => {
                let id = text(input, "id");
                self.maybe_fail(&format!("ring {id}"))?;
                assert_eq!(turn.firing().unwrap().name, format!("remind {id}"));
                add_to(turn, format!("rang:{id}"), 1);
            }
            "begin_ticks" => {
                add_to(turn, format!("did:{}", text(input, "id")), 1);
                if !turn.timers().unwrap().iter().any(|timer| timer.name == "tick") {
                    turn.set("ticks".into(), "0".into()).unwrap();
                    turn.set("ticks since".into(), self.clock.timestamp().to_string().into()).unwrap();
                    turn.set_timer("tick".into(), Schedule::Every(TICK), "tick".into(), Payload::json("{}")).unwrap();
                }
            }
            "end_ticks" => {
                add_to(turn, format!("did:{}", text(input, "id")), 1);
                turn.cancel_timer("tick").unwrap();
            }
            "tick" => {
                let firing = turn.firing().unwrap().clone();
                self.maybe_fail(&format!("tick {here} {}", firing.due))?;
                add_to(turn, "ticks".into(), 1 + i64::try_from(firing.missed).unwrap());
                let last = (firing.due + firing.missed * TICK).to_string();
                turn.set("ticks until".into(), last.into()).unwrap();
            }
            "poison" => {
                if self.version == 0 {
                    return Err(trap("poison"));
                }
                add_to(turn, format!("did:{}", text(input, "id")), 1);
            }
            _ => panic!("there is no method {method}"),
        }
        Ok(Value::Null)
    }
}

impl Body for Account {
    /// Some accounts cannot go over to an odd version.
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        let fails = self.version % 2 == 1 && turn.address().key.as_str().ends_with('1');
        Box::pin(async move { if fails { Err(trap("this account cannot migrate")) } else { Ok(turn) } })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let input = serde_json::from_slice(&input.body).unwrap();
            let answer = self.run(&mut turn, method, &input).await?;
            Ok((turn, Payload::json(answer.to_string())))
        })
    }
}
