//! Windows of a topic: a reader takes some messages at a time, each of them once. Flows read so.
//!
//! Always true: the windows of a reader follow one upon the other, and whoever asks again for the same step gets the same one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stride_agents::Turn;
use stride_ids::{Code, Failure, Payload};

use crate::topic::{SCHEMA, bounds};

/// How many readers a topic may have.
const READERS_MAX: usize = 64;
const READERS: &str = "w/";

/// Who asks, and for which step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reader: String,
    #[serde(default)]
    step: String,
    /// So many messages at least, or none: what waited a moment ago may be somebody else's by now.
    #[serde(default)]
    count_min: u64,
    #[serde(default)]
    count_max: u64,
}

/// The window that a reader took last: the messages behind `after`, up to `until`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    step: String,
    after: u64,
    until: u64,
}

fn asked(payload: &Payload) -> Result<Asked, Failure> {
    serde_json::from_slice(&payload.body)
        .map_err(|e| Failure::new(Code::InvalidRequest, format!("a reader of a topic asks otherwise: {e}")))
}

fn taken(turn: &Turn, reader: &str) -> Result<Option<Taken>, Failure> {
    turn.get(&format!("{READERS}{reader}"))?.map(|row| SCHEMA.decode("window", &row)).transpose()
}

/// How many messages wait for a reader.
pub(crate) fn waiting(turn: &Turn, payload: &Payload) -> Result<Value, Failure> {
    let Asked { reader, .. } = asked(payload)?;
    let (first, last) = bounds(turn)?;
    let after = taken(turn, &reader)?.map_or(0, |taken| taken.until).max(first - 1);
    Ok(json!({ "waiting": last.saturating_sub(after) }))
}

/// Gives a reader its next window, or the same one if it is asked for again. An empty one takes nothing.
pub(crate) fn window(turn: &mut Turn, payload: &Payload) -> Result<Value, Failure> {
    let Asked { reader, step, count_min, count_max } = asked(payload)?;
    let before = taken(turn, &reader)?;
    if let Some(Taken { after, until, .. }) = before.as_ref().filter(|taken| taken.step == step) {
        return Ok(json!({ "after": after, "until": until }));
    }
    if before.is_none() && turn.scan(READERS, None, READERS_MAX)?.len() == READERS_MAX {
        let message = format!("topic `{}` has {READERS_MAX} flows that read it, which is the most", turn.address().key);
        return Err(Failure::new(Code::Overloaded, message));
    }
    let (first, last) = bounds(turn)?;
    // What was not kept long enough is passed over.
    let after = before.map_or(0, |before| before.until).max(first - 1);
    let until = last.min(after.saturating_add(count_max)).max(after);
    if until - after < count_min {
        return Ok(json!({ "after": after, "until": after }));
    }
    if until > after {
        turn.set(format!("{READERS}{reader}"), SCHEMA.encode(&Taken { step, after, until }))?;
    }
    Ok(json!({ "after": after, "until": until }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_release_writes_stays_readable() {
        let taken = Taken { step: "/s".into(), after: 3, until: 300 };
        let written = [1, 2, 47, 115, 3, 172, 2];
        assert_eq!(SCHEMA.encode(&taken).to_vec(), written);
        assert_eq!(SCHEMA.decode::<Taken>("window", &written).unwrap(), taken);
    }
}
