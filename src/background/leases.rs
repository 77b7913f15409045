//! Expired leases: attempts whose worker was not heard of in time.

use crate::app::App;
use crate::domain::lease::Phase;
use crate::domain::loss::{AfterLoss, Loss};
use crate::store::StoreError;
use crate::store::attempts::{LoseAttempt, LoseOutcome};
use crate::sync::lock;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::task::{OnLost, TaskState};
use std::time::Duration;

/// Gives one full lease to every held attempt that has none: after a start all of them (the server was away, not the worker), later those
/// whose caller went away between the commit and its answer.
pub(super) async fn grant_where_missing(app: &App) -> Result<(), StoreError> {
    let mut held = app.store.held_tasks().await?;
    held.retain(|record| !lock(&app.leases).has(record.task.id, record.task.attempt));
    if held.is_empty() {
        return Ok(());
    }
    let workers = app.store.workers(None).await?;
    let is_plain = |id: &WorkerId| workers.iter().any(|w| w.worker.worker_id == *id && w.is_plain());
    let now = app.clock.uptime();
    for record in held {
        let Some(holder) = record.holder else { continue };
        // Held and still in the queue: shown to a plain worker.
        if record.task.state == TaskState::Submitted {
            lock(&app.leases).reserve(record.task.id, record.task.attempt, holder, now, app.config.leases.reservation);
            continue;
        }
        let phase = if record.disconnected_at.is_some() { Phase::Disconnected } else { Phase::Held };
        let lasts = match record.disconnected_at {
            Some(_) if record.cancel_asked_at.is_some() || record.task.on_lost == OnLost::Restart => app.config.leases.lease,
            Some(since) => {
                let waited = Duration::from_millis(app.now().since(since));
                app.config.leases.lost_after.saturating_sub(waited).max(app.config.leases.lease)
            }
            None => app.lease_of(is_plain(&holder)),
        };
        lock(&app.leases).grant(record.task.id, record.task.attempt, holder, now + lasts, phase);
    }
    Ok(())
}

/// Looks for expired leases and applies the policy of loss.
pub(super) async fn run_once(app: &App) -> Result<(), StoreError> {
    let expired = lock(&app.leases).take_expired(app.clock.uptime());
    let mut outcome = Ok(());
    for (task, attempt, holder, phase) in expired {
        if let Err(error) = settle(app, task, attempt, &holder, phase).await {
            // It is not settled: look again soon.
            let again = app.clock.uptime() + Duration::from_secs(1);
            let mut leases = lock(&app.leases);
            if !leases.has(task, attempt) {
                leases.grant(task, attempt, holder, again, phase);
            }
            outcome = Err(error);
        }
    }
    outcome
}

async fn settle(app: &App, task: TaskId, attempt: u64, holder: &WorkerId, phase: Phase) -> Result<(), StoreError> {
    let loss = match phase {
        Phase::Held => Loss::Expired,
        Phase::Reserved => Loss::Untaken,
        Phase::Disconnected => Loss::GaveUp,
    };
    match app.store.write(LoseAttempt { task, attempt, loss, now: app.now() }).await? {
        LoseOutcome::Decided(AfterLoss::Wait) => {
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, "a worker was not heard of for a lease; its task waits for it");
            let deadline = app.clock.uptime() + app.config.leases.lost_after;
            lock(&app.leases).grant(task, attempt, holder.clone(), deadline, Phase::Disconnected);
        }
        LoseOutcome::Decided(after) => {
            lock(&app.leases).end(task, attempt);
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, ?after, "an attempt was lost");
        }
        LoseOutcome::Canceled => {
            lock(&app.leases).end(task, attempt);
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, "a task was canceled without its lost worker's word");
        }
        LoseOutcome::Stale => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
