//! Who is told of changes in a bucket: agents of the platform, in the commit that makes a version visible. So nobody sees an
//! object of which they were not told, and nobody is told of one that is not there.

use serde::{Deserialize, Serialize};
use serde_json::json;
use stride_agents::{
    Turn,
    native::{BOUND, Bound, EVENT, answer},
};
use stride_ids::{Address, AgentKey, Code, Failure, Name, ObjectKey, Payload};

use crate::row::{self, Version, WATCHERS};

/// Has whoever tells it told of changes. A second time it takes the place of the first.
pub const WATCH: &str = "watch";
/// Ends that.
pub const UNWATCH: &str = "unwatch";
/// How many may watch a bucket.
const WATCHERS_MAX: usize = 64;

/// Of which changes somebody wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Of objects with keys that begin like this.
    pub prefix: String,
    /// And end like this.
    pub suffix: String,
    /// When a version was put.
    pub written: bool,
    /// When the object was deleted.
    pub removed: bool,
    /// What the confirmation names.
    pub binding: String,
}

impl Watch {
    fn is_about(&self, key: &ObjectKey, version: &Version) -> bool {
        let wanted = if version.content.is_some() { self.written } else { self.removed };
        // A key that begins and ends with the same letters has both only if it is long enough for both.
        let rest = key.as_str().strip_prefix(&*self.prefix);
        wanted && rest.is_some_and(|rest| rest.ends_with(&self.suffix))
    }
}

pub(crate) fn watch(turn: &mut Turn, watch: &Watch) -> Result<(), Failure> {
    let sender = watcher(turn)?;
    let name = name_of(&sender);
    let is_full = turn.get(&name)?.is_none() && turn.scan(WATCHERS, None, WATCHERS_MAX)?.len() == WATCHERS_MAX;
    let outcome = match is_full {
        true => {
            Err(Failure::new(Code::Overloaded, format!("{WATCHERS_MAX} triggers watch this bucket, which is the most")))
        }
        false => Ok(turn.set(name, row::SCHEMA.encode(watch))?),
    };
    Ok(turn.tell(sender, BOUND.into(), answer(&Bound { binding: watch.binding.clone(), outcome }))?)
}

pub(crate) fn unwatch(turn: &mut Turn) -> Result<(), Failure> {
    let sender = watcher(turn)?;
    Ok(turn.delete(name_of(&sender))?)
}

/// Tells those who watch of the newest version of an object.
pub(crate) fn tell(turn: &mut Turn, key: &ObjectKey, version: &Version) -> Result<(), Failure> {
    let watchers = turn.scan(WATCHERS, None, WATCHERS_MAX)?;
    let mut event = None;
    for (name, bytes) in watchers {
        let watch: Watch = row::SCHEMA.decode("watcher", &bytes)?;
        if watch.is_about(key, version) {
            let event = event.get_or_insert_with(|| event_of(turn.address(), key, version)).clone();
            turn.tell(watcher_of(turn, &name)?, EVENT.into(), event)?;
        }
    }
    Ok(())
}

/// A CloudEvent. Its id holds a time as well, because versions begin anew in a bucket that was removed and made again.
fn event_of(bucket: &Address, key: &ObjectKey, version: &Version) -> Payload {
    let Version { id, at, content } = version;
    let (kind, data) = match content {
        Some(content) => {
            let etag = content.etag.to_string();
            let what = json!({"bucket": bucket.key, "key": key, "version": id.0, "bytes": content.len, "etag": etag, "content_type": content.content_type});
            ("stride.object.written", what)
        }
        None => ("stride.object.removed", json!({"bucket": bucket.key, "key": key, "version": id.0})),
    };
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis((*at).min(253_402_300_799_999));
    let event = json!({
        "specversion": "1.0",
        "id": format!("{}-{at:x}", id.0),
        "source": format!("/objects/{}", bucket.key),
        "type": kind,
        "subject": key,
        "time": humantime::format_rfc3339_millis(time).to_string(),
        "datacontenttype": Payload::JSON,
        "data": data,
    });
    Payload { content_type: "application/cloudevents+json".into(), body: event.to_string().into() }
}

fn watcher(turn: &Turn) -> Result<Address, Failure> {
    let sender = turn.sender().filter(|sender| sender.tenant == turn.address().tenant);
    sender.cloned().ok_or_else(|| Failure::new(Code::InvalidRequest, "only an agent can watch a bucket"))
}

fn name_of(watcher: &Address) -> String {
    format!("{WATCHERS}{}/{}", watcher.kind, watcher.key)
}

fn watcher_of(turn: &Turn, name: &str) -> Result<Address, Failure> {
    let parts = name.strip_prefix(WATCHERS).and_then(|rest| rest.split_once('/'));
    let parts = parts.and_then(|(kind, key)| Some((Name::new(kind).ok()?, AgentKey::new(key).ok()?)));
    let (kind, key) = parts.ok_or_else(|| Failure::new(Code::Internal, "a stored watcher is damaged"))?;
    Ok(Address { tenant: turn.address().tenant.clone(), kind, key })
}

#[cfg(test)]
mod tests {
    use stride_ids::VersionId;

    use super::*;

    #[test]
    fn prefix_and_suffix_do_not_overlap_and_changes_are_told_apart() {
        let watch = |prefix: &str, suffix: &str| Watch {
            prefix: prefix.into(),
            suffix: suffix.into(),
            written: false,
            removed: true,
            binding: String::new(),
        };
        let removed = Version { id: VersionId(1), at: 1, content: None };
        let is_about = |watch: Watch, key: &str| watch.is_about(&ObjectKey::new(key).unwrap(), &removed);
        assert!(is_about(watch("", ""), "a") && is_about(watch("in/", ".jpg"), "in/a.jpg"));
        assert!(!is_about(watch("in/", ".jpg"), "in/a.png") && !is_about(watch("in/", ".jpg"), "out/a.jpg"));
        assert!(!is_about(watch("aba", "ba"), "aba") && is_about(watch("aba", "ba"), "ababa"));
        assert!(!is_about(Watch { removed: false, written: true, ..watch("", "") }, "a"));
    }
}
