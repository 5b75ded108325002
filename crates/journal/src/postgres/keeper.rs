//! The keeper: what the server is told when nobody waits for it.
//!
//! Every pass takes no input, looks at what is there and does the same thing; a pass too many is harmless, and one that
//! fails is made again.

use std::{sync::Arc, time::Duration};

use super::{
    connect::{STAND_STILL_MAX, Trouble},
    database::Shared,
    schema::SLOTS,
    session::Session,
};

/// How often it looks, without being told that there is something to do.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a slot gets before the next one is written to.
const SLOT_BYTES: i64 = 64 << 20;

pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        // Whichever comes first.
        let _ = shared.clock.timeout(KEEP_EVERY, shared.keep.notified()).await;
        if let Err(trouble) = pass(&shared).await {
            tracing::debug!(?trouble, "what is not needed stays in the database; it is tried again");
        }
    }
}

async fn pass(shared: &Arc<Shared>) -> Result<(), Trouble> {
    let (ours, floors) = {
        let state = shared.state.lock();
        (state.tail.ours(), state.tail.floors())
    };
    let (taken, slot) = shared
        .try_control(|session| {
            let (ours, floors) = (ours.clone(), floors.clone());
            Box::pin(async move {
                let taken = session.taken(&ours).await?;
                if !floors.is_empty() {
                    session.tell_floors(&floors).await?;
                }
                Ok((taken, turn_over(session).await?))
            })
        })
        .await?;
    let mut state = shared.state.lock();
    state.link.slot = slot;
    state.tail.floors_told(&floors);
    if !taken.is_empty() {
        // The lane finds out who has them now, and what is stored.
        state.tail.doubt(&taken);
        drop(state);
        shared.wake.notify_one();
    }
    Ok(())
}

/// Empties the slots of which nothing is wanted, goes on to the next one if the current one is long, and says which it is.
async fn turn_over(session: &mut Session) -> Result<i32, Trouble> {
    let current: i32 = session.client().query_one("SELECT slot FROM stride.meta", &[]).await?.get(0);
    for slot in (0..SLOTS).filter(|slot| *slot != current) {
        if !is_empty(session, slot).await? {
            empty(session, slot).await?;
        }
    }
    let size = format!("SELECT pg_table_size('stride.records_{current}')");
    let bytes: i64 = session.client().query_one(&size, &[]).await?.get(0);
    let next = (current + 1) % SLOTS;
    if bytes < SLOT_BYTES || !is_empty(session, next).await? {
        return Ok(current);
    }
    let turn = "UPDATE stride.meta SET slot = $1 WHERE slot = $2";
    session.client().execute(turn, &[&next, &current]).await?;
    Ok(next)
}

async fn is_empty(session: &mut Session, slot: i32) -> Result<bool, Trouble> {
    let sql = format!("SELECT NOT EXISTS (SELECT FROM stride.records_{slot})");
    Ok(session.client().query_one(&sql, &[]).await?.get(0))
}

/// Empties a slot as a whole, unless something in it is wanted. Rows are never deleted: that would leave the disk full of
/// what nobody needs until a vacuum.
async fn empty(session: &mut Session, slot: i32) -> Result<(), Trouble> {
    let wanted = format!(
        "SELECT EXISTS (SELECT FROM stride.cells c WHERE EXISTS \
         (SELECT FROM stride.records_{slot} r WHERE r.cell = c.cell AND r.seq > c.floor))"
    );
    let client = session.client();
    if client.query_one(&wanted, &[]).await?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(STAND_STILL_MAX).await?;
    // A writer that does not know yet which slot is current may be in this one, so it is looked at again with the lock.
    let lock = format!("SET LOCAL lock_timeout = 500; LOCK TABLE stride.records_{slot} IN ACCESS EXCLUSIVE MODE");
    transaction.batch_execute(&lock).await?;
    if !transaction.query_one(&wanted, &[]).await?.get::<_, bool>(0) {
        transaction.batch_execute(&format!("TRUNCATE stride.records_{slot}")).await?;
    }
    transaction.commit().await?;
    Ok(())
}
