use crate::app::testing::{INSTANCE, app, register};
use crate::auth::Principal;
use crate::clock::ManualClock;
use muster_protocol::task::SubmitTask;
use muster_protocol::worker::Pull;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Asks what no other task asks.
fn asking(label: &str, n: usize) -> SubmitTask {
    let labels = BTreeMap::from([(label.to_owned(), "yes".to_owned()), (format!("n{n}"), "yes".to_owned())]);
    SubmitTask { prompt: format!("{label} {n}"), mode: Some("echo".to_owned()), labels, ..SubmitTask::default() }
}

#[tokio::test]
async fn however_many_kinds_of_tasks_wait_for_other_workers_each_of_its_own_is_found() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    let submit = async |wanted: SubmitTask| app.submit(&Principal::local(), wanted, None).await.unwrap().id;
    let mut own = BTreeSet::new();
    for n in 0..1_200 {
        submit(asking("elsewhere", n)).await;
        if n % 200 == 0 {
            own.insert(submit(asking("here", n)).await);
        }
    }
    let labels: BTreeMap<String, &str> = (0..1_200).map(|n| (format!("n{n}"), "yes")).chain([("here".to_owned(), "yes")]).collect();
    register(&app, json!({ "slots": 1_000, "labels": labels })).await;
    let mut running = Vec::new();
    let mut found = BTreeSet::new();
    for pull_seq in 1..=6 {
        let pull = Pull { instance: INSTANCE, registration: 1, pull_seq, wait_ms: Some(0), running: running.clone() };
        for given in app.pull(&"w".into(), pull).await.unwrap().assign {
            running.push(serde_json::from_value(json!({ "task_id": given.task.id, "attempt": 1, "state": "started" })).unwrap());
            found.insert(given.task.id);
        }
    }
    assert_eq!(found, own);
}

#[tokio::test]
async fn a_worker_that_always_finds_work_at_the_front_comes_to_the_back_of_a_long_queue_too() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let app = app(dir.path(), &clock).await;
    for n in 0..900 {
        app.submit(&Principal::local(), asking("here", n), None).await.unwrap();
    }
    let labels: BTreeMap<String, &str> = (0..900).map(|n| (format!("n{n}"), "yes")).chain([("here".to_owned(), "yes")]).collect();
    register(&app, json!({ "slots": 1, "labels": labels })).await;
    let mut places = BTreeSet::new();
    for pull_seq in 1..=3 {
        // What it was given it hands back, so that the front is as full as before.
        let pull = Pull { instance: INSTANCE, registration: 1, pull_seq, wait_ms: Some(0), running: Vec::new() };
        let given = app.pull(&"w".into(), pull).await.unwrap().assign.pop().unwrap();
        places.insert(given.task.id);
        let report = muster_protocol::task::ReportStatus::new(muster_protocol::task::ReportedStatus::Pending, "w".into(), given.attempt);
        app.store.write(crate::store::attempts::Report { task: given.task.id, report, now: app.now() }).await.unwrap();
    }
    assert_eq!(places.len(), 3, "it looked at the same part of the queue again");
}
