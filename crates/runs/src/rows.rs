//! The rows of a run, kept in its agent's keyed map.

use bytes::Bytes;
use stride_agents::Turn;
use stride_flows::Rows;
use stride_ids::Failure;

/// The rows as a turn sees and changes them.
pub(crate) struct TurnRows<'a>(pub(crate) &'a mut Turn);

impl Rows for TurnRows<'_> {
    fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.get(key)?)
    }

    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Failure> {
        Ok(self.0.set(key.to_owned(), value)?)
    }

    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        Ok(self.0.delete(key.to_owned())?)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, Failure> {
        Ok(self.0.scan(prefix, after, limit)?)
    }
}
