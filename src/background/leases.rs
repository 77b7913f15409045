//! Expired leases: attempts whose worker was not heard of in time.

use crate::app::App;
use crate::domain::lease::Phase;
use crate::domain::loss::{AfterLoss, Loss};
use crate::store::StoreError;
use crate::store::attempts::{LoseAttempt, LoseOutcome};
use crate::sync::lock;
use muster_protocol::ids::{TaskId, WorkerId};
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
        let phase = if record.disconnected_at.is_some() { Phase::Disconnected } else { Phase::Held };
        let lasts = match record.disconnected_at {
            Some(_) if record.cancel_asked_at.is_some() => app.config.leases.lease,
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
            lock(&app.leases).grant(task, attempt, holder, again, phase);
            outcome = Err(error);
        }
    }
    outcome
}

async fn settle(app: &App, task: TaskId, attempt: u64, holder: &WorkerId, phase: Phase) -> Result<(), StoreError> {
    let loss = if phase == Phase::Held { Loss::Expired } else { Loss::GaveUp };
    match app.store.write(LoseAttempt { task, attempt, loss, now: app.now() }).await? {
        LoseOutcome::Decided(AfterLoss::Wait) => {
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, "a worker was not heard of for a lease; its task waits for it");
            let deadline = app.clock.uptime() + app.config.leases.lost_after;
            lock(&app.leases).grant(task, attempt, holder.clone(), deadline, Phase::Disconnected);
        }
        LoseOutcome::Decided(after) => {
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, ?after, "an attempt was lost");
        }
        LoseOutcome::Canceled => {
            tracing::warn!(task.id = %task, attempt, worker.id = %holder, "a task was canceled without its lost worker's word");
        }
        LoseOutcome::Stale => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{grant_where_missing, run_once};
    use crate::app::App;
    use crate::auth::Principal;
    use crate::clock::{ManualClock, SystemIds};
    use crate::config::{Config, ServeArgs, Surroundings};
    use crate::lifecycle::Lifecycle;
    use crate::store::claim::{PullOutcome, PullTasks};
    use crate::store::{OpenOptions, Store};
    use muster_protocol::ids::InstanceId;
    use muster_protocol::task::{SubmitTask, TaskState};
    use serde_json::json;
    use std::path::Path;
    use std::sync::Arc;

    async fn app(dir: &Path, clock: &Arc<ManualClock>) -> App {
        let around = Surroundings { env: Vec::new(), host: "here".to_owned(), user_data_dir: Some(dir.to_owned()) };
        let config = Config::load(&ServeArgs::default(), &around).unwrap();
        let (url, ids) = (format!("sqlite://{}", dir.join("test.db").display()), Arc::new(SystemIds::default()));
        let options = OpenOptions { url, name: "here".to_owned(), readers: 2, queue: 100, clock: clock.clone(), ids: ids.clone() };
        let store = Store::open(options).await.unwrap();
        App::new(config, store, clock.clone(), ids, Lifecycle::new())
    }

    #[tokio::test]
    async fn an_attempt_whose_pull_was_cut_after_its_commit_gets_a_lease_and_loses_it() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
        let app = app(dir.path(), &clock).await;
        let instance = InstanceId(uuid::Uuid::from_u128(1));
        let registration = json!({ "worker_id": "w", "name": "w", "protocol_version": 1, "instance": instance });
        app.register_worker(serde_json::from_value(registration).unwrap()).await.unwrap();
        let wanted = SubmitTask { prompt: "p".to_owned(), mode: Some("echo".to_owned()), ..SubmitTask::default() };
        let task = app.submit(&Principal::local(), wanted, None).await.unwrap();
        // The write of a pull without the rest of it, as when its connection is cut.
        let (worker, now) = ("w".into(), app.now());
        let pull = PullTasks { worker, instance, registration: 1, running: Vec::new(), tell_drops: true, stop_after_ms: 1, now };
        let PullOutcome::Told(told) = app.store.write(pull).await.unwrap() else { panic!("the pull was refused") };
        assert_eq!(told.assign.len(), 1);
        let state = async || app.store.task(task.id).await.unwrap().unwrap().task.state;
        clock.advance(app.config.leases.lease * 2);
        run_once(&app).await.unwrap();
        assert_eq!(state().await, TaskState::Working, "nobody knows of a lease");
        grant_where_missing(&app).await.unwrap();
        clock.advance(app.config.leases.lease);
        run_once(&app).await.unwrap();
        assert_eq!(state().await, TaskState::Submitted);
    }
}
