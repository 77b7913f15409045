//! The event log and the hub.

use super::bench::{Bench, on_both, text};
use anyhow::{Result, ensure};
use muster::domain::monitor::Tally;
use muster::store::events::{EventFilter, KeepTally};
use muster::store::submit::NewTask;
use muster::store::tasks::TaskFilter;
use muster_protocol::event::kind;
use muster_protocol::task::{ReportedStatus, TaskState};
use std::collections::BTreeSet;
use std::time::Duration;

on_both! {
    events_are_read_with_filters_and_page_by_page,
    the_newest_events_of_some_kinds_are_found,
    a_tally_is_kept_beyond_the_end_of_the_server,
    what_a_worker_has_is_found_by_worker_and_by_codebase,
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

async fn the_newest_events_of_some_kinds_are_found(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    for n in 0..5 {
        bench.submit(bench.task(&n.to_string())).await?;
        let at = bench.pull_one(&worker).await?;
        bench.complete(&worker, &at).await?;
    }
    let kinds = [kind::TASK_SUBMITTED, kind::TASK_COMPLETED, "never.happened"].map(str::to_owned);
    let all = bench.store.events_before(u64::MAX, 0, None, 500).await?;
    let wanted: Vec<_> = all.iter().filter(|event| kinds.contains(&event.kind)).map(|event| event.sequence).collect();
    ensure!(wanted.len() == 10 && wanted.is_sorted_by(|one, other| one > other), "{wanted:?}");
    // Page by page.
    let (mut before, mut found) = (u64::MAX, Vec::new());
    loop {
        let page = bench.store.events_before(before, 0, Some(&kinds), 3).await?;
        let Some(last) = page.last() else { break };
        before = last.sequence;
        found.extend(page.iter().map(|event| event.sequence));
    }
    ensure!(found == wanted, "{found:?} is not {wanted:?}");
    let between = bench.store.events_before(wanted[2], wanted[6], Some(&kinds), 500).await?;
    ensure!(between.iter().map(|event| event.sequence).eq(wanted[3..6].iter().copied()), "{between:?}");
    ensure!(bench.store.events_before(u64::MAX, 0, Some(&[]), 500).await?.is_empty(), "events of no kind");
    Ok(())
}

async fn a_tally_is_kept_beyond_the_end_of_the_server(bench: &Bench) -> Result<()> {
    ensure!(bench.store.kept_tally().await?.is_none(), "a new database has one");
    bench.submit(bench.task("x")).await?;
    let mut tally = Tally::default();
    for round in 0..2 {
        for event in bench.store.events(&EventFilter { after: tally.seq, limit: 500, ..EventFilter::default() }).await? {
            tally.add(&event);
        }
        bench.store.write(KeepTally(tally.clone())).await?;
        let kept = bench.store.kept_tally().await?;
        ensure!(kept.as_ref() == Some(&tally), "round {round}: {kept:?} is not {tally:?}");
        bench.submit(bench.task("y")).await?;
    }
    ensure!(tally.kinds[kind::TASK_SUBMITTED] == 2, "{tally:?}");
    Ok(())
}

async fn what_a_worker_has_is_found_by_worker_and_by_codebase(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 2, &["app"]).await?, bench.worker("other", 2, &["app"]).await?);
    for worker in [&one, &other] {
        for place in [&worker.global, &worker.codebases["app"]] {
            bench.submit(bench.task_in("x", worker, place)).await?;
        }
    }
    ensure!(bench.store.held_by(&one.id).await?.is_empty(), "it has what it was not given");
    let given = bench.pull(&one).await?;
    let held: BTreeSet<_> = bench.store.held_by(&one.id).await?.iter().map(|record| record.task.id).collect();
    ensure!(held.len() == 2 && held == given.iter().map(|at| at.task.id).collect(), "{held:?}");
    ensure!(bench.store.held_by(&other.id).await?.is_empty(), "another's");
    let held = bench.store.held_in(&one.codebases["app"]).await?;
    ensure!(held.len() == 1 && held[0].task.codebase_id == one.codebases["app"], "{held:?}");
    for at in &given {
        bench.complete(&one, at).await?;
    }
    ensure!(bench.store.held_in(&one.codebases["app"]).await?.is_empty(), "it has what has ended");
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
