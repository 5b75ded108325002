//! Instances after their call: used again where a chain of calls may, replaced by fresh ones otherwise.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use crate::{
    component::{Component, Prepared},
    gate::Gate,
};

/// Calls of pure functions, one after the other. Those of one component share an instance as long as they follow each other
/// and their author says that it may be used again.
#[derive(Default)]
pub struct Chain {
    /// What answered last.
    last: Option<Used>,
}

/// An instance that has answered.
struct Used {
    component: Arc<Component>,
    gate: Arc<Gate>,
    prepared: Box<Prepared>,
}

impl Chain {
    /// The instance of the call before, if the next one may have it.
    pub(crate) fn take(&mut self, component: &Arc<Component>, gate: &Gate) -> Option<Box<Prepared>> {
        let fits = |used: &mut Used| {
            let is_same = Arc::ptr_eq(&used.component, component);
            is_same && gate.spec.reuse && used.gate.spec.memory_bytes == gate.spec.memory_bytes
        };
        let used = self.last.take_if(fits);
        self.end();
        used.map(|used| used.prepared)
    }

    /// What to do with an instance that has answered.
    pub(crate) fn keep(&mut self, component: &Arc<Component>, gate: &Arc<Gate>, prepared: Box<Prepared>) {
        self.last = Some(Used { component: component.clone(), gate: gate.clone(), prepared });
        if !gate.spec.reuse {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(Used { component, gate, prepared }) = self.last.take() else { return };
        // One at a time: callers who are faster than the replacement do it on their own time.
        if let Ok(turn) = gate.replacing.clone().try_acquire_owned()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(replace(gate, component, prepared, turn));
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.end();
    }
}

/// Clears away a used instance and makes one for the next call, if one is missing.
async fn replace(gate: Arc<Gate>, component: Arc<Component>, used: Box<Prepared>, _turn: OwnedSemaphorePermit) {
    drop(used);
    gate.spares.refill(component, gate.spec.memory_bytes).await;
}
