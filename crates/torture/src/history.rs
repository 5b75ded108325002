//! What clients saw, kept until it is judged, and written down for people.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use serde_json::json;

use crate::{
    Error,
    bank::{self, Ledger, Operation, Seen},
    linear::{self, Access, Call, Counter},
};

/// Everything that was asked and answered.
#[derive(Default)]
pub(crate) struct History {
    /// By counter.
    pub(crate) counters: Vec<Vec<Call<Counter>>>,
    /// What the bank was asked, each with its answer.
    pub(crate) payments: Vec<Operation>,
    /// What was seen of its statements meanwhile.
    pub(crate) seen: Seen,
}

impl History {
    /// Everything in it that cannot be, with what the bank said in the end.
    pub(crate) fn judge(&self, ledger: &Ledger) -> Vec<String> {
        let mut broken = bank::all(&self.payments, ledger);
        bank::watched(&self.payments, &self.seen, ledger, &mut broken);
        for (number, calls) in self.counters.iter().enumerate() {
            if let Err(refused) = linear::check(0, calls) {
                broken.push(format!("the history of counter {number} is {refused}"));
            }
        }
        broken
    }

    /// How long each of those took that are asked again until they are answered: from when, and until when.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let additions = self.counters.iter().flatten().filter(|call| call.op == Access::Add);
        let additions = additions.filter_map(|call| Some((call.called, call.answered.as_ref()?.0)));
        additions.chain(self.payments.iter().map(|payment| (payment.called, payment.answered)))
    }

    /// Writes it down, an operation a line, with times in microseconds since the beginning.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut file = BufWriter::new(File::create(path)?);
        let micros = |at: Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        for (number, calls) in self.counters.iter().enumerate() {
            for call in calls {
                let (answered, answer) = call.answered.unzip();
                let op = if call.op == Access::Add { "add" } else { "get" };
                let (called, answered) = (micros(call.called), answered.map(micros));
                let line =
                    json!({ "counter": number, "op": op, "called": called, "answered": answered, "answer": answer });
                writeln!(file, "{line}")?;
            }
        }
        for Operation { id, account, wish, called, answered, answer } in &self.payments {
            let (called, answered) = (micros(*called), micros(*answered));
            let line = json!({ "account": account, "id": id, "wish": wish, "called": called, "answered": answered, "answer": answer });
            writeln!(file, "{line}")?;
        }
        for (account, lines) in &self.seen {
            for (line, at) in lines {
                writeln!(file, "{}", json!({ "statement": account, "line": line, "seen": micros(*at) }))?;
            }
        }
        Ok(file.flush()?)
    }
}
