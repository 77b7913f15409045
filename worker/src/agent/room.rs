//! Room on the disk. A worker that cannot write a task down does not take it: it drains, says why, and takes tasks again when it can.

use super::Shared;
use super::pull::say;
use crate::config::Config;
use crate::spool::short_of_room;
use muster_protocol::task::ReportedStatus;
use muster_protocol::worker::{AttemptRef, Drain};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// After a failed write: how long until another one is tried, if nothing that can be seen is wrong.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// The pause if the server does not hear of the drain: it would give the same task again at once.
const UNHEARD: Duration = Duration::from_secs(5);

/// How the reason of a drain begins that is this worker's own.
const NO_ROOM: &str = "no room: ";

/// How much room OpenCode's files must have, in bytes: its database writes megabytes for a run.
const LEAST_FOR_OPENCODE: u64 = 8 << 20;

/// Why nothing new can be taken; `None` if there is room.
pub(crate) fn problem(shared: &Shared) -> Option<String> {
    shared.spool.problem().or_else(|| opencode_problem(&shared.config))
}

/// Why OpenCode cannot keep what it does; `None` if there is room.
pub(crate) fn opencode_problem(config: &Config) -> Option<String> {
    let home = if config.isolated { config.state_dir.join("opencode/home") } else { config.home.clone() };
    let free = short_of_room(&home, LEAST_FOR_OPENCODE)?;
    Some(format!("the disk of OpenCode's files ({}) has only {free} bytes left", home.display()))
}

/// Whether this worker has drained itself for want of room.
#[derive(Debug, Default)]
pub struct Room {
    closed: Mutex<Option<Closed>>,
    /// What is being handed back.
    back: std::sync::Mutex<HashSet<AttemptRef>>,
}

#[derive(Debug)]
struct Closed {
    until: Instant,
}

impl Room {
    /// Takes nothing new for a while, because of a failed write. When this returns the server knows, or has had time to recover.
    pub async fn close_after(&self, shared: &Shared, error: &std::io::Error) {
        let problem = problem(shared).unwrap_or_else(|| format!("its spool cannot be written: {error}"));
        if !self.close(shared, &problem, Instant::now() + TRY_AGAIN).await {
            tokio::time::sleep(UNHEARD).await;
        }
    }

    /// Takes nothing new while `problem` lasts, and at least until then. Gives whether the server knows.
    async fn close(&self, shared: &Shared, problem: &str, until: Instant) -> bool {
        let mut closed = self.closed.lock().await;
        // Said also where it was said before: whoever gives a task all the same does not know it, or took it back.
        let reason = format!("{NO_ROOM}{problem}");
        tracing::error!("draining, {reason}; tasks are taken again when there is room");
        // Whatever comes of it: an answer that is lost may be that of a drain.
        *closed = Some(Closed { until });
        let heard = shared.server.drain(&shared.worker_id, &Drain { reason: Some(reason) }).await;
        if let Err(error) = &heard {
            shared.contact.failed(error);
            shared.register_again.notify_one();
        }
        heard.is_ok()
    }

    /// Whether an attempt is being handed back.
    pub(super) fn hands_back(&self, id: AttemptRef) -> bool {
        self.back().contains(&id)
    }

    fn back(&self) -> MutexGuard<'_, HashSet<AttemptRef>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the disk: closes if there is a problem, and gives whether it may be opened again.
    pub(super) async fn look(&self, shared: &Shared) -> bool {
        let problem = problem(shared);
        let closed = self.closed.lock().await.as_ref().map(|closed| closed.until);
        let may_open = closed.is_some_and(|until| Instant::now() >= until);
        // Where somebody else has drained it, that is theirs to take back.
        let takes_tasks = shared.registered.borrow().as_ref().is_some_and(|registered| registered.worker.drain_reason.is_none());
        match problem {
            Some(problem) if closed.is_none() && takes_tasks => {
                self.close(shared, &problem, Instant::now()).await;
                false
            }
            Some(_) => false,
            None => may_open,
        }
    }

    /// Takes tasks again, unless somebody else has drained this worker meanwhile.
    pub(super) async fn open(&self, shared: &Shared) {
        let mut closed = self.closed.lock().await;
        if closed.is_none() {
            return;
        }
        let reason = shared.registered.borrow().as_ref().and_then(|registered| registered.worker.drain_reason.clone());
        if reason.is_some_and(|reason| reason.starts_with(NO_ROOM)) && !shared.draining.load(std::sync::atomic::Ordering::Relaxed) {
            if let Err(error) = shared.server.resume(&shared.worker_id).await {
                shared.contact.failed(&error);
                return;
            }
            tracing::info!("there is room again: tasks are taken");
        }
        *closed = None;
    }
}

/// Hands an attempt back for want of room, while the pulls go on. The server hears first that this worker drains, so that it does not give it
/// here again; if it does not hear, all that is to be handed back waits once.
///
/// `error`: what went wrong with a write, if that is how it was noticed.
pub(super) fn hand_back(shared: &Arc<Shared>, id: AttemptRef, error: Option<io::Error>) {
    let is_first = {
        let mut back = shared.room.back();
        let was_empty = back.is_empty();
        back.insert(id);
        was_empty
    };
    // Whoever is at it takes this one too.
    if is_first {
        let shared = Arc::clone(shared);
        shared.tracker.clone().spawn(async move { hand_all_back(&shared, error).await });
    }
}

async fn hand_all_back(shared: &Shared, error: Option<io::Error>) {
    let (found, until) = match error {
        None => (problem(shared), Instant::now()),
        Some(error) => (Some(format!("its spool cannot be written: {error}")), Instant::now() + TRY_AGAIN),
    };
    let reason = problem(shared).or(found).unwrap_or_else(|| "it had none a moment ago".to_owned());
    loop {
        if !shared.room.close(shared, &reason, until).await {
            tokio::select! {
                () = tokio::time::sleep(UNHEARD) => {}
                () = shared.exit.cancelled() => return,
            }
        }
        let ids: Vec<AttemptRef> = shared.room.back().iter().copied().collect();
        for id in &ids {
            say(shared, *id, ReportedStatus::Pending).await;
        }
        let mut back = shared.room.back();
        back.retain(|id| !ids.contains(id));
        if back.is_empty() {
            return;
        }
    }
}
