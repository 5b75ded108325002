//! Buckets as agents of a type that the platform serves itself.

use stride_agents::native::NativeType;
use stride_ids::{Address, AgentKey, BucketName, Code, Failure, Name};

use crate::{index, message::METHODS};

/// The agents that keep buckets.
pub const BUCKETS: NativeType = NativeType { name: "stride-bucket", methods: &METHODS, handle: index::handle };

/// The agent that keeps a bucket.
pub fn address(tenant: &Name, bucket: &BucketName) -> Address {
    let key = AgentKey::new(bucket.as_str()).expect("the name of a bucket is a key");
    Address { tenant: tenant.clone(), kind: BUCKETS.name(), key }
}

pub(crate) fn bucket_of(address: &Address) -> Result<BucketName, Failure> {
    let damaged = |e| Failure::new(Code::Internal, format!("a stored bucket is damaged: {e}"));
    BucketName::new(address.key.as_str()).map_err(damaged)
}
