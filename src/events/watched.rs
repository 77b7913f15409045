//! The tasks that somebody follows all at once: which of them changed, without a signal for each.

use crate::sync::lock;
use muster_protocol::ids::TaskId;
use std::collections::HashSet;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Watched tasks, and what became of them since the last look. No task is noted twice, so it grows with the watched tasks only.
#[derive(Debug, Default)]
pub struct Watched {
    notes: Mutex<Notes>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    tasks: HashSet<TaskId>,
    changes: Changes,
}

/// What to look at.
#[derive(Debug, Default)]
pub struct Changes {
    /// Watched tasks that changed.
    pub tasks: HashSet<TaskId>,
    /// Tasks whose webhooks changed.
    pub webhooks: HashSet<TaskId>,
    /// Whether something may have been missed.
    pub missed: bool,
}

impl Watched {
    /// Watches a task from now on.
    pub fn watch(&self, task: TaskId) {
        lock(&self.notes).tasks.insert(task);
    }

    /// Watches it no longer.
    pub fn forget(&self, task: TaskId) {
        lock(&self.notes).tasks.remove(&task);
    }

    /// Waits until there is something to look at, and takes it.
    pub async fn changes(&self) -> Changes {
        self.bell.notified().await;
        std::mem::take(&mut lock(&self.notes).changes)
    }

    pub(super) fn changed(&self, task: &TaskId) {
        let mut notes = lock(&self.notes);
        if notes.tasks.contains(task) && notes.changes.tasks.insert(*task) {
            self.bell.notify_one();
        }
    }

    pub(super) fn webhooks(&self, task: TaskId) {
        if lock(&self.notes).changes.webhooks.insert(task) {
            self.bell.notify_one();
        }
    }

    pub(super) fn missed(&self) {
        lock(&self.notes).changes.missed = true;
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::Watched;
    use muster_protocol::ids::TaskId;
    use uuid::Uuid;

    #[tokio::test]
    async fn what_happens_between_two_looks_is_told_once() {
        let watched = Watched::default();
        let [one, other, new] = [1, 2, 3].map(|n| TaskId(Uuid::from_u128(n)));
        watched.watch(one);
        for _ in 0..3 {
            watched.changed(&one);
            watched.changed(&other);
        }
        watched.webhooks(new);
        let changes = watched.changes().await;
        assert!(changes.tasks.into_iter().eq([one]) && changes.webhooks.into_iter().eq([new]) && !changes.missed);
        watched.forget(one);
        watched.changed(&one);
        watched.missed();
        let changes = watched.changes().await;
        assert!(changes.tasks.is_empty() && changes.webhooks.is_empty() && changes.missed);
    }
}
