//! The messages that wait for one agent, as far as deciding which one is next needs to know them.
//!
//! Always true: messages of one sender are handled in their order, one that waits to be tried again holds back only the
//! later ones of its sender, and what is in here is also a row in the store.

use std::collections::BTreeMap;

use stride_ids::{Address, MessageId};
use stride_sim::Timestamp;

use crate::message::Sender;

/// See the module.
#[derive(Default)]
pub(crate) struct Inbox {
    waiting: BTreeMap<MessageId, Entry>,
    /// A task is working through it.
    pub(crate) drained: bool,
}

struct Entry {
    from: From,
    not_before: Timestamp,
}

/// Whose messages are to stay in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Nobody,
    Agent(Address),
    Timer(String),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Handle this message.
    Run(MessageId),
    /// Look again at this time.
    At(Timestamp),
    /// Nothing waits.
    Nothing,
}

impl Inbox {
    pub(crate) fn add(&mut self, id: MessageId, sender: &Sender, not_before: Timestamp) {
        let from = match sender {
            Sender::Outside => From::Nobody,
            Sender::Agent(agent) => From::Agent(agent.clone()),
            Sender::Timer(firing) => From::Timer(firing.name.clone()),
        };
        self.waiting.insert(id, Entry { from, not_before });
    }

    pub(crate) fn remove(&mut self, id: MessageId) {
        self.waiting.remove(&id);
    }

    pub(crate) fn defer(&mut self, id: MessageId, not_before: Timestamp) {
        if let Some(entry) = self.waiting.get_mut(&id) {
            entry.not_before = not_before;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a message of this timer waits already.
    pub(crate) fn has_timer(&self, name: &str) -> bool {
        self.waiting.values().any(|entry| matches!(&entry.from, From::Timer(timer) if timer == name))
    }

    pub(crate) fn next(&self, now: Timestamp) -> Next {
        let mut held: Vec<&From> = Vec::new();
        let mut soonest = None;
        for (id, entry) in &self.waiting {
            if held.contains(&&entry.from) {
                continue;
            }
            if entry.not_before <= now {
                return Next::Run(*id);
            }
            soonest = Some(soonest.map_or(entry.not_before, |at: Timestamp| at.min(entry.not_before)));
            if entry.from != From::Nobody {
                held.push(&entry.from);
            }
        }
        soonest.map_or(Next::Nothing, Next::At)
    }
}

#[cfg(test)]
mod tests {
    use stride_ids::{AgentKey, Name, Seq};

    use super::*;

    fn id(record: u64) -> MessageId {
        MessageId { record: Seq(record), index: 0 }
    }

    fn from(key: &str) -> Sender {
        let kind = Name::new("a").unwrap();
        Sender::Agent(Address { tenant: Name::default_tenant(), kind, key: AgentKey::new(key).unwrap() })
    }

    #[test]
    fn a_message_that_waits_holds_back_later_ones_of_its_sender_and_no_others() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.next(0), Next::Nothing);
        inbox.add(id(1), &from("x"), 0);
        inbox.add(id(2), &from("x"), 0);
        inbox.add(id(3), &from("y"), 0);
        inbox.add(id(4), &Sender::Outside, 0);
        inbox.add(id(5), &Sender::Outside, 0);
        assert_eq!(inbox.next(0), Next::Run(id(1)));
        inbox.defer(id(1), 10);
        assert_eq!(inbox.next(0), Next::Run(id(3)));
        inbox.remove(id(3));
        inbox.defer(id(4), 20);
        assert_eq!(inbox.next(0), Next::Run(id(5)));
        inbox.remove(id(5));
        assert_eq!(inbox.next(0), Next::At(10));
        assert_eq!(inbox.next(10), Next::Run(id(1)));
        inbox.remove(id(1));
        assert_eq!(inbox.next(10), Next::Run(id(2)));
        inbox.remove(id(2));
        assert_eq!(inbox.next(10), Next::At(20));
    }

    #[test]
    fn a_timer_whose_message_still_waits_is_known() {
        let mut inbox = Inbox::default();
        let firing = crate::timer::Firing { name: "tick".into(), due: 1, missed: 0 };
        inbox.add(id(1), &Sender::Timer(firing), 0);
        assert!(inbox.has_timer("tick") && !inbox.has_timer("tock"));
    }
}
