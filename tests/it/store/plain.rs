//! Plain workers: a poll reserves, the first word of the worker claims.

use super::bench::{Bench, Daemon, on_both, plainly_says, text};
use anyhow::{Result, bail, ensure};
use futures_util::future::join_all;
use muster::domain::loss::Loss;
use muster::store::attempts::{CancelTask, LoseAttempt, ReportOutcome};
use muster::store::claim::{ReserveTask, Reserved};
use muster::store::stream::{AppendEntries, AppendOutcome};
use muster::store::submit::NewTask;
use muster_protocol::task::{ReportStatus, ReportedStatus, Task, TaskState};
use muster_protocol::time::Timestamp;
use std::collections::HashSet;

on_both! {
    a_poll_reserves_one_task_and_shows_it_until_it_is_claimed,
    a_reservation_that_expires_is_offered_to_another,
    plain_workers_that_poll_at_once_never_get_the_same_task,
    a_plain_worker_runs_a_task_from_claim_to_result,
    a_claim_without_a_reservation_is_atomic,
    a_claim_is_refused_where_the_task_may_not_run_now,
    a_reserved_task_that_is_canceled_is_not_run,
    a_worker_that_pulls_gets_nothing_by_polling,
}

async fn poll(bench: &Bench, worker: &Daemon) -> Result<Reserved> {
    Ok(bench.store.write(ReserveTask { worker: worker.id.clone(), now: bench.now() }).await?)
}

async fn shown(bench: &Bench, worker: &Daemon) -> Result<Option<Task>> {
    match poll(bench, worker).await? {
        Reserved::Task(task) | Reserved::Again(task) => Ok(Some(*task)),
        Reserved::Nothing => Ok(None),
        other => bail!("{other:?}"),
    }
}

async fn a_poll_reserves_one_task_and_shows_it_until_it_is_claimed(bench: &Bench) -> Result<()> {
    let worker = bench.plain_worker("p").await?;
    ensure!(shown(bench, &worker).await?.is_none(), "there is a task");
    let one = bench.submit(bench.task("one")).await?;
    bench.submit(bench.task("two")).await?;
    for _ in 0..3 {
        let Some(task) = shown(bench, &worker).await? else { bail!("nothing is shown") };
        ensure!(task.id == one.id && task.state == TaskState::Submitted, "{task:?}");
    }
    ensure!(bench.store.attempts(one.id).await?.len() == 1, "each poll reserves again");
    bench.report_outcome(one.id, plainly_says(&worker, ReportedStatus::Running)).await?;
    ensure!(shown(bench, &worker).await?.is_none(), "a second task is shown while one runs");
    bench.report_outcome(one.id, plainly_says(&worker, ReportedStatus::Completed)).await?;
    let Some(task) = shown(bench, &worker).await? else { bail!("nothing is shown") };
    ensure!(task.prompt == "two", "{task:?}");
    Ok(())
}

async fn a_reservation_that_expires_is_offered_to_another(bench: &Bench) -> Result<()> {
    let (worker, other) = (bench.plain_worker("p").await?, bench.plain_worker("other").await?);
    let task = bench.submit(bench.task("one")).await?;
    shown(bench, &worker).await?;
    ensure!(shown(bench, &other).await?.is_none(), "two workers are offered one task");
    bench.store.write(LoseAttempt { task: task.id, attempt: 1, loss: Loss::Expired, now: bench.now() }).await?;
    ensure!(shown(bench, &other).await?.is_some_and(|shown| shown.id == task.id), "nobody is offered it");
    let late = bench.report_outcome(task.id, plainly_says(&worker, ReportedStatus::Running)).await?;
    ensure!(matches!(late, ReportOutcome::HeldByAnother(_)), "{late:?}");
    let taken = bench.report_outcome(task.id, plainly_says(&other, ReportedStatus::Running)).await?;
    ensure!(matches!(taken, ReportOutcome::Taken(_)), "{taken:?}");
    Ok(())
}

async fn plain_workers_that_poll_at_once_never_get_the_same_task(bench: &Bench) -> Result<()> {
    let mut workers = Vec::new();
    for n in 0..20 {
        workers.push(bench.plain_worker(&format!("p{n}")).await?);
    }
    for outcome in join_all((0..12).map(|n| bench.submit(bench.task(&n.to_string())))).await {
        outcome?;
    }
    let mut given = Vec::new();
    for task in join_all(workers.iter().map(|worker| shown(bench, worker))).await {
        given.extend(task?.map(|task| task.id));
    }
    ensure!(given.len() == 12 && given.iter().collect::<HashSet<_>>().len() == 12, "{given:?}");
    Ok(())
}

async fn a_plain_worker_runs_a_task_from_claim_to_result(bench: &Bench) -> Result<()> {
    let worker = bench.plain_worker("p").await?;
    let task = bench.submit(bench.task("one")).await?;
    shown(bench, &worker).await?;
    for session_id in [None, Some("ses_1".into())] {
        let running = ReportStatus { session_id, ..plainly_says(&worker, ReportedStatus::Running) };
        let ReportOutcome::Taken(record) = bench.report_outcome(task.id, running).await? else { bail!("refused") };
        ensure!(record.task.state == TaskState::Working && record.task.worker_id == Some(worker.id.clone()), "{record:?}");
        for _ in 0..2 {
            let (worker, entries) = (worker.id.clone(), vec![text(bench, 0, "line")]);
            let append = AppendEntries { task: task.id, worker, instance: None, attempt: None, entries, first_seq: None, now: bench.now() };
            let outcome = bench.store.write(append).await?;
            ensure!(matches!(outcome, AppendOutcome::Taken { attempt: 1, .. }), "{outcome:?}");
        }
    }
    let done = ReportStatus { result: Some("done".into()), ..plainly_says(&worker, ReportedStatus::Completed) };
    for _ in 0..2 {
        let ReportOutcome::Taken(record) = bench.report_outcome(task.id, done.clone()).await? else { bail!("refused") };
        ensure!(record.task.state == TaskState::Completed && record.task.result.as_deref() == Some("done"), "{record:?}");
    }
    let entries = bench.store.entries(task.id, 0, 100).await?;
    ensure!(entries.iter().zip(1..).all(|(entry, place)| entry.task_seq == place), "{entries:?}");
    ensure!(entries.iter().filter(|entry| entry.kind.as_str() == "text").count() == 4, "{entries:?}");
    Ok(())
}

async fn a_claim_without_a_reservation_is_atomic(bench: &Bench) -> Result<()> {
    let workers = [bench.plain_worker("p").await?, bench.plain_worker("q").await?, bench.plain_worker("r").await?];
    let task = bench.submit(bench.task("one")).await?;
    let claims = join_all(workers.iter().map(|w| bench.report_outcome(task.id, plainly_says(w, ReportedStatus::Running)))).await;
    let (mut taken, mut refused) = (0, 0);
    for claim in claims {
        match claim? {
            ReportOutcome::Taken(_) => taken += 1,
            ReportOutcome::HeldByAnother(_) => refused += 1,
            other => bail!("{other:?}"),
        }
    }
    ensure!((taken, refused) == (1, 2), "{taken} took it, {refused} were refused");
    Ok(())
}

async fn a_claim_is_refused_where_the_task_may_not_run_now(bench: &Bench) -> Result<()> {
    let (worker, other) = (bench.plain_worker("p").await?, bench.worker("w", 9, &["app"]).await?);
    let claim = async |task: &Task| bench.report_outcome(task.id, plainly_says(&worker, ReportedStatus::Running)).await;
    let fixed = bench.submit(NewTask { worker: Some(other.id.clone()), ..bench.task("fixed") }).await?;
    let later = NewTask { not_before: Some(Timestamp(bench.now().0 + 1_000)), ..bench.task("later") };
    let later = bench.submit(later).await?;
    let first = bench.submit(bench.task("first")).await?;
    let second = bench.submit(NewTask { context_id: first.context_id.clone(), ..bench.task("second") }).await?;
    for task in [&fixed, &later, &second] {
        let outcome = claim(task).await?;
        ensure!(matches!(outcome, ReportOutcome::NotForIt(_)), "{}: {outcome:?}", task.prompt);
        ensure!(bench.record(task.id).await?.task.attempt == 0, "{} was given", task.prompt);
    }
    ensure!(matches!(claim(&first).await?, ReportOutcome::Taken(_)), "the first turn was refused");
    Ok(())
}

async fn a_reserved_task_that_is_canceled_is_not_run(bench: &Bench) -> Result<()> {
    let worker = bench.plain_worker("p").await?;
    let task = bench.submit(bench.task("one")).await?;
    shown(bench, &worker).await?;
    bench.store.write(CancelTask { task: task.id, lease_ms: 45_000, now: bench.now() }).await?;
    ensure!(bench.record(task.id).await?.task.state == TaskState::Canceled, "it waits for the worker");
    let claim = bench.report_outcome(task.id, plainly_says(&worker, ReportedStatus::Running)).await?;
    ensure!(matches!(claim, ReportOutcome::Terminal(_)), "{claim:?}");
    ensure!(shown(bench, &worker).await?.is_none(), "it is still shown");
    Ok(())
}

async fn a_worker_that_pulls_gets_nothing_by_polling(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(bench.task("one")).await?;
    ensure!(matches!(poll(bench, &worker).await?, Reserved::NotPlain), "it got a reservation");
    let stranger = Daemon { id: "stranger".into(), ..worker };
    ensure!(matches!(poll(bench, &stranger).await?, Reserved::NotRegistered), "a stranger got a reservation");
    Ok(())
}
