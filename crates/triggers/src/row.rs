//! What a trigger keeps: its standing as typed state, and rows for events that wait and for dead letters.
//!
//! ```text
//! q/NUMBER   an event that waits      d/NUMBER   a dead letter      numbers in 16 hex digits, in the order in which events came
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stride_agents::native::Schema;
use stride_ids::{Code, Failure};
use stride_sim::Timestamp;

pub(crate) const SCHEMA: Schema = Schema(1);
pub(crate) const WAITING: &str = "q/";
pub(crate) const DEAD: &str = "d/";

pub(crate) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:016x}")
}

pub(crate) fn number_of(prefix: &str, name: &str) -> Result<u64, Failure> {
    let number = name.strip_prefix(prefix).and_then(|rest| u64::from_str_radix(rest, 16).ok());
    number.ok_or_else(|| Failure::new(Code::Internal, "a stored row has no number"))
}

/// How a trigger stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// What it is, as JSON; none if no deployment has it any more.
    pub(crate) spec: Option<String>,
    /// When the deployment came that said so.
    pub(crate) since: Timestamp,
    /// Why it is paused, if it is.
    pub(crate) paused: Option<String>,
    /// Whether its source tells it of events; or why not. None: the source has not answered yet.
    pub(crate) bound: Option<Result<(), Failure>>,
    /// The number of the next event that waits.
    pub(crate) next: u64,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
    /// How many events were delivered, and how many the filter has passed over.
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    /// When the last event came.
    pub(crate) last_at: Option<Timestamp>,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) event: Bytes,
    /// How often its delivery has failed, and when it is tried again.
    pub(crate) attempts: u32,
    pub(crate) due: Timestamp,
}

/// An event that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dead {
    pub(crate) event: Bytes,
    pub(crate) attempts: u32,
    pub(crate) cause: Failure,
    pub(crate) at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_release_writes_stays_readable() {
        // Bytes as they were written first; a change of the format adds a schema and keeps reading this one.
        let waiting = Waiting { event: Bytes::from_static(b"{}"), attempts: 1, due: 300 };
        let written = [1, 2, 123, 125, 1, 172, 2];
        assert_eq!(SCHEMA.encode(&waiting).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Waiting>("event", &written).unwrap(), waiting);
        let standing = Standing { spec: Some("s".into()), bound: Some(Ok(())), next: 1, ..Standing::default() };
        let written = [1, 1, 1, 115, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(SCHEMA.encode(&standing).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Standing>("trigger", &written).unwrap(), standing);
    }

    #[test]
    fn rows_lie_in_the_order_of_their_numbers() {
        let names = [numbered(DEAD, 3), numbered(WAITING, 9), numbered(WAITING, 10), numbered(WAITING, u64::MAX)];
        assert!(names.is_sorted());
        assert_eq!((number_of(WAITING, &names[2]).unwrap(), number_of(WAITING, &names[0]).is_err()), (10, true));
    }
}
