//! The one writer: many writes in a transaction, each with its own answer.

use super::bench::{Bench, on_both, text};
use anyhow::{Result, ensure};
use futures_util::future::join_all;
use muster::store::StoreError;
use muster::store::events::{EventFilter, RecordEvent};
use muster::store::submit::{NewTask, SubmitTask, Submitted};
use muster::store::tx::NewEvent;
use muster::store::workers::DrainWorker;
use muster_protocol::event::{Event, kind};
use muster_protocol::ids::{PrincipalId, TaskId};
use std::collections::HashSet;

on_both! {
    two_thousand_writes_of_several_kinds_are_all_answered_and_leave_a_log_without_gaps within 240,
    a_refused_write_leaves_its_neighbours_alone,
    a_statement_that_fails_fails_its_own_write_only,
    a_full_queue_refuses_and_changes_nothing,
    closing_commits_what_waits_and_refuses_what_comes_later,
}

/// Every event of the log.
pub(super) async fn whole_log(bench: &Bench) -> Result<Vec<Event>> {
    let mut log: Vec<Event> = Vec::new();
    loop {
        let after = log.last().map_or(0, |event| event.sequence);
        let page = bench.store.events(&EventFilter { after, limit: 500, ..EventFilter::default() }).await?;
        if page.is_empty() {
            return Ok(log);
        }
        log.extend(page);
    }
}

/// The log is 1..n in both of its numbers, of one origin and epoch, each event with an id of its own.
pub(super) async fn log_is_whole(bench: &Bench) -> Result<Vec<Event>> {
    let log = whole_log(bench).await?;
    let identity = bench.store.identity();
    for (place, event) in (1..).zip(&log) {
        ensure!(event.sequence == place, "place {place} of the log holds {}", event.sequence);
        ensure!(event.originseq == Some(place), "event {place} has the originseq {:?}", event.originseq);
        ensure!(event.origin == identity.server_id && event.epoch == identity.epoch, "event {place} is of another origin");
    }
    ensure!(log.iter().map(|event| event.id).collect::<HashSet<_>>().len() == log.len(), "two events share an id");
    ensure!(bench.store.log_head().await? == log.len() as u64, "the head is elsewhere");
    Ok(log)
}

async fn two_thousand_writes_of_several_kinds_are_all_answered_and_leave_a_log_without_gaps(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let running = bench.submit(bench.task("it runs")).await?;
    let assigned = bench.pull_one(&worker).await?;
    ensure!(assigned.task.id == running.id, "another task was given");
    let kinds = (0..2_000_u64).map(|n| {
        let (worker, assigned) = (&worker, &assigned);
        async move {
            match n % 4 {
                0 | 1 => bench.submit(bench.task(&format!("task {n}"))).await.map(drop),
                2 => {
                    let drain = DrainWorker { worker: worker.id.clone(), drain: Some(format!("reason {n}")), now: bench.now() };
                    ensure!(bench.store.write(drain).await?, "no such worker");
                    Ok(())
                }
                // In the order in which they are queued: each is the next one.
                _ => bench.append(worker, assigned, vec![text(bench, n / 4, "more")]).await.map(drop),
            }
        }
    });
    for outcome in join_all(kinds).await {
        outcome?;
    }
    let log = log_is_whole(bench).await?;
    let counts = bench.store.count_events().await?;
    ensure!(counts[kind::TASK_SUBMITTED] == 1_001 && counts[kind::WORKER_DRAINING] == 500, "{counts:?}");
    ensure!(log.len() as u64 == counts.values().sum::<u64>(), "{} events, but {counts:?}", log.len());
    ensure!(bench.store.attempts(running.id).await?[0].next_seq == 500, "entries are missing");
    ensure!(bench.store.count_tasks().await?["submitted"] == 1_000, "tasks are missing");
    Ok(())
}

async fn a_refused_write_leaves_its_neighbours_alone(bench: &Bench) -> Result<()> {
    let theirs = bench.submit(bench.task("theirs")).await?;
    let mut writes = Vec::new();
    for n in 0..60 {
        let task = bench.task(&format!("task {n}"));
        let foreign =
            NewTask { own_only: true, owner: PrincipalId::from("token:1"), context_id: theirs.context_id.clone(), ..task.clone() };
        writes.push(bench.submitted(if n % 3 == 0 { foreign } else { task }));
    }
    for (n, outcome) in (0..).zip(join_all(writes).await) {
        let refused = matches!(outcome?, Submitted::ForeignContext);
        ensure!(refused == (n % 3 == 0), "write {n}: refused is {refused}");
    }
    ensure!(log_is_whole(bench).await?.len() == 41, "a refused write left an event");
    Ok(())
}

async fn a_statement_that_fails_fails_its_own_write_only(bench: &Bench) -> Result<()> {
    let known = bench.submit(bench.task("known")).await?;
    for round in 0..3 {
        let mut writes = Vec::new();
        for n in 0..30 {
            let task = bench.task(&format!("task {round}/{n}"));
            let id = if n == 7 || n == 29 { known.id } else { task.id };
            writes.push(bench.submitted(NewTask { id, ..task }));
        }
        for (n, outcome) in (0..).zip(join_all(writes).await) {
            let error = outcome.err();
            let is_faulty = matches!(error.as_ref().and_then(|e| e.downcast_ref()), Some(StoreError::Database(_)));
            ensure!(is_faulty == (n == 7 || n == 29), "write {n}: {error:?}");
        }
    }
    ensure!(bench.record(known.id).await?.task.prompt == "known", "the known task was changed");
    ensure!(log_is_whole(bench).await?.len() == 1 + 3 * 28, "a failed write left an event, or a good one did not");
    Ok(())
}

async fn a_full_queue_refuses_and_changes_nothing(bench: &Bench) -> Result<()> {
    bench.store.close().await;
    let small = Bench::at(bench.url.clone(), 4).await?;
    // All are queued before the writer runs once: nothing here waits in between.
    let outcomes = join_all((0..20).map(|n| small.submitted(small.task(&format!("task {n}"))))).await;
    let mut accepted = 0;
    for outcome in outcomes {
        match outcome {
            Ok(Submitted::Accepted(_)) => accepted += 1,
            Ok(other) => anyhow::bail!("{other:?}"),
            Err(error) => ensure!(matches!(error.downcast_ref(), Some(StoreError::Overloaded)), "{error:#}"),
        }
    }
    ensure!((4..20).contains(&accepted), "{accepted} of 20 writes found a place among 4");
    ensure!(log_is_whole(&small).await?.len() == accepted, "a refused write left an event");
    small.submit(small.task("there is room again")).await.map(drop)
}

async fn closing_commits_what_waits_and_refuses_what_comes_later(bench: &Bench) -> Result<()> {
    let writes: Vec<_> = (0..600).map(|n| bench.task(&format!("task {n}"))).collect();
    let ids: Vec<TaskId> = writes.iter().map(|task| task.id).collect();
    let (outcomes, ()) = futures_util::join!(join_all(writes.into_iter().map(|task| bench.submitted(task))), bench.store.close());
    for outcome in outcomes {
        outcome?;
    }
    let late = bench.store.write(SubmitTask { task: bench.task("late"), key: None, answer: None, message: None, now: bench.now() }).await;
    ensure!(matches!(late, Err(StoreError::Closed)), "a closed store took a write");
    let event = NewEvent { kind: kind::SERVER_STARTED, subject: "servers/x".into(), at: bench.now(), data: serde_json::json!({}) };
    ensure!(matches!(bench.store.write(RecordEvent(event)).await, Err(StoreError::Closed)), "a closed store took a write");
    let again = Bench::at(bench.url.clone(), 64).await?;
    for id in ids {
        again.record(id).await?;
    }
    Ok(())
}
