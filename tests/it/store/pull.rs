//! What a pull settles: lost answers, lost runs, cancels, superseded instances.

use super::bench::{Bench, Daemon, on_both, running, says, text};
use anyhow::{Result, ensure};
use muster::domain::loss::Loss;
use muster::store::attempts::{CancelTask, LoseAttempt, LoseOutcome, ReportOutcome};
use muster::store::claim::PullOutcome;
use muster::store::codebases::RemoveCodebase;
use muster::store::stream::{AppendEntries, AppendOutcome};
use muster::store::submit::{NewTask, Submitted};
use muster::store::workers::UnregisterWorker;
use muster_protocol::ids::{InstanceId, SessionId, TaskId};
use muster_protocol::task::{Assignment, OnLost, ReportStatus, ReportedStatus, TaskState};
use muster_protocol::worker::{AttemptRef, RegisterWorker as Registration, RunningAttempt};

on_both! {
    an_assignment_whose_answer_was_lost_is_sent_again_with_the_same_number,
    an_assignment_goes_to_the_next_instance_if_it_was_not_started,
    a_started_attempt_that_is_absent_fails_where_its_policy_is_to_wait,
    a_started_attempt_that_is_absent_is_continued_where_its_policy_is_to_resume,
    a_started_attempt_that_is_absent_is_queued_again_where_its_policy_is_to_restart,
    a_continuation_that_was_not_started_stays_a_continuation,
    a_session_is_not_given_to_a_worker_that_has_not_got_it,
    a_run_that_is_not_the_workers_is_to_be_dropped,
    a_cancel_is_told_until_it_is_confirmed,
    a_cancel_that_the_worker_is_at_is_not_told_again,
    what_another_start_may_still_run_is_not_begun_by_the_newer_one_before_its_lease,
    an_absent_attempt_with_a_cancel_is_canceled_and_confirmed,
    an_older_instance_is_superseded,
    a_superseded_instance_is_not_believed_any_more,
    a_worker_that_is_back_is_shown_so_by_its_next_pull,
    a_task_is_never_queued_for_a_codebase_that_is_gone,
    who_is_not_registered_is_told_so,
    only_a_restart_attempt_carries_a_time_to_stop,
    a_pull_that_would_find_nothing_is_seen_without_a_write,
}

async fn given(bench: &Bench, on_lost: OnLost) -> Result<(Daemon, Assignment)> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(NewTask { on_lost, ..bench.task("work") }).await?;
    let at = bench.pull_one(&worker).await?;
    Ok((worker, at))
}

async fn an_assignment_whose_answer_was_lost_is_sent_again_with_the_same_number(bench: &Bench) -> Result<()> {
    let (worker, first) = given(bench, OnLost::Wait).await?;
    for _ in 0..3 {
        let again = bench.pull_one(&worker).await?;
        ensure!((again.task.id, again.attempt) == (first.task.id, 1), "{again:?}");
    }
    ensure!(bench.store.attempts(first.task.id).await?.len() == 1, "it made another attempt");
    let told = bench.pull_with(&worker, &[running(&first)]).await?;
    ensure!(told.assign.is_empty(), "what the worker names was sent again");
    Ok(())
}

async fn an_assignment_goes_to_the_next_instance_if_it_was_not_started(bench: &Bench) -> Result<()> {
    let (_, first) = given(bench, OnLost::Wait).await?;
    let next = bench.worker("w", 1, &[]).await?;
    let again = bench.pull_one(&next).await?;
    ensure!((again.task.id, again.attempt) == (first.task.id, 1), "{again:?}");
    ensure!(bench.store.attempts(first.task.id).await?[0].instance == Some(next.instance), "it is still the older instance's");
    Ok(())
}

async fn a_started_attempt_that_is_absent_fails_where_its_policy_is_to_wait(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    bench.submit(bench.task("the slot is free again")).await?;
    let next = bench.pull_one(&worker).await?;
    ensure!(next.task.id != at.task.id, "a prompt ran twice");
    let task = bench.record(at.task.id).await?.task;
    ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("worker_lost"), "{task:?}");
    ensure!(
        task.session_id == Some(SessionId::from("ses_1")) && task.error.is_some_and(|e| e.contains("ses_1")),
        "the session is not named"
    );
    Ok(())
}

async fn a_started_attempt_that_is_absent_is_continued_where_its_policy_is_to_resume(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Resume).await?;
    let other = bench.worker("other", 9, &[]).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let next = bench.pull_one(&worker).await?;
    ensure!((next.task.id, next.attempt, next.continuation) == (at.task.id, 2, true), "{next:?}");
    ensure!(next.session_id == Some(SessionId::from("ses_1")), "{next:?}");
    ensure!(next.codebase.as_ref().map(|c| &c.id) == Some(&worker.global), "{next:?}");
    // Handed back, it is still the same worker's.
    bench.report(&next, says(&worker, &next, ReportedStatus::Pending)).await?;
    ensure!(bench.pull(&other).await?.is_empty(), "a session was continued elsewhere");
    ensure!(bench.pull_one(&worker).await?.continuation, "it is no continuation any more");
    Ok(())
}

async fn a_started_attempt_that_is_absent_is_queued_again_where_its_policy_is_to_restart(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Restart).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let next = bench.pull_one(&worker).await?;
    ensure!((next.task.id, next.attempt, next.continuation) == (at.task.id, 2, false), "{next:?}");
    ensure!(bench.record(at.task.id).await?.task.started_at.is_none(), "the new attempt counts as started");
    Ok(())
}

async fn a_continuation_that_was_not_started_stays_a_continuation(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Resume).await?;
    let other = bench.worker("other", 9, &[]).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let next = bench.pull_one(&worker).await?;
    super::lose::lose(bench, &next, muster::domain::loss::Loss::Expired).await?;
    ensure!(bench.pull(&other).await?.is_empty(), "a session was continued elsewhere");
    let last = bench.pull_one(&worker).await?;
    ensure!(last.attempt == 3 && last.continuation, "the prompt is given a second time: {last:?}");
    Ok(())
}

async fn a_session_is_not_given_to_a_worker_that_has_not_got_it(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Restart).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let other = bench.worker("other", 1, &[]).await?;
    super::lose::lose(bench, &at, muster::domain::loss::Loss::Expired).await?;
    let elsewhere = bench.pull_one(&other).await?;
    ensure!((elsewhere.task.id, elsewhere.attempt) == (at.task.id, 2), "{elsewhere:?}");
    ensure!(elsewhere.session_id.is_none(), "it is to continue a session of another worker");
    bench.start(&other, &elsewhere, "ses_2").await?;
    let Some(context) = bench.store.context(&at.task.context_id).await? else { anyhow::bail!("no conversation") };
    ensure!(
        (context.worker_id, context.session_id) == (Some(other.id), Some(SessionId::from("ses_2"))),
        "it is still bound to the lost worker"
    );
    Ok(())
}

async fn a_run_that_is_not_the_workers_is_to_be_dropped(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    let unknown = AttemptRef { task_id: TaskId(bench.uuid()), attempt: 1 };
    let later = AttemptRef { task_id: at.task.id, attempt: 2 };
    let mut has = vec![running(&at)];
    for AttemptRef { task_id, attempt } in [unknown, later] {
        has.push(muster_protocol::worker::RunningAttempt { task_id, attempt, ..has[0].clone() });
    }
    let told = bench.pull_with(&worker, &has).await?;
    ensure!(told.drop == [unknown, later] && told.assign.is_empty(), "{told:?}");
    bench.complete(&worker, &at).await?;
    let told = bench.pull_with(&worker, &has[..1]).await?;
    ensure!(told.drop == [AttemptRef { task_id: at.task.id, attempt: 1 }], "{told:?}");
    Ok(())
}

async fn a_cancel_that_the_worker_is_at_is_not_told_again(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    cancel(bench, at.task.id).await?;
    let stopping = [RunningAttempt { stopping: true, ..running(&at) }];
    ensure!(bench.pull_with(&worker, &[running(&at)]).await?.cancel.len() == 1, "it is not told");
    ensure!(bench.pull_with(&worker, &stopping).await?.cancel.is_empty(), "it is told again");
    ensure!(!bench.finds_something(&worker, &stopping).await?, "it costs a write");
    // A new start of the daemon may not know of it.
    ensure!(bench.pull_with(&worker, &[running(&at)]).await?.cancel.len() == 1, "it is not told to one that does not know");
    Ok(())
}

async fn what_another_start_may_still_run_is_not_begun_by_the_newer_one_before_its_lease(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Restart).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let newer = bench.worker("w", 1, &[]).await?;
    for _ in 0..2 {
        ensure!(bench.pull(&newer).await?.is_empty(), "it runs twice");
        ensure!(bench.record(at.task.id).await?.task.disconnected, "it is not shown");
    }
    bench.store.write(LoseAttempt { task: at.task.id, attempt: 1, loss: Loss::Expired, now: bench.now() }).await?;
    ensure!(bench.pull_one(&newer).await?.attempt == 2, "it is not begun after its lease");
    Ok(())
}

async fn cancel(bench: &Bench, task: TaskId) -> Result<()> {
    bench.store.write(CancelTask { task, lease_ms: 45_000, now: bench.now() }).await?;
    Ok(())
}

async fn a_cancel_is_told_until_it_is_confirmed(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    cancel(bench, at.task.id).await?;
    for _ in 0..2 {
        let told = bench.pull_with(&worker, &[running(&at)]).await?;
        ensure!(told.cancel == [AttemptRef { task_id: at.task.id, attempt: 1 }] && told.drop.is_empty(), "{told:?}");
    }
    ensure!(bench.record(at.task.id).await?.task.state == TaskState::Working, "the state changed before the worker confirmed");
    let task = bench.report(&at, says(&worker, &at, ReportedStatus::Cancelled)).await?.task;
    ensure!(task.state == TaskState::Canceled && task.confirmed == Some(true), "{task:?}");
    ensure!(bench.pull_with(&worker, &[]).await?.cancel.is_empty(), "an ended task is still to be canceled");
    Ok(())
}

async fn an_absent_attempt_with_a_cancel_is_canceled_and_confirmed(bench: &Bench) -> Result<()> {
    for started in [false, true] {
        let (worker, at) = given(bench, OnLost::Restart).await?;
        if started {
            bench.start(&worker, &at, "ses_1").await?;
        }
        cancel(bench, at.task.id).await?;
        ensure!(bench.pull(&worker).await?.is_empty(), "a task with a cancel was sent again");
        let task = bench.record(at.task.id).await?.task;
        ensure!(task.state == TaskState::Canceled && task.confirmed == Some(true), "started {started}: {task:?}");
    }
    Ok(())
}

async fn an_older_instance_is_superseded(bench: &Bench) -> Result<()> {
    let older = bench.worker("w", 1, &[]).await?;
    let newer = bench.worker("w", 1, &[]).await?;
    bench.submit(bench.task("work")).await?;
    ensure!(matches!(bench.pull_outcome(&older, &[]).await?, PullOutcome::Superseded), "an older instance pulled");
    let wrong = Daemon { registration: older.registration, ..newer.clone() };
    ensure!(matches!(bench.pull_outcome(&wrong, &[]).await?, PullOutcome::Superseded), "an older registration pulled");
    bench.pull_one(&newer).await.map(drop)
}

async fn who_is_not_registered_is_told_so(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let stranger = Daemon { id: "stranger".into(), instance: InstanceId(bench.uuid()), ..worker.clone() };
    ensure!(matches!(bench.pull_outcome(&stranger, &[]).await?, PullOutcome::NotRegistered), "a stranger pulled");
    bench.store.write(UnregisterWorker { worker: worker.id.clone(), now: bench.now() }).await?;
    ensure!(matches!(bench.pull_outcome(&worker, &[]).await?, PullOutcome::NotRegistered), "who left pulled");
    let same = Registration { instance: Some(worker.instance), ..bench.registration("w") };
    let back = bench.register(same).await?;
    ensure!(bench.pull(&back).await?.is_empty(), "there was a task");
    Ok(())
}

async fn only_a_restart_attempt_carries_a_time_to_stop(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 3, &[]).await?;
    for on_lost in [OnLost::Wait, OnLost::Resume, OnLost::Restart] {
        bench.submit(NewTask { on_lost, ..bench.task("work") }).await?;
    }
    let stops: Vec<_> = bench.pull(&worker).await?.iter().map(|at| at.stop_after_ms).collect();
    ensure!(stops == [None, None, Some(30_000)], "{stops:?}");
    Ok(())
}

async fn a_pull_that_would_find_nothing_is_seen_without_a_write(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    let has = [running(&at)];
    ensure!(!bench.finds_something(&worker, &has).await?, "there is something");
    ensure!(bench.finds_something(&worker, &[]).await?, "an attempt that it does not name is nothing");
    bench.start(&worker, &at, "ses_1").await?;
    cancel(bench, at.task.id).await?;
    ensure!(bench.finds_something(&worker, &has).await?, "a cancel is nothing");
    bench.report(&at, says(&worker, &at, ReportedStatus::Cancelled)).await?;
    ensure!(bench.finds_something(&worker, &has).await?, "an attempt that is over is nothing");
    ensure!(!bench.finds_something(&worker, &[]).await?, "there is something");
    Ok(())
}

/// An attempt that was not started goes to the next instance under the same number: the older one must not begin it, too.
async fn a_superseded_instance_is_not_believed_any_more(bench: &Bench) -> Result<()> {
    let (older, at) = given(bench, OnLost::Wait).await?;
    let newer = bench.worker("w", 1, &[]).await?;
    let again = bench.pull_one(&newer).await?;
    ensure!((again.task.id, again.attempt) == (at.task.id, at.attempt), "{again:?}");
    for status in [ReportedStatus::Running, ReportedStatus::Interrupted, ReportedStatus::Completed] {
        let late = ReportStatus { instance: Some(older.instance), ..says(&older, &at, status) };
        let outcome = bench.report_outcome(at.task.id, late).await?;
        ensure!(matches!(outcome, ReportOutcome::Superseded), "{outcome:?}");
    }
    let (task, worker, instance, attempt) = (at.task.id, older.id.clone(), Some(older.instance), Some(at.attempt));
    let append =
        AppendEntries { task, worker, instance, attempt, entries: vec![text(bench, 0, "late")], first_seq: Some(0), now: bench.now() };
    ensure!(bench.store.write(append).await? == AppendOutcome::Superseded, "its entries were taken");
    bench.start(&newer, &again, "ses_1").await?;
    ensure!(bench.complete(&newer, &again).await?.task.state == TaskState::Completed, "the newer instance was not believed");
    Ok(())
}

async fn a_worker_that_is_back_is_shown_so_by_its_next_pull(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench, OnLost::Wait).await?;
    bench.start(&worker, &at, "ses_1").await?;
    let (task, attempt) = (at.task.id, at.attempt);
    bench.store.write(LoseAttempt { task, attempt, loss: Loss::Expired, now: bench.now() }).await?;
    ensure!(bench.record(task).await?.task.disconnected, "it is not shown as disconnected");
    ensure!(bench.finds_something(&worker, &[running(&at)]).await?, "the pull would not look");
    bench.pull_with(&worker, &[running(&at)]).await?;
    ensure!(!bench.record(task).await?.task.disconnected, "it is still shown as disconnected");
    let given_up = bench.store.write(LoseAttempt { task, attempt, loss: Loss::GaveUp, now: bench.now() }).await?;
    ensure!(given_up == LoseOutcome::Stale, "a run whose worker is back was given up: {given_up:?}");
    Ok(())
}

async fn a_task_is_never_queued_for_a_codebase_that_is_gone(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &["app"]).await?;
    let app = worker.codebases["app"].clone();
    let first = bench.submit(bench.task_in("first", &worker, &app)).await?;
    let at = bench.pull_one(&worker).await?;
    bench.store.write(RemoveCodebase { id: app.clone(), now: bench.now() }).await?;
    let next = bench.submitted(NewTask { context_id: first.context_id.clone(), ..bench.task("next") }).await?;
    ensure!(matches!(next, Submitted::NoCodebase(_)), "{next:?}");
    let record = bench.report(&at, says(&worker, &at, ReportedStatus::Pending)).await?;
    ensure!(record.task.error_code.as_deref() == Some("codebase_removed"), "{:?}", record.task);
    Ok(())
}
