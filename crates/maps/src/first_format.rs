//! A map as it was stored before its versions were part of it. It is read, and goes on with the versions in force.

use serde::Deserialize;
use stride_ids::Code;
use stride_sim::Timestamp;

use crate::{
    row::{Cursor, Run, State},
    spec::Spec,
};

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct FirstRun {
    spec: Spec,
    state: State,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    pages: u64,
    items: u64,
    cursor: Cursor,
    is_planned: bool,
    done: u64,
    failed: Vec<(Code, u64)>,
    bytes: u64,
}

/// Reads what stands behind the schema.
pub(crate) fn read(bytes: &[u8]) -> Result<Run, postcard::Error> {
    let FirstRun { spec, state, created_at, ended_at, pages, items, cursor, is_planned, done, failed, bytes } =
        postcard::from_bytes(bytes)?;
    let begun = Run::begun(spec, Default::default(), created_at);
    Ok(Run { state, ended_at, pages, items, cursor, is_planned, done, failed, bytes, ..begun })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_was_stored_before_its_versions_were_is_read() {
        let spec: Spec = serde_json::from_str(r#"{"function": "a/b", "over": "data/x"}"#).unwrap();
        let cursor = Cursor { after: Some("x/1".into()), within: None };
        let first = FirstRun {
            spec: spec.clone(),
            state: State::Running,
            created_at: 7,
            ended_at: None,
            pages: 2,
            items: 300,
            cursor: cursor.clone(),
            is_planned: false,
            done: 12,
            failed: vec![(Code::GuestError, 1)],
            bytes: 99,
        };
        let bytes = postcard::to_extend(&first, vec![1]).unwrap();
        let run = Run::decode(&bytes).unwrap();
        let expected = Run {
            pages: 2,
            items: 300,
            cursor,
            done: 12,
            failed: vec![(Code::GuestError, 1)],
            bytes: 99,
            ..Run::begun(spec, Default::default(), 7)
        };
        assert_eq!(run, expected);
        assert_eq!(Run::decode(&run.encode()), Ok(expected));
        assert!(Run::decode(&[3, 0]).unwrap_err().message.contains("schema 3"));
    }
}
