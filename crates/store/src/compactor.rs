//! The thread that merges tables, so that neither turns nor whoever persists wait for it.
//!
//! It takes no input: a nudge only makes it look sooner, and it ends when there is nothing left to merge. It is
//! joined before the tree is dropped; a merge that is under way is finished first.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};

use crate::tree::Tree;

#[derive(Default)]
struct Shared {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    nudged: bool,
    stop: bool,
}

pub(crate) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub(crate) fn start(tree: Arc<Tree>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let run = move || {
            while theirs.wait() {
                while !theirs.asked.lock().stop && tree.compact() {}
            }
        };
        let thread = thread::Builder::new().name("store-compactor".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn nudge(&self) {
        self.shared.asked.lock().nudged = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Waits for a nudge; false if it is time to stop.
    fn wait(&self) -> bool {
        let mut asked = self.asked.lock();
        self.changed.wait_while(&mut asked, |asked| !asked.nudged && !asked.stop);
        asked.nudged = false;
        !asked.stop
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.shared.asked.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed when it happened; there is nothing to add.
            let _ = thread.join();
        }
    }
}
