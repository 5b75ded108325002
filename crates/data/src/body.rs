//! Buckets as agents of a type that the platform serves itself: the index of a bucket is durable, recovered, moved and
//! fenced exactly as every other agent, and there is no second database that could disagree with the first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stride_agents::{Bodies, Body, Kind, Method, Turn};
use stride_ids::{Address, AgentKey, BucketName, Code, Failure, Name, Payload};

use crate::{index, message::METHODS};

/// The agent type of buckets, which is reserved.
const KIND: &str = "stride-bucket";
/// How long a bucket that nobody uses stays in memory. There is next to nothing to keep, nor to bring back.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) fn kind() -> Name {
    Name::new(KIND).expect("the name follows the rule")
}

pub(crate) fn address(tenant: &Name, bucket: &BucketName) -> Address {
    let key = AgentKey::new(bucket.as_str()).expect("the name of a bucket is a key");
    Address { tenant: tenant.clone(), kind: kind(), key }
}

pub(crate) fn bucket_of(address: &Address) -> Result<BucketName, Failure> {
    let damaged = |e| Failure::new(Code::Internal, format!("a stored bucket is damaged: {e}"));
    BucketName::new(address.key.as_str()).map_err(damaged)
}

/// Serves buckets, and leaves all other agent types to `others`.
pub struct WithBuckets {
    others: Arc<dyn Bodies>,
    buckets: Arc<Kind>,
}

impl WithBuckets {
    /// Puts buckets beside what `others` serves.
    pub fn new(others: Arc<dyn Bodies>) -> Self {
        let methods: BTreeMap<_, _> =
            METHODS.iter().map(|(name, read_only)| ((*name).to_owned(), Method { read_only: *read_only })).collect();
        let buckets = Kind { component: kind(), version: "1".into(), name: kind(), methods, idle: IDLE };
        Self { others, buckets: Arc::new(buckets) }
    }
}

impl Bodies for WithBuckets {
    fn kind(&self, tenant: &Name, name: &Name) -> Option<Arc<Kind>> {
        if *name == self.buckets.name { Some(self.buckets.clone()) } else { self.others.kind(tenant, name) }
    }

    fn kind_of_version(&self, tenant: &Name, name: &Name, version: &str) -> Option<Arc<Kind>> {
        if *name == self.buckets.name { None } else { self.others.kind_of_version(tenant, name, version) }
    }

    fn nearest_kind(&self, tenant: &Name, name: &Name) -> Option<String> {
        self.others.nearest_kind(tenant, name)
    }

    fn start<'a>(&'a self, kind: &'a Arc<Kind>, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Body>, Failure>> {
        if kind.name == self.buckets.name {
            return Box::pin(async { Ok(Box::new(Bucket) as Box<dyn Body>) });
        }
        self.others.start(kind, address)
    }
}

/// The body of a bucket's agent. All it knows is in the turn.
struct Bucket;

impl Body for Bucket {
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
            let answer = index::handle(&mut turn, method, &input.body)?;
            Ok((turn, answer))
        })
    }
}
