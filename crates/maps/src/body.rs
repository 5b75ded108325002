//! Maps as agents of a type that the platform serves itself: how far one is and what it brought is durable and recovered
//! exactly as with every other agent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stride_agents::{Bodies, Body, Kind, Method, Turn};
use stride_ids::{Address, Failure, Name, Payload};

use crate::{book, id, message::METHODS};

/// How long a map that nobody looks at stays in memory. There is next to nothing to keep, nor to bring back.
const IDLE: Duration = Duration::from_secs(60);

/// Serves maps, and leaves all other agent types to `others`.
pub struct WithMaps {
    others: Arc<dyn Bodies>,
    maps: Arc<Kind>,
}

impl WithMaps {
    /// Puts maps beside what `others` serves.
    pub fn new(others: Arc<dyn Bodies>) -> Self {
        let methods: BTreeMap<_, _> =
            METHODS.iter().map(|(name, read_only)| ((*name).to_owned(), Method { read_only: *read_only })).collect();
        let maps = Kind { component: id::kind(), version: "1".into(), name: id::kind(), methods, idle: IDLE };
        Self { others, maps: Arc::new(maps) }
    }
}

impl Bodies for WithMaps {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        if *name == self.maps.name { Some(self.maps.clone()) } else { self.others.kind(tenant, name) }
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        if *name == self.maps.name { None } else { self.others.kind_of_version(tenant, name, version) }
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        self.others.nearest_kind(tenant, name)
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        if kind.name == self.maps.name {
            return Box::pin(async { Ok(Box::new(Map) as Box<dyn Body>) });
        }
        self.others.start(kind, address)
    }
}

/// The body of a map's agent. All it knows is in the turn.
struct Map;

impl Body for Map {
    fn migrate<'a>(&'a mut self, turn: Turn, _: &'a str) -> BoxFuture<'a, Result<Turn, Failure>> {
        // Rows carry their schema and are read as they are.
        Box::pin(async { Ok(turn) })
    }

    fn turn<'a>(
        &'a mut self,
        mut turn: Turn,
        method: &'a str,
        input: Payload,
    ) -> BoxFuture<'a, Result<(Turn, Payload), Failure>> {
        Box::pin(async move {
            let answer = book::handle(&mut turn, method, &input.body)?;
            Ok((turn, answer))
        })
    }
}
