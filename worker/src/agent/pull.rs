//! The pull: heartbeat, lease renewal, claim and control channel in one long poll.

use super::{Fatal, Shared, room};
use crate::backoff::Backoff;
use crate::clock::BootTime;
use crate::report;
use crate::spool::attempt_ref;
use crate::task::attempt::{Attempt, Stop};
use crate::task::execute_contained;
use muster_protocol::client::ClientError;
use muster_protocol::error::code;
use muster_protocol::task::{Assignment, ReportStatus, ReportedStatus};
use muster_protocol::worker::{AttemptRef, Pull, Pulled, RunningAttempt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The pause after an answer that says only what is known.
const NO_NEWS: Duration = Duration::from_millis(200);

/// Pulls until the daemon ends.
pub(super) async fn pull_forever(shared: Arc<Shared>) {
    let exit = shared.exit.clone();
    tokio::select! {
        () = pull_all(&shared) => {}
        () = exit.cancelled() => {}
    }
}

async fn pull_all(shared: &Arc<Shared>) {
    let mut registered = shared.registered.subscribe();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    for pull_seq in 1_u64.. {
        let Ok(now) = registered.wait_for(Option::is_some).await.map(|registered| registered.clone()) else { return };
        let Some(now) = now else { return };
        let running = shared.table.running();
        let body = Pull {
            instance: shared.instance,
            registration: now.registration,
            pull_seq,
            wait_ms: Some(now.wait_ms),
            running: running.clone(),
        };
        let sent = BootTime::now();
        match shared.server.pull(&shared.worker_id, &body).await {
            Ok(pulled) => {
                shared.contact.reached();
                backoff.reset();
                shared.set_lease(pulled.lease_ms);
                renew(shared, &running, sent);
                let silent = pulled.is_empty();
                // What is known already is said until it is carried out: no reason to ask without a pause.
                if !take(shared, pulled, sent).await && !silent {
                    tokio::time::sleep(NO_NEWS).await;
                }
            }
            Err(error) => {
                refused(shared, &error);
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

fn refused(shared: &Shared, error: &ClientError) {
    shared.contact.failed(error);
    match error.code() {
        code::SUPERSEDED => shared.end(Fatal::Superseded(error.to_string())),
        code::NOT_REGISTERED => {
            shared.registered.send_replace(None);
            shared.register_again.notify_one();
        }
        _ => tracing::debug!("a pull failed: {error}"),
    }
}

fn renew(shared: &Shared, named: &[RunningAttempt], sent: BootTime) {
    for entry in named {
        if let Some(attempt) = shared.table.get(AttemptRef { task_id: entry.task_id, attempt: entry.attempt }) {
            attempt.renew(sent);
        }
    }
}

/// Does what an answer says; gives whether any of it is new.
async fn take(shared: &Arc<Shared>, pulled: Pulled, sent: BootTime) -> bool {
    let mut news = false;
    for assignment in pulled.assign {
        news |= assigned(shared, assignment, sent).await;
    }
    for id in pulled.drop {
        if let Some(attempt) = shared.table.get(id) {
            news |= attempt.stop(Stop::Drop);
        }
    }
    for id in pulled.cancel {
        if let Some(attempt) = shared.table.get(id) {
            let first = attempt.stop(Stop::Cancel);
            news |= first;
            if first {
                tracing::info!("{}: to be cancelled", attempt.describe());
            }
        } else if !shared.table.knows(id) {
            // Nothing of it is here, so nothing of it runs.
            say_once(shared, id, ReportedStatus::Cancelled);
        }
    }
    for answer in pulled.answers {
        if let Some(attempt) = shared.table.get(AttemptRef { task_id: answer.task_id, attempt: answer.attempt }) {
            news |= attempt.answer(answer);
        }
    }
    news
}

/// Writes an assignment down, then starts it; at most once. Gives whether it was started.
async fn assigned(shared: &Arc<Shared>, assignment: Assignment, sent: BootTime) -> bool {
    let id = attempt_ref(&assignment);
    if shared.table.knows(id) || shared.room.hands_back(id) {
        return false;
    }
    if shared.draining.load(Ordering::Relaxed) {
        tracing::info!("task {} (attempt {}): handed back, the worker stops", id.task_id, id.attempt);
        say_once(shared, id, ReportedStatus::Pending);
        return false;
    }
    if let Some(problem) = room::problem(shared) {
        tracing::warn!("task {} (attempt {}): handed back, {problem}", id.task_id, id.attempt);
        room::hand_back(shared, id, None);
        return false;
    }
    let writer = Arc::clone(shared);
    let journal = tokio::task::spawn_blocking(move || writer.spool.create(assignment)).await;
    let journal = match journal {
        Ok(Ok(journal)) => journal,
        Ok(Err(error)) => {
            tracing::error!("task {} (attempt {}): handed back, it cannot be written to the spool: {error}", id.task_id, id.attempt);
            room::hand_back(shared, id, Some(error));
            return false;
        }
        Err(error) => {
            tracing::error!("task {}: {error}", id.task_id);
            return false;
        }
    };
    let attempt = Attempt::new(journal, sent);
    shared.table.insert(Arc::clone(&attempt));
    shared.tracker.spawn(report::deliver(Arc::clone(shared), Arc::clone(&attempt)));
    shared.tracker.spawn(execute_contained(Arc::clone(shared), attempt));
    true
}

/// Says something of an attempt that is not here, while the pulls go on.
fn say_once(shared: &Arc<Shared>, id: AttemptRef, status: ReportedStatus) {
    let speaker = Arc::clone(shared);
    shared.tracker.spawn(async move { say(&speaker, id, status).await });
}

/// Says something of an attempt that is not here. Said again if the server asks again.
pub(super) async fn say(shared: &Shared, id: AttemptRef, status: ReportedStatus) {
    let report = ReportStatus::new(status, shared.worker_id.clone(), id.attempt);
    let body = ReportStatus { instance: Some(shared.instance), ..report };
    if let Err(error) = shared.server.report_status(id.task_id, &body).await {
        tracing::debug!("task {} (attempt {}): {error}", id.task_id, id.attempt);
    }
}
