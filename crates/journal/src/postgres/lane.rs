//! The lane: batches go to the server one after another, and whatever has no answer is asked for.
//!
//! One connection and one batch in flight: while a batch is being committed the next one gathers, which is group commit
//! without a timer. When the connection is lost a new one is made, and the first thing in it is to ask about all that is in
//! doubt.

use std::sync::Arc;

use stride_sim::Backoff;

use super::{
    connect::Trouble,
    database::{CLOSE_MAX, Shared},
    session::Session,
};
use crate::Error;

/// Runs until the journal is closed and everything is stored, or nothing more can be.
pub(crate) async fn run(shared: &Arc<Shared>) {
    let mut lane = Lane { shared, backoff: Backoff::default(), told: Vec::new() };
    let ended = lane.run();
    let given_up = async {
        shared.close.notified().await;
        shared.clock.sleep(CLOSE_MAX).await;
    };
    let why = tokio::select! {
        why = ended => why,
        why = shared.stopped() => why,
        () = given_up => Error::Stopped("it was closed while the database was away".into()),
    };
    shared.state.lock().tail.stop(why);
}

struct Lane<'a> {
    shared: &'a Arc<Shared>,
    backoff: Backoff,
    /// The risks that were logged.
    told: Vec<String>,
}

impl Lane<'_> {
    /// Connects and serves until it is over, and says why it is.
    async fn run(&mut self) -> Error {
        loop {
            let served = match self.shared.connect().await {
                Ok(mut session) => self.serve(&mut session).await,
                Err(trouble) => Err(trouble),
            };
            match served {
                Ok(()) => return Error::Stopped("it was closed".into()),
                // Nothing acknowledged is lost, but nothing can be added by this journal either.
                Err(Trouble::Lasting(error)) => return error,
                Err(Trouble::Passing(why) | Trouble::Refused(why)) => self.shared.note_trouble(&why),
            }
            self.shared.clock.sleep(self.backoff.next(&self.shared.chance)).await;
        }
    }

    async fn serve(&mut self, session: &mut Session) -> Result<(), Trouble> {
        for risk in &session.risks {
            if !self.told.contains(risk) {
                tracing::warn!("{risk}");
                self.told.push(risk.clone());
            }
        }
        let shared = self.shared;
        // If something waits, it is the answer to that which counts.
        if shared.state.lock().tail.is_empty() {
            shared.note_answer();
        }
        loop {
            let doubts = shared.state.lock().tail.doubts();
            if !doubts.is_empty() {
                shared.note_sent();
                let statuses = session.ask(&doubts).await?;
                let mut state = shared.state.lock();
                state.tail.resolve(&statuses);
                drop(state);
                self.answered();
                continue;
            }
            let (batch, slot, over) = {
                let mut state = shared.state.lock();
                let batch = state.tail.next_batch();
                (batch, state.link.slot, state.closing && state.tail.is_empty())
            };
            match batch {
                Some(batch) => {
                    shared.note_sent();
                    match session.store(&batch, slot).await {
                        Ok(stored) => {
                            shared.state.lock().tail.answered(&batch, &stored);
                            self.answered();
                        }
                        Err(trouble) => {
                            shared.state.lock().tail.unanswered();
                            return Err(trouble);
                        }
                    }
                }
                None if over => return Ok(()),
                None => tokio::select! {
                    () = shared.wake.notified() => {}
                    () = session.ended() => return Err(Trouble::Passing("the connection ended".into())),
                },
            }
        }
    }

    fn answered(&mut self) {
        self.backoff = Backoff::default();
        self.shared.note_answer();
    }
}

impl Shared {
    /// Something was sent that is to be answered.
    fn note_sent(&self) {
        let now = self.clock.now();
        self.state.lock().link.waiting_since.get_or_insert(now);
    }

    fn note_answer(&self) {
        let link = &mut self.state.lock().link;
        link.waiting_since = None;
        if let Some(trouble) = link.trouble.take() {
            tracing::info!(trouble, "the database answers again");
        }
    }

    fn note_trouble(&self, why: &str) {
        let now = self.clock.now();
        let link = &mut self.state.lock().link;
        link.waiting_since.get_or_insert(now);
        if link.trouble.as_deref() != Some(why) {
            tracing::warn!(why, "the database does not answer; what is ordered waits, and it is tried again");
        }
        link.trouble = Some(why.to_owned());
    }
}
