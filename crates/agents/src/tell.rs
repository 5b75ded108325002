//! Tells from outside: durable when they are answered, handled later.

use std::sync::Arc;

use bytes::Bytes;
use stride_ids::Failure;

use crate::{
    cell::Cell,
    elsewhere::NotDone,
    engine::{Engine, journal_failure, mailbox_full, method_of},
    message::{Envelope, Message, Sender, Tell, Told, check_key, fingerprint},
    order::on_its_way,
    record::{Accept, Record, Reply},
};

impl Engine {
    /// Gives one agent a message that nobody waits for. It is durable when this returns, and handled exactly once.
    ///
    /// # Errors
    /// Nothing was told, except for `unavailable` from a journal that stopped: then the same idempotency key finds out.
    pub async fn tell(self: &Arc<Self>, tell: Tell) -> Result<Told, Failure> {
        check_key(tell.idempotency_key.as_ref())?;
        tell.input.check_size("request")?;
        let mut patience = self.patience();
        loop {
            if let Some(inside) = self.inside(&tell.address, false) {
                return self.take_message(&inside, tell).await;
            }
            let cluster = self.cluster.as_ref().ok_or_else(|| on_its_way(self.cell_id(&tell.address)))?;
            match cluster.elsewhere.tell(tell.clone()).await {
                Ok(told) => return Ok(told),
                Err(NotDone::Failed(failure)) => return Err(failure),
                Err(NotDone::Unknown(failure)) if tell.idempotency_key.is_none() => return Err(failure),
                Err(NotDone::Unknown(_) | NotDone::NotHere) => patience.wait(self.cell_id(&tell.address)).await?,
            }
        }
    }

    /// Gives an agent of this node a message for another node.
    ///
    /// # Errors
    /// [`NotDone::NotHere`] if the cell is not here; else as [`Engine::tell`].
    pub async fn tell_here(self: &Arc<Self>, tell: Tell) -> Result<Told, NotDone> {
        let inside = self.inside(&tell.address, false).ok_or(NotDone::NotHere)?;
        check_key(tell.idempotency_key.as_ref())?;
        Ok(self.take_message(&inside, tell).await?)
    }

    async fn take_message(self: &Arc<Self>, cell: &Arc<Cell>, tell: Tell) -> Result<Told, Failure> {
        let kind = self.kind_of(&tell.address)?;
        method_of(&kind, &tell.method)?;
        self.admit()?;
        let waiting = cell.inboxes.lock().get(&tell.address).map_or(0, crate::inbox::Inbox::len);
        if waiting >= self.settings.mailbox_max {
            return Err(mailbox_full(&tell.address, self.settings.mailbox_max));
        }
        let Tell { address, method, input, idempotency_key, trace } = tell;
        let asked = fingerprint("tell", &method, &input);
        let (pending, told) = {
            let mut tail = cell.tail.lock();
            // Under the lock, so that of two requests with one key the second one sees the first.
            if let Some(key) = &idempotency_key
                && let Some(reply) = self.remembered(&address, key, asked)?
            {
                let told = Told { message: text_of(&reply.payload), replayed: true };
                (None, (tail.last, told))
            } else {
                let id = stride_ids::MessageId { record: tail.last.next(), index: 0 };
                let told = Told { message: id.to_string(), replayed: false };
                let at = self.clock.timestamp();
                let payload =
                    stride_ids::Payload { content_type: "text/plain".into(), body: Bytes::from(id.to_string()) };
                let reply = idempotency_key.map(|key| (key, Reply { fingerprint: asked, payload, turn: 0, at }));
                let message = Message { sender: Sender::Outside, method, input, trace };
                let messages = vec![Envelope { to: address, message }];
                let record = Record::Accept(Accept { from: Vec::new(), messages, reply });
                let pending = self.order(cell, &mut tail, &record)?;
                (Some(pending), (tail.last, told))
            }
        };
        let (last, told) = told;
        let receipt = match pending {
            Some(ordered) => {
                self.wake_all(cell, ordered.woken);
                ordered.pending.await
            }
            None => cell.settled(&*self.journal, last).await,
        };
        self.settle(cell, &receipt.map_err(|e| journal_failure(&e))?);
        Ok(told)
    }
}

fn text_of(payload: &stride_ids::Payload) -> String {
    String::from_utf8_lossy(&payload.body).into_owned()
}
