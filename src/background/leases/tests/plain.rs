//! Plain workers, whose leases and reservations follow other rules.

use crate::app::App;
use crate::app::testing::app;
use crate::auth::Principal;
use crate::background::leases::{grant_where_missing, run_once};
use crate::clock::ManualClock;
use crate::store::claim::Reserved;
use muster_protocol::ids::TaskId;
use muster_protocol::task::{ReportStatus, ReportedStatus, SubmitTask, Task, TaskState};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Plain workers on a server whose time stands still until it is moved.
struct Plain {
    app: App,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl Plain {
    async fn with(workers: &[&str]) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
        let plain = Self { app: app(dir.path(), &clock).await, clock, _dir: dir };
        for worker in workers {
            plain.register(worker).await;
        }
        plain
    }

    async fn register(&self, worker: &str) {
        let registration = json!({ "worker_id": worker, "name": worker, "capabilities": ["build"] });
        self.app.register_worker(serde_json::from_value(registration).unwrap()).await.unwrap();
    }

    async fn submit(&self) -> Task {
        let wanted = SubmitTask { prompt: "p".to_owned(), ..SubmitTask::default() };
        self.app.submit(&Principal::local(), wanted, None).await.unwrap()
    }

    async fn poll(&self, worker: &str) -> Option<TaskId> {
        match self.app.reserve(&worker.into()).await.unwrap() {
            Reserved::Task(task) | Reserved::Again(task) => Some(task.id),
            _ => None,
        }
    }

    async fn says(&self, worker: &str, task: TaskId, status: ReportedStatus) -> bool {
        let report = ReportStatus { attempt: None, ..ReportStatus::new(status, worker.into(), 0) };
        self.app.report(task, report).await.is_ok()
    }

    /// Moves the time on and lets the server look at its leases.
    async fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        run_once(&self.app).await.unwrap();
    }

    async fn task(&self, id: TaskId) -> Task {
        self.app.store.task(id).await.unwrap().unwrap().task
    }
}

#[tokio::test]
async fn a_heartbeat_does_not_keep_what_a_plain_worker_was_only_shown() {
    let plain = Plain::with(&["a", "b"]).await;
    let task = plain.submit().await.id;
    assert_eq!(plain.poll("a").await, Some(task));
    for _ in 0..11 {
        plain.after(5).await;
        plain.app.heartbeat(&"a".into()).await.unwrap();
        assert_eq!(plain.poll("b").await, None);
    }
    plain.after(5).await;
    assert_eq!(plain.poll("b").await, Some(task), "after a minute it is still reserved");
    assert!(!plain.says("a", task, ReportedStatus::Running).await, "it was claimed by two");
    assert!(plain.says("b", task, ReportedStatus::Running).await);
}

#[tokio::test]
async fn a_plain_worker_that_is_shown_a_task_and_never_takes_it_loses_it_to_another() {
    let plain = Plain::with(&["a", "b"]).await;
    let task = plain.submit().await.id;
    // Every 5 s. A snapshot that is 55 s old may still be run, so the other one waits for a minute from the last showing.
    for n in 0..23_u64 {
        assert_eq!(plain.poll("a").await, (n < 12).then_some(task), "the poll after {} s", n * 5);
        assert_eq!(plain.poll("b").await, None, "after {} s", n * 5);
        plain.after(5).await;
    }
    assert_eq!(plain.poll("a").await, None, "it is offered again to the one that let it lie");
    assert_eq!(plain.poll("b").await, Some(task));
}

#[tokio::test]
async fn after_a_start_of_the_server_a_reservation_is_still_one() {
    let plain = Plain::with(&["a", "b"]).await;
    let task = plain.submit().await.id;
    assert_eq!(plain.poll("a").await, Some(task));
    *crate::sync::lock(&plain.app.leases) = crate::domain::lease::Leases::default();
    assert_eq!(plain.poll("a").await, None, "it is shown without a lease");
    grant_where_missing(&plain.app).await.unwrap();
    assert_eq!(plain.poll("a").await, Some(task));
    plain.after(60).await;
    assert_eq!(plain.poll("b").await, Some(task));
}

#[tokio::test]
async fn a_silent_task_of_a_plain_worker_is_kept_and_any_call_brings_back_a_lost_one() {
    let plain = Plain::with(&["a"]).await;
    let task = plain.submit().await.id;
    plain.poll("a").await;
    assert!(plain.says("a", task, ReportedStatus::Running).await);
    plain.after(14 * 60).await;
    assert!(!plain.task(task).await.disconnected, "a silent task is lost after 14 minutes");
    plain.after(60).await;
    assert!(plain.task(task).await.disconnected, "it is not lost after 15 minutes");
    plain.app.heartbeat(&"a".into()).await.unwrap();
    assert!(!plain.task(task).await.disconnected, "a heartbeat does not bring it back");
    plain.after(15 * 60).await;
    assert_eq!(plain.poll("a").await, None);
    assert!(!plain.task(task).await.disconnected, "a poll does not bring it back");
    plain.after(15 * 60).await;
    assert!(plain.says("a", task, ReportedStatus::Completed).await);
    let done = plain.task(task).await;
    assert!(done.state == TaskState::Completed && done.attempt == 1 && !done.disconnected, "{done:?}");
}

#[tokio::test]
async fn a_plain_worker_that_was_killed_and_started_again_does_not_keep_its_task() {
    let plain = Plain::with(&["a"]).await;
    let task = plain.submit().await.id;
    plain.poll("a").await;
    assert!(plain.says("a", task, ReportedStatus::Running).await);
    plain.after(60).await;
    plain.register("a").await;
    for _ in 0..14 {
        plain.after(60).await;
        plain.poll("a").await;
        plain.app.heartbeat(&"a".into()).await.unwrap();
    }
    assert!(plain.task(task).await.disconnected, "polls keep alive what nobody runs");
    plain.after(60 * 60).await;
    let lost = plain.task(task).await;
    assert!(lost.state == TaskState::Failed && lost.error_code.as_deref() == Some("worker_lost"), "{lost:?}");
}
