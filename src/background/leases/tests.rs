//! Leases over time, without waiting for it.

mod plain;

use super::{grant_where_missing, run_once};
use crate::app::App;
use crate::app::testing::{INSTANCE, app, register};
use crate::auth::Principal;
use crate::clock::ManualClock;
use crate::store::attempts::Report;
use crate::store::claim::{Look, PullOutcome, PullTasks};
use muster_protocol::ids::TaskId;
use muster_protocol::task::{OnLost, ReportStatus, ReportedStatus, SubmitTask, Task, TaskState};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{AttemptState, Pull, RunningAttempt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn pull(running: Vec<RunningAttempt>) -> Pull {
    Pull { instance: INSTANCE, registration: 1, pull_seq: 1, wait_ms: Some(0), running }
}

fn wanted() -> SubmitTask {
    SubmitTask { prompt: "p".to_owned(), mode: Some("echo".to_owned()), ..SubmitTask::default() }
}

async fn submit(app: &App, wanted: SubmitTask) -> Task {
    app.submit(&Principal::local(), wanted, None).await.unwrap()
}

async fn state(app: &App, task: TaskId) -> TaskState {
    app.store.task(task).await.unwrap().unwrap().task.state
}

/// A task that the worker `w` has begun, and how it names it.
async fn begun(app: &App, wanted: SubmitTask) -> (Task, RunningAttempt) {
    let task = submit(app, wanted).await;
    let told = app.pull(&"w".into(), pull(Vec::new())).await.unwrap();
    assert_eq!(told.assign.len(), 1);
    let report = ReportStatus::new(ReportedStatus::Running, "w".into(), 1);
    app.store.write(Report { task: task.id, report, now: app.now() }).await.unwrap();
    (task.clone(), RunningAttempt { task_id: task.id, attempt: 1, state: AttemptState::Started, next_seq: 0, stopping: false })
}

#[tokio::test]
async fn a_wall_clock_that_jumps_ends_no_lease_and_keeps_none() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    register(&app, json!({})).await;
    let (task, has) = begun(&app, wanted()).await;
    for hours in [5_000, -9_000] {
        clock.jump(hours * 3_600_000);
        run_once(&app).await.unwrap();
        assert!(!app.store.task(task.id).await.unwrap().unwrap().task.disconnected, "lost by a jump of {hours} hours");
        clock.advance(app.config.leases.lease.saturating_sub(Duration::from_secs(1)));
        assert!(app.pull(&"w".into(), pull(vec![has.clone()])).await.unwrap().is_empty());
    }
    // Set back by months, and all the same it is lost when its lease has really passed.
    clock.advance(app.config.leases.lease);
    run_once(&app).await.unwrap();
    assert!(app.store.task(task.id).await.unwrap().unwrap().task.disconnected);
    clock.jump(99_000_000);
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Working, "given up by a jump");
    clock.advance(app.config.leases.lost_after);
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Failed);
}

#[tokio::test]
async fn times_that_people_set_follow_the_wall_clock() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    let in_an_hour = Some(Timestamp(app.now().0 + 3_600_000));
    let late = submit(&app, SubmitTask { not_before: in_an_hour, ..wanted() }).await;
    let overdue = submit(&app, SubmitTask { deadline: in_an_hour, priority: Some(-1), ..wanted() }).await;
    register(&app, json!({ "slots": 2 })).await;
    clock.jump(-7_200_000);
    crate::background::times::run_once(&app).await.unwrap();
    assert_eq!(state(&app, overdue.id).await, TaskState::Submitted);
    clock.jump(10_800_000);
    crate::background::times::run_once(&app).await.unwrap();
    assert_eq!(state(&app, overdue.id).await, TaskState::Failed);
    let told = app.pull(&"w".into(), pull(Vec::new())).await.unwrap();
    assert_eq!(told.assign.iter().map(|given| given.task.id).collect::<Vec<_>>(), [late.id]);
}

#[tokio::test]
async fn a_clock_that_was_set_back_changes_neither_the_order_of_the_queue_nor_that_of_events() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    let mut made = Vec::new();
    for jump in [0, -86_400_000, 1, 172_800_000, -3_600_000] {
        clock.jump(jump);
        made.push(submit(&app, wanted()).await.id);
    }
    register(&app, json!({ "slots": 9 })).await;
    let told = app.pull(&"w".into(), pull(Vec::new())).await.unwrap();
    assert_eq!(told.assign.iter().map(|given| given.task.id).collect::<Vec<_>>(), made);
}

#[tokio::test]
async fn what_a_worker_ran_that_was_taken_off_begins_elsewhere_only_after_its_lease_also_over_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    register(&app, json!({})).await;
    let (task, _) = begun(&app, SubmitTask { on_lost: Some(OnLost::Restart), ..wanted() }).await;
    app.unregister_worker(&"w".into()).await.unwrap();
    clock.advance(app.config.leases.lease.saturating_sub(Duration::from_secs(1)));
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Working, "its worker may still run it");
    // As after a restart of the server: nobody knows the leases any more.
    *crate::sync::lock(&app.leases) = crate::domain::lease::Leases::default();
    grant_where_missing(&app).await.unwrap();
    clock.advance(app.config.leases.lease);
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Submitted);
}

#[tokio::test]
async fn an_attempt_whose_pull_was_cut_after_its_commit_gets_a_lease_and_loses_it() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    register(&app, json!({})).await;
    let task = submit(&app, wanted()).await;
    // The write of a pull without the rest of it, as when its connection is cut.
    let (worker, now) = ("w".into(), app.now());
    let look = Look { worker, instance: INSTANCE, registration: 1, after: None, now };
    let pull = PullTasks { look, running: Vec::new(), tell_drops: true, stop_after_ms: 1 };
    let PullOutcome::Told(told) = app.store.write(pull).await.unwrap() else { panic!("the pull was refused") };
    assert_eq!(told.assign.len(), 1);
    clock.advance(app.config.leases.lease * 2);
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Working, "nobody knows of a lease");
    grant_where_missing(&app).await.unwrap();
    clock.advance(app.config.leases.lease);
    run_once(&app).await.unwrap();
    assert_eq!(state(&app, task.id).await, TaskState::Submitted);
}
