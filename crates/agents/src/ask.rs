//! Asks: with somebody waiting for the answer, who may be a client, or a turn of another agent, here or on another node.

use std::sync::Arc;

use stride_ids::{Address, Code, Failure};

use crate::{
    cell::Cell,
    elsewhere::{Asked, Cluster, NotDone},
    engine::{Engine, journal_failure, method_of},
    held::{Emitted, Held},
    message::{Answer, Ask, Timing, check_key, fingerprint},
    order::on_its_way,
    record::Reply,
};

impl Engine {
    /// Has one agent handle one message. The answer is durable, and so is everything that it shows.
    ///
    /// # Errors
    /// The turn left no trace, except for `unavailable` from a journal that stopped: then the outcome is unknown until
    /// the node is back, and the same idempotency key finds it out.
    pub async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer, Failure> {
        check_key(ask.idempotency_key.as_ref())?;
        ask.input.check_size("request")?;
        self.ask_anywhere(&Asked { ask, waiting: Vec::new() }).await
    }

    /// Has an agent of this node answer for another node, to which its own client or agent came.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if the cell is not here; else as [`Engine::ask`].
    pub async fn ask_here(self: &Arc<Self>, asked: Asked) -> Result<Answer, NotDone> {
        let inside = self.inside(&asked.ask.address, !asked.waiting.is_empty()).ok_or(NotDone::NotHere)?;
        check_key(asked.ask.idempotency_key.as_ref())?;
        if let Some(answer) = self.first_answer(&inside, &asked.ask).await? {
            return Ok(answer);
        }
        let _waiting = self.waits.enter_chain(&asked.waiting, &asked.ask.address)?;
        Ok(self.answer(&inside, &asked.ask, &asked.waiting).await?)
    }

    /// Has whoever owns the agent's cell answer, and follows the cell if it moves.
    pub(crate) async fn ask_anywhere(self: &Arc<Self>, asked: &Asked) -> Result<Answer, Failure> {
        let ask = &asked.ask;
        let mut patience = self.patience();
        loop {
            if let Some(inside) = self.inside(&ask.address, !asked.waiting.is_empty()) {
                return self.answer(&inside, ask, &asked.waiting).await;
            }
            let cluster = self.cluster.as_ref().ok_or_else(|| on_its_way(self.cell_id(&ask.address)))?;
            match self.ask_elsewhere(cluster, asked).await {
                Ok(answer) => return Ok(answer),
                Err(NotDone::Failed(failure)) => return Err(failure),
                Err(NotDone::Unknown(failure)) if !self.may_be_repeated(ask) => return Err(failure),
                Err(NotDone::Unknown(_) | NotDone::NotHere) => patience.wait(self.cell_id(&ask.address)).await?,
            }
        }
    }

    async fn ask_elsewhere(&self, cluster: &Cluster, asked: &Asked) -> Result<Answer, NotDone> {
        let answer = cluster.elsewhere.ask(asked.clone());
        if asked.waiting.is_empty() {
            return answer.await;
        }
        let late = |_| {
            let message = format!(
                "{} did not answer within {:?}; it may wait for one of those that wait for it",
                asked.ask.address, self.settings.asking_max
            );
            Err(NotDone::Failed(Failure::new(Code::DeadlineExceeded, message)))
        };
        self.clock.timeout(self.settings.asking_max, answer).await.unwrap_or_else(late)
    }

    /// Whether an ask that may have been answered already can be asked again without harm.
    fn may_be_repeated(&self, ask: &Ask) -> bool {
        let reads = || self.kind_of(&ask.address).is_ok_and(|kind| method_of(&kind, &ask.method) == Ok(true));
        ask.idempotency_key.is_some() || reads()
    }

    async fn answer(self: &Arc<Self>, cell: &Arc<Cell>, ask: &Ask, waiting: &[Address]) -> Result<Answer, Failure> {
        let kind = self.kind_of(&ask.address)?;
        let read_only = method_of(&kind, &ask.method)?;
        let mut timing = Timing::default();
        let (held, pending) = self.take_turn(cell, &kind, read_only, ask, waiting, &mut timing).await?;
        let commits = pending.is_some();

        let computed = self.clock.now();
        let receipt = match pending {
            Some(pending) => pending.await,
            None => cell.settled(&*self.journal, held.needs()).await,
        };
        let receipt = receipt.map_err(|e| journal_failure(&e))?;
        self.settle(cell, &receipt);
        if !commits {
            self.confirm_owner(cell).await?;
        }
        timing.commit = self.clock.now() - computed;

        let Emitted { payload, turn, replayed } = held.release(&receipt);
        let counter = match (replayed, read_only) {
            (true, _) => &self.counters.replayed,
            (false, true) => &self.counters.read,
            (false, false) => &self.counters.committed,
        };
        counter.add_one();
        Ok(Answer { payload, turn, replayed, timing, node: None })
    }

    /// The durable answer to an ask that was made before under its key.
    pub(crate) async fn first_answer(&self, cell: &Arc<Cell>, ask: &Ask) -> Result<Option<Answer>, Failure> {
        let Some(key) = &ask.idempotency_key else { return Ok(None) };
        let asked = fingerprint("ask", &ask.method, &ask.input);
        let Some(Reply { payload, turn, .. }) = self.remembered(&ask.address, key, asked)? else { return Ok(None) };
        let last = cell.tail.lock().last;
        let held = Held::until(cell.id, last, Emitted { payload, turn, replayed: true });
        let receipt = cell.settled(&*self.journal, last).await.map_err(|e| journal_failure(&e))?;
        self.confirm_owner(cell).await?;
        let Emitted { payload, turn, replayed } = held.release(&receipt);
        self.counters.replayed.add_one();
        Ok(Some(Answer { payload, turn, replayed, timing: Timing::default(), node: None }))
    }
}
