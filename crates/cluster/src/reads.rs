//! On what a read is answered: on this node's lease, or on the word of the database for each.
//!
//! Always true: in strict mode a read is answered only if a question that was asked after it was made says that the cell was
//! still this node's, with the same epoch, and that answer is durable on the standbys too. No clock has a part in that.
//! Reads that come while a question is on its way share the next one.

use std::{
    str::FromStr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stride_ids::{CellId, Code, Epoch, Failure, Incarnation};
use stride_sim::Clock;
use tokio::sync::oneshot;

use crate::{Lease, Tables};

/// How long the database may take to say whether cells are still this node's.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// On what a read is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// On this node's lease: at once, and linearizable as long as its clock runs at most a fifth slower than the database's.
    #[default]
    Leased,
    /// On the word of the database: linearizable whatever clocks do, for a commit there, shared by all that read meanwhile.
    Strict,
}

impl FromStr for Reads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "leased" => Ok(Self::Leased),
            "strict" => Ok(Self::Strict),
            other => Err(format!("`{other}` is neither `leased` nor `strict`")),
        }
    }
}

/// Says whether a read may be answered.
pub enum Referee {
    /// By the lease.
    Leased(Arc<Lease>, Clock),
    /// By the database.
    Strict(Arc<Questions>),
}

impl Referee {
    /// Whether the cell was this node's, with this epoch, at some moment after this is called.
    ///
    /// # Errors
    /// It was not, or that cannot be known.
    pub async fn confirm(&self, cell: CellId, epoch: Epoch) -> Result<(), Failure> {
        match self {
            Self::Leased(lease, clock) if lease.is_valid(clock.now()) => Ok(()),
            Self::Leased(..) => {
                let message =
                    "this node has not heard from the cluster's database for too long, so others may have its cells";
                Err(Failure::new(Code::Unavailable, message))
            }
            Self::Strict(questions) => questions.ask(cell, epoch).await,
        }
    }
}

type Answer = Result<(), Failure>;

/// Who waits for the next question.
#[derive(Default)]
struct Waiting {
    reads: Vec<(CellId, Epoch, oneshot::Sender<Answer>)>,
    /// A task asks.
    running: bool,
}

/// Asks the database whether cells are still a node's, for many reads at once.
pub struct Questions {
    tables: Arc<dyn Tables>,
    me: Incarnation,
    clock: Clock,
    waiting: Mutex<Waiting>,
}

impl Questions {
    /// For this incarnation of a node.
    pub fn new(tables: Arc<dyn Tables>, me: Incarnation, clock: Clock) -> Arc<Self> {
        Arc::new(Self { tables, me, clock, waiting: Mutex::default() })
    }

    async fn ask(self: &Arc<Self>, cell: CellId, epoch: Epoch) -> Answer {
        let (send, answer) = oneshot::channel();
        let runs = {
            let mut waiting = self.waiting.lock();
            waiting.reads.push((cell, epoch, send));
            std::mem::replace(&mut waiting.running, true)
        };
        if !runs {
            // A task of its own: whoever reads may go away, and the others wait all the same.
            tokio::spawn(answer_all(Arc::downgrade(self)));
        }
        answer.await.unwrap_or_else(|_| Err(Failure::new(Code::Unavailable, "the node ends")))
    }

    /// Which of these cells are still this node's.
    async fn still_ours(&self, cells: &[(CellId, Epoch)]) -> Result<Vec<CellId>, Failure> {
        let unavailable =
            |why: String| Failure::new(Code::Unavailable, format!("a strict read needs the cluster's database: {why}"));
        match self.clock.timeout(ANSWER_MAX, self.tables.confirm(self.me, cells)).await {
            Ok(answer) => answer.map_err(|e| unavailable(e.to_string())),
            Err(_) => Err(unavailable(format!("no answer within {ANSWER_MAX:?}"))),
        }
    }
}

/// Asks until nobody waits.
async fn answer_all(questions: Weak<Questions>) {
    while let Some(questions) = questions.upgrade() {
        let reads = {
            let mut waiting = questions.waiting.lock();
            waiting.running = !waiting.reads.is_empty();
            std::mem::take(&mut waiting.reads)
        };
        if reads.is_empty() {
            return;
        }
        let mut cells: Vec<_> = reads.iter().map(|(cell, epoch, _)| (*cell, *epoch)).collect();
        cells.sort_unstable();
        cells.dedup();
        let ours = questions.still_ours(&cells).await;
        for (cell, _, read) in reads {
            let answer = match &ours {
                Ok(ours) if ours.contains(&cell) => Ok(()),
                Ok(_) => Err(Failure::new(Code::Unavailable, format!("{cell} is with another node now; try again"))),
                Err(failure) => Err(failure.clone()),
            };
            // Who has gone away needs no answer.
            let _ = read.send(answer);
        }
    }
}
