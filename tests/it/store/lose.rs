//! Attempts whose worker is not heard of any more.

use super::bench::{Bench, Daemon, on_both, says};
use anyhow::{Result, ensure};
use muster::domain::loss::{AfterLoss, Loss};
use muster::store::attempts::{CancelOutcome, CancelTask, EndOverdueTask, LoseAttempt, LoseOutcome, MarkReconnected};
use muster::store::submit::NewTask;
use muster_protocol::event::kind;
use muster_protocol::task::{Assignment, OnLost, ReportedStatus, TaskState};
use muster_protocol::time::Timestamp;

on_both! {
    an_attempt_that_was_not_started_is_queued_again,
    a_started_attempt_is_shown_as_disconnected_and_fails_when_it_is_given_up,
    a_worker_that_is_back_takes_the_mark_off,
    a_report_of_a_disconnected_attempt_takes_the_mark_off,
    a_task_that_has_lost_enough_workers_is_stopped,
    an_attempt_that_is_not_the_current_one_is_not_lost,
    a_cancel_of_a_disconnected_attempt_waits_one_lease,
    an_expired_attempt_with_a_cancel_is_canceled_unconfirmed,
    a_queued_task_fails_at_its_deadline,
    a_running_task_is_stopped_by_its_worker_at_its_deadline_and_fails,
    a_disconnected_task_fails_at_its_deadline,
}

pub(super) async fn lose(bench: &Bench, at: &Assignment, loss: Loss) -> Result<LoseOutcome> {
    Ok(bench.store.write(LoseAttempt { task: at.task.id, attempt: at.attempt, loss, now: bench.now() }).await?)
}

async fn given(bench: &Bench, on_lost: OnLost) -> Result<(Daemon, Assignment)> {
    let worker = bench.worker("w", 1, &[]).await?;
    let deadline = Some(Timestamp(bench.now().0 + 600_000));
    bench.submit(NewTask { on_lost, deadline, ..bench.task("work") }).await?;
    let at = bench.pull_one(&worker).await?;
    Ok((worker, at))
}

async fn an_attempt_that_was_not_started_is_queued_again(bench: &Bench) -> Result<()> {
    let (_, at) = given(bench, OnLost::Wait).await?;
    ensure!(lose(bench, &at, Loss::Expired).await? == LoseOutcome::Decided(AfterLoss::Requeue), "it is not queued again");
    let record = bench.record(at.task.id).await?;
    ensure!(record.task.state == TaskState::Submitted && !record.held && record.losses == 0, "{record:?}");
    let other = bench.worker("other", 1, &[]).await?;
    ensure!(bench.pull_one(&other).await?.attempt == 2, "another number");
    Ok(())
}

async fn a_started_attempt_is_shown_as_disconnected_and_fails_when_it_is_given_up(bench: &Bench) -> Result<()> {
    for policy in [OnLost::Wait, OnLost::Resume] {
        let (worker, at) = given(bench, policy).await?;
        bench.start(&worker, &at, "ses_1").await?;
        for _ in 0..2 {
            ensure!(lose(bench, &at, Loss::Expired).await? == LoseOutcome::Decided(AfterLoss::Wait), "it is not waited for");
            let task = bench.record(at.task.id).await?.task;
            ensure!(task.state == TaskState::Working && task.disconnected, "{task:?}");
        }
        let other = bench.worker("other", 9, &[]).await?;
        ensure!(bench.pull(&other).await?.is_empty(), "another worker got it");
        ensure!(lose(bench, &at, Loss::GaveUp).await? == LoseOutcome::Decided(AfterLoss::Fail), "it was not given up");
        let task = bench.record(at.task.id).await?.task;
        ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("worker_lost") && !task.disconnected, "{task:?}");
    }
    ensure!(bench.store.count_events().await?[kind::TASK_DISCONNECTED] == 2, "each mark is told once");
    Ok(())
}

async fn a_worker_that_is_back_takes_the_mark_off(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    lose(bench, &at, Loss::Expired).await?;
    for _ in 0..2 {
        bench.store.write(MarkReconnected { task: at.task.id, attempt: 1, now: bench.now() }).await?;
        ensure!(!bench.record(at.task.id).await?.task.disconnected, "it is still shown as disconnected");
    }
    ensure!(bench.store.count_events().await?[kind::TASK_RECONNECTED] == 1, "the return is told once");
    bench.complete(&worker, &at).await.map(drop)
}

async fn a_report_of_a_disconnected_attempt_takes_the_mark_off(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    lose(bench, &at, Loss::Expired).await?;
    let task = bench.complete(&worker, &at).await?.task;
    ensure!(task.state == TaskState::Completed && !task.disconnected, "{task:?}");
    let entries = bench.store.entries(at.task.id, 0, 100).await?;
    ensure!(entries.len() as u64 == task.entries && entries.iter().zip(1..).all(|(e, n)| e.task_seq == n), "{entries:?}");
    Ok(())
}

async fn a_task_that_has_lost_enough_workers_is_stopped(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let task = bench.submit(NewTask { on_lost: OnLost::Restart, max_attempts: 3, ..bench.task("work") }).await?;
    for attempt in 1..=3 {
        let at = bench.pull_one(&worker).await?;
        bench.start(&worker, &at, "ses_1").await?;
        let expected = if attempt < 3 { AfterLoss::Requeue } else { AfterLoss::Fail };
        ensure!(lose(bench, &at, Loss::Expired).await? == LoseOutcome::Decided(expected), "attempt {attempt}");
    }
    let record = bench.record(task.id).await?;
    ensure!(record.task.state == TaskState::Failed && record.task.error_code.as_deref() == Some("worker_lost"), "{record:?}");
    Ok(())
}

async fn an_attempt_that_is_not_the_current_one_is_not_lost(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Restart).await?;
    lose(bench, &at, Loss::Expired).await?;
    ensure!(lose(bench, &at, Loss::Expired).await? == LoseOutcome::Stale, "a queued task was lost");
    let second = bench.pull_one(&worker).await?;
    ensure!(lose(bench, &at, Loss::GaveUp).await? == LoseOutcome::Stale, "the first attempt was lost again");
    bench.complete(&worker, &second).await?;
    ensure!(lose(bench, &second, Loss::GaveUp).await? == LoseOutcome::Stale, "a completed task was lost");
    Ok(())
}

async fn cancel(bench: &Bench, at: &Assignment) -> Result<CancelOutcome> {
    Ok(bench.store.write(CancelTask { task: at.task.id, lease_ms: 45_000, now: bench.now() }).await?)
}

async fn a_cancel_of_a_disconnected_attempt_waits_one_lease(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    lose(bench, &at, Loss::Expired).await?;
    ensure!(matches!(cancel(bench, &at).await?, CancelOutcome::Asked(_)), "it did not wait");
    bench.pass(44);
    ensure!(matches!(cancel(bench, &at).await?, CancelOutcome::Asked(_)), "it did not wait");
    bench.pass(1);
    let outcome = cancel(bench, &at).await?;
    ensure!(matches!(&outcome, CancelOutcome::Canceled(task) if task.confirmed == Some(false)), "{outcome:?}");
    Ok(())
}

async fn an_expired_attempt_with_a_cancel_is_canceled_unconfirmed(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Restart).await?;
    bench.start(&worker, &at, "ses_1").await?;
    cancel(bench, &at).await?;
    ensure!(lose(bench, &at, Loss::Expired).await? == LoseOutcome::Canceled, "it is not canceled");
    let task = bench.record(at.task.id).await?.task;
    ensure!(task.state == TaskState::Canceled && task.confirmed == Some(false), "{task:?}");
    Ok(())
}

async fn end_overdue(bench: &Bench) -> Result<usize> {
    let overdue = bench.store.overdue(bench.now()).await?;
    for task in &overdue {
        bench.store.write(EndOverdueTask { task: *task, lease_ms: 45_000, now: bench.now() }).await?;
    }
    Ok(overdue.len())
}

async fn a_queued_task_fails_at_its_deadline(bench: &Bench) -> Result<()> {
    let deadline = Timestamp(bench.now().0 + 1_000);
    let task = bench.submit(NewTask { deadline: Some(deadline), ..bench.task("work") }).await?;
    ensure!(end_overdue(bench).await? == 0, "it is overdue too early");
    bench.pass(1);
    ensure!(end_overdue(bench).await? == 1 && end_overdue(bench).await? == 0, "it is not overdue once");
    let task = bench.record(task.id).await?.task;
    ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("deadline_exceeded"), "{task:?}");
    Ok(())
}

async fn a_running_task_is_stopped_by_its_worker_at_its_deadline_and_fails(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    bench.pass(600);
    ensure!(end_overdue(bench).await? == 1, "it is not overdue");
    ensure!(end_overdue(bench).await? == 0, "what its worker was asked to stop stands in the way of others");
    let task = bench.record(at.task.id).await?.task;
    ensure!(task.state == TaskState::Working && task.cancel_requested, "{task:?}");
    for _ in 0..2 {
        let task = bench.report(&at, says(&worker, &at, ReportedStatus::Cancelled)).await?.task;
        ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("deadline_exceeded"), "{task:?}");
    }
    Ok(())
}

async fn a_disconnected_task_fails_at_its_deadline(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    lose(bench, &at, Loss::Expired).await?;
    bench.pass(600);
    end_overdue(bench).await?;
    bench.pass(45);
    end_overdue(bench).await?;
    let task = bench.record(at.task.id).await?.task;
    ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("deadline_exceeded"), "{task:?}");
    Ok(())
}
