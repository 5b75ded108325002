//! An agent that messages others, asks them and sets timers.

use std::time::Duration;

use stride::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Post {
    got: Vec<String>,
    #[serde(default)]
    taken: u64,
}

#[stride::agent]
impl Post {
    fn note(&mut self, text: String) {
        println!("got {text}");
        self.got.push(text);
    }

    fn got(&self) -> Vec<String> {
        self.got.clone()
    }

    /// Tells another one so many messages.
    fn tell(&mut self, to: String, count: u32) -> Result<(), Failure> {
        println!("tells {to}");
        (0..count).try_for_each(|n| stride::agent("post", to.as_str()).tell("note", &n.to_string()))
    }

    /// Sends a parcel to another one, which only counts it.
    fn send(&mut self, to: String, parcel: String) -> Result<(), Failure> {
        stride::agent("post", to).tell("take", &parcel)
    }

    fn take(&mut self, _parcel: String) {
        self.taken += 1;
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    /// How many parcels another one has taken.
    fn taken_by(&self, other: String) -> Result<u64, Failure> {
        stride::agent("post", other).ask("taken", &())
    }

    /// Publishes to a topic.
    fn publish(&mut self, topic: String, text: String) -> Result<(), Failure> {
        stride::agent("topic", topic).tell("publish", &text)
    }

    /// Publishes, and then fails.
    fn publish_then_fail(&mut self, topic: String, text: String) -> Result<(), Failure> {
        self.publish(topic, text)?;
        Err(Failure::new(Code::GuestError, "after publishing"))
    }

    /// Tells, and then fails.
    fn tell_then_fail(&mut self, to: String) -> Result<(), Failure> {
        self.tell(to, 1)?;
        Err(Failure::new(Code::GuestError, "after telling"))
    }

    /// A method that only reads must not tell.
    fn tell_while_reading(&self, to: String) -> Result<(), Failure> {
        stride::agent("post", to).tell("note", "never")
    }

    fn tell_too_much(&mut self, to: String, bytes: usize) -> Result<(), Failure> {
        let body = vec![b'x'; bytes];
        stride::agent("post", to).tell_raw("note", Payload { content_type: "text/plain".into(), body })
    }

    /// Asks along a chain of agents.
    fn ask_along(&mut self, chain: Vec<String>) -> Result<usize, Failure> {
        let Some((next, rest)) = chain.split_first() else { return Ok(self.got.len()) };
        stride::agent("post", next.as_str()).ask("ask_along", rest)
    }

    fn remind(&mut self, milliseconds: u64) -> Result<(), Failure> {
        timer::set("once", timer::after(Duration::from_millis(milliseconds)), "ring", &())
    }

    fn begin(&mut self, milliseconds: u64) -> Result<(), Failure> {
        timer::set("again", timer::every(Duration::from_millis(milliseconds)), "ring", &())
    }

    fn schedule(&mut self, cron: String) -> Result<(), Failure> {
        timer::set("planned", timer::cron(&cron), "ring", &())
    }

    fn cancel(&mut self, name: String) -> bool {
        timer::cancel(&name)
    }

    fn timers(&self) -> Vec<String> {
        timer::list().into_iter().map(|timer| timer.name).collect()
    }

    fn ring(&mut self) {
        let rang = timer::firing().map_or("nobody".to_owned(), |firing| format!("{}+{}", firing.name, firing.missed));
        self.got.push(rang);
    }
}

/// A function tells as well; the message is durable when it answers.
#[stride::function]
fn posts(to: String, text: String) -> Result<(), Failure> {
    stride::agent("post", to).tell("note", &text)
}

/// A function asks an agent, which tells another one.
#[stride::function]
fn asks_to_tell(agent: String, to: String) -> Result<(), Failure> {
    println!("asks {agent}");
    stride::agent("post", agent).ask("tell", &(to, 1))
}
