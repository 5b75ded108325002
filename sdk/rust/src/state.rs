//! An agent's keyed map: durable state entry by entry, for what is too large to be saved whole with the struct.
//!
//! Only an agent has it, and only while it handles a message; elsewhere a call ends the run with
//! `capability_denied`. A method that takes `&self` may read it and not write it. Values are JSON, or bytes as they are.

use std::collections::VecDeque;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bindings::stride::guest::state as host,
    failure::{Code, Failure},
};

/// How many entries are fetched at a time.
const PAGE: u32 = 256;

/// The value of an entry.
///
/// # Errors
/// If what is stored is not a `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    host::get(key).map(|bytes| decode(key, &bytes)).transpose()
}

/// Sets an entry.
///
/// # Errors
/// If the value cannot be written as JSON.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Failure::new(Code::Internal, format!("the value for `{key}` is not JSON: {e}")))?;
    host::set(key, &bytes);
    Ok(())
}

/// The bytes of an entry as they are: for what [`set_raw`] stored.
pub fn get_raw(key: &str) -> Option<Vec<u8>> {
    host::get(key)
}

/// Sets an entry to these bytes: for what would be larger or slower as JSON.
pub fn set_raw(key: &str, bytes: &[u8]) {
    host::set(key, bytes);
}

/// Deletes an entry; there may be none.
pub fn delete(key: &str) {
    host::delete(key);
}

/// The entries whose key starts with `prefix`, in key order. They are fetched page by page while you iterate.
pub fn scan<T: DeserializeOwned>(prefix: &str) -> impl Iterator<Item = Result<(String, T), Failure>> {
    let prefix = prefix.to_owned();
    let mut page: VecDeque<(String, Vec<u8>)> = VecDeque::new();
    let mut after = None;
    let mut more = true;
    std::iter::from_fn(move || {
        if page.is_empty() && more {
            page = host::scan(&prefix, after.as_deref(), PAGE).into();
            more = page.len() == PAGE as usize;
            after = page.back().map(|(key, _)| key.clone());
        }
        let (key, bytes) = page.pop_front()?;
        Some(decode(&key, &bytes).map(|value| (key, value)))
    })
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|e| Failure::new(Code::Internal, format!("the stored value for `{key}` has another shape: {e}")))
}
