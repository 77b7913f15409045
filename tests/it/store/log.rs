//! The event log and the hub.

use super::bench::{Bench, on_both, text};
use anyhow::{Result, ensure};
use muster::store::events::EventFilter;
use muster::store::submit::NewTask;
use muster::store::tasks::TaskFilter;
use muster_protocol::event::kind;
use muster_protocol::task::{ReportedStatus, TaskState};
use std::time::Duration;

on_both! {
    events_are_read_with_filters_and_page_by_page,
    tasks_are_listed_with_filters_and_page_by_page,
    a_woken_waiter_finds_what_it_was_woken_for,
    a_refused_or_failed_write_wakes_nobody,
}

async fn events_are_read_with_filters_and_page_by_page(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let mut last = None;
    for n in 0..10 {
        bench.submit(bench.task(&n.to_string())).await?;
        let at = bench.pull_one(&worker).await?;
        bench.complete(&worker, &at).await?;
        last = Some(at.task.id);
    }
    let read = async |filter: EventFilter| bench.store.events(&EventFilter { limit: 500, ..filter }).await;
    let completed = read(EventFilter { kind: Some(kind::TASK_COMPLETED.into()), ..EventFilter::default() }).await?;
    ensure!(completed.len() == 10, "{} tasks are completed", completed.len());
    let subject = last.map(|id| format!("tasks/{id}"));
    let kinds: Vec<_> = read(EventFilter { subject, ..EventFilter::default() }).await?.into_iter().map(|e| e.kind).collect();
    ensure!(kinds == [kind::TASK_SUBMITTED, kind::TASK_ASSIGNED, kind::TASK_COMPLETED], "{kinds:?}");
    let origin = Some(bench.store.identity().server_id.to_string());
    let all = read(EventFilter { origin, ..EventFilter::default() }).await?;
    ensure!(all.len() as u64 == bench.store.log_head().await?, "the origin's events are not all");
    let none = read(EventFilter { origin: Some("another".into()), ..EventFilter::default() }).await?;
    ensure!(none.is_empty(), "{none:?}");
    let page = bench.store.events(&EventFilter { after: 3, limit: 4, ..EventFilter::default() }).await?;
    ensure!(page.iter().map(|e| e.sequence).collect::<Vec<_>>() == [4, 5, 6, 7], "{page:?}");
    Ok(())
}

async fn tasks_are_listed_with_filters_and_page_by_page(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 3, &["app"]).await?;
    for n in 0..12_i32 {
        let task = if n % 2 == 0 { bench.task_in("in Äpp", &worker, &worker.codebases["app"]) } else { bench.task("100% any") };
        bench.submit(NewTask { priority: n % 3, title: format!("Number {n}"), ..task }).await?;
    }
    bench.pull(&worker).await?;
    let list = async |filter: TaskFilter| bench.store.tasks(&TaskFilter { limit: 500, ..filter }).await;
    let states = vec![TaskState::Working, TaskState::Completed];
    ensure!(list(TaskFilter { states, ..TaskFilter::default() }).await?.len() == 3, "other states");
    let codebase = Some(worker.codebases["app"].clone());
    ensure!(list(TaskFilter { codebase, ..TaskFilter::default() }).await?.len() == 6, "other codebases");
    for (text, count) in [("NUMBER 1", 3), ("0% A", 6), ("_", 0), ("'", 0)] {
        let found = list(TaskFilter { text: Some(text.into()), ..TaskFilter::default() }).await?.len();
        ensure!(found == count, "{found} tasks with {text:?}, not {count}");
    }
    ensure!(
        list(TaskFilter { owner: Some("nobody".into()), ..TaskFilter::default() }).await.is_ok_and(|l| l.is_empty()),
        "another owner's"
    );
    let all = list(TaskFilter::default()).await?;
    let order: Vec<_> = all.iter().map(|r| (std::cmp::Reverse(r.task.priority), r.task.id)).collect();
    ensure!(order.is_sorted() && all.len() == 12, "{order:?}");
    let (mut after, mut listed) = (None, Vec::new());
    loop {
        let next = bench.store.tasks(&TaskFilter { after, limit: 5, ..TaskFilter::default() }).await?;
        let Some(end) = next.last() else { break };
        after = Some((i64::from(end.task.priority), end.task.id));
        listed.extend(next.iter().map(|r| r.task.id));
    }
    ensure!(listed == all.iter().map(|r| r.task.id).collect::<Vec<_>>(), "the pages are not the list");
    Ok(())
}

async fn heard(signal: &mut muster::events::Signal) -> Result<()> {
    Ok(tokio::time::timeout(Duration::from_secs(20), signal.changed()).await??)
}

async fn a_woken_waiter_finds_what_it_was_woken_for(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let (mut log, mut any) = (bench.store.hub().log(), bench.store.hub().worker(worker.id.clone()));
    for round in 0..20_u64 {
        let task = bench.task("work");
        let mut signal = bench.store.hub().task(task.id);
        let waiter = async {
            heard(&mut any).await?;
            let at = bench.pull_one(&worker).await?;
            bench.append(&worker, &at, vec![text(bench, 0, "x")]).await?;
            bench.report(&at, super::bench::says(&worker, &at, ReportedStatus::Completed)).await?;
            any.mark_unchanged();
            anyhow::Ok(at.task.id)
        };
        let viewer = async {
            loop {
                heard(&mut signal).await?;
                // What was told is there to read.
                let record = bench.record(task.id).await?;
                ensure!(record.task.entries > 0, "woken before the commit");
                if record.task.state.is_terminal() {
                    return Ok(());
                }
            }
        };
        let follower = async {
            loop {
                heard(&mut log).await?;
                let head = *log.borrow_and_update();
                ensure!(bench.store.log_head().await? >= head, "told of an event before its commit");
                let completed = bench.store.count_events().await?.get(kind::TASK_COMPLETED).copied().unwrap_or(0);
                if completed > round {
                    return Ok(());
                }
            }
        };
        let submit = bench.submit(task.clone());
        let (done, (), (), submitted) = futures_util::try_join!(waiter, viewer, follower, submit)?;
        ensure!(done == submitted.id, "another task was done");
    }
    Ok(())
}

async fn a_refused_or_failed_write_wakes_nobody(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let known = bench.submit(bench.task("known")).await?;
    let signals = [bench.store.hub().worker(worker.id.clone()), bench.store.hub().log(), bench.store.hub().task(known.id)];
    let again = NewTask { id: known.id, ..bench.task("the same id") };
    ensure!(bench.submitted(again).await.is_err(), "an id was taken twice");
    let foreign = NewTask { own_only: true, owner: "token:1".into(), context_id: known.context_id.clone(), ..bench.task("foreign") };
    bench.submitted(foreign).await?;
    for signal in &signals {
        ensure!(!signal.has_changed()?, "somebody was woken for nothing");
    }
    Ok(())
}
