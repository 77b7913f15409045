//! What a worker reports of its attempts.

use super::bench::{Bench, Daemon, on_both, says, text};
use anyhow::{Result, bail, ensure};
use futures_util::join;
use muster::domain::loss::Loss;
use muster::store::attempts::{CancelOutcome, CancelTask, ReportOutcome};
use muster::store::submit::NewTask;
use muster_protocol::digest::OutputDigest;
use muster_protocol::event::kind;
use muster_protocol::ids::{SessionId, TaskId};
use muster_protocol::stream::FileChange;
use muster_protocol::task::{Assignment, OnLost, ReportStatus, ReportedStatus, TaskState, Usage};

on_both! {
    a_start_binds_the_conversation_to_the_session,
    a_result_is_stored_whole_and_once,
    a_terminal_state_never_changes,
    a_stale_attempt_and_a_stranger_change_nothing,
    a_report_whose_entries_are_missing_waits_for_them,
    the_digest_of_the_output_is_compared,
    a_task_that_is_handed_back_can_be_taken_again,
    the_first_of_finish_and_cancel_wins,
    a_report_that_comes_after_the_worker_was_given_up_is_kept_and_changes_nothing,
    an_interrupted_run_is_settled_by_its_policy,
    a_queued_task_is_canceled_at_once,
    the_next_turn_wakes_whoever_may_take_it,
    an_unknown_status_changes_nothing,
}

async fn given(bench: &Bench) -> Result<(Daemon, Assignment)> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(bench.task("work")).await?;
    let at = bench.pull_one(&worker).await?;
    Ok((worker, at))
}

/// A task with all that can change, to see that nothing did.
async fn picture(bench: &Bench, task: TaskId) -> Result<(String, u64)> {
    let record = bench.record(task).await?;
    Ok((format!("{record:?}"), bench.store.log_head().await?))
}

async fn a_start_binds_the_conversation_to_the_session(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    for _ in 0..3 {
        let record = bench.start(&worker, &at, "ses_1").await?;
        ensure!(record.task.started_at == Some(bench.now()) && record.task.state == TaskState::Working, "{record:?}");
        ensure!(record.task.entries == 2, "the start is told more than once");
    }
    let Some(context) = bench.store.context(&at.task.context_id).await? else { bail!("no conversation") };
    let bound = (context.worker_id, context.codebase_id, context.session_id);
    ensure!(bound == (Some(worker.id.clone()), Some(worker.global.clone()), Some(SessionId::from("ses_1"))), "{bound:?}");
    ensure!(bench.store.count_events().await?[kind::TASK_STARTED] == 1, "it was started more than once");
    Ok(())
}

async fn a_result_is_stored_whole_and_once(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    let usage = Usage { input: 3, output: 2, reasoning: 1, cache_read: 9, cache_write: 8, cost: 0.125 };
    let change = FileChange { path: "src/a b.rs".into(), change: "added".into(), additions: 4, deletions: 1, patch: Some("+x".into()) };
    let report = ReportStatus {
        result: Some("the answer \u{1f40b}".repeat(50_000)),
        session_id: Some(SessionId::from("ses_1")),
        usage: Some(usage),
        changes: vec![change.clone()],
        ..says(&worker, &at, ReportedStatus::Completed)
    };
    let first = bench.report(&at, report.clone()).await?;
    let task = &first.task;
    ensure!((task.state, &task.result, task.usage) == (TaskState::Completed, &report.result, Some(usage)), "something is missing");
    ensure!((&task.changes, &task.session_id) == (&vec![change], &report.session_id), "something is missing");
    ensure!(task.completed_at == Some(bench.now()) && !first.held, "it is still held");
    bench.pass(5);
    let before = picture(bench, at.task.id).await?;
    bench.report(&at, report).await?;
    ensure!(picture(bench, at.task.id).await? == before, "a repeated finish changed something");
    Ok(())
}

async fn a_terminal_state_never_changes(bench: &Bench) -> Result<()> {
    use ReportedStatus::{Cancelled, Completed, Failed, Interrupted, Pending, Running};
    let worker = bench.worker("w", 1, &[]).await?;
    for end in [Completed, Failed, Cancelled] {
        bench.submit(bench.task("work")).await?;
        let at = bench.pull_one(&worker).await?;
        bench.report(&at, says(&worker, &at, end.clone())).await?;
        let before = picture(bench, at.task.id).await?;
        for later in [Running, Completed, Failed, Cancelled, Pending, Interrupted] {
            let outcome = bench.report_outcome(at.task.id, says(&worker, &at, later.clone())).await?;
            let repeated = matches!(&outcome, ReportOutcome::Taken(_));
            ensure!(repeated == (later == end), "{later} after {end}: {outcome:?}");
            ensure!(repeated || matches!(&outcome, ReportOutcome::Terminal(_)), "{later} after {end}: {outcome:?}");
            ensure!(picture(bench, at.task.id).await? == before, "{later} after {end} changed something");
        }
        let outcome = bench.store.write(CancelTask { task: at.task.id, lease_ms: 1, now: bench.now() }).await?;
        ensure!(matches!(outcome, CancelOutcome::Terminal(_)), "{outcome:?}");
        super::lose::lose(bench, &at, Loss::GaveUp).await?;
        ensure!(picture(bench, at.task.id).await? == before, "a cancel or a loss changed something");
    }
    Ok(())
}

async fn a_stale_attempt_and_a_stranger_change_nothing(bench: &Bench) -> Result<()> {
    let (worker, first) = given(bench).await?;
    let stranger = bench.worker("stranger", 1, &[]).await?;
    super::lose::lose(bench, &first, Loss::Expired).await?;
    let second = bench.pull_one(&worker).await?;
    let before = picture(bench, first.task.id).await?;
    for status in ["running", "completed", "failed", "cancelled", "interrupted", "pending"] {
        let stale = bench.report_outcome(first.task.id, says(&worker, &first, status.into())).await?;
        ensure!(matches!(stale, ReportOutcome::Stale(_)), "{status}: {stale:?}");
        let strange = bench.report_outcome(first.task.id, says(&stranger, &second, status.into())).await?;
        ensure!(matches!(strange, ReportOutcome::HeldByAnother(_)), "{status}: {strange:?}");
        ensure!(picture(bench, first.task.id).await? == before, "{status} changed something");
    }
    let nowhere = bench.report_outcome(TaskId(bench.uuid()), says(&worker, &first, ReportedStatus::Completed)).await?;
    ensure!(matches!(nowhere, ReportOutcome::NotFound), "{nowhere:?}");
    Ok(())
}

async fn a_report_whose_entries_are_missing_waits_for_them(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    bench.append(&worker, &at, vec![text(bench, 0, "a")]).await?;
    let before = picture(bench, at.task.id).await?;
    let report = ReportStatus { entries: Some(2), ..says(&worker, &at, ReportedStatus::Completed) };
    let outcome = bench.report_outcome(at.task.id, report.clone()).await?;
    ensure!(matches!(outcome, ReportOutcome::Gap { next_seq: 1 }), "{outcome:?}");
    ensure!(picture(bench, at.task.id).await? == before, "it changed something");
    bench.append(&worker, &at, vec![text(bench, 1, "b")]).await?;
    bench.report(&at, report).await.map(drop)
}

async fn the_digest_of_the_output_is_compared(bench: &Bench) -> Result<()> {
    for honest in [true, false] {
        let (worker, at) = given(bench).await?;
        let entries = [text(bench, 0, "a"), text(bench, 1, "b")];
        let mut digest = OutputDigest::default();
        for entry in &entries {
            digest.add(entry);
        }
        bench.append(&worker, &at, entries[..1].to_vec()).await?;
        let second = if honest { entries[1].clone() } else { text(bench, 1, "B") };
        bench.append(&worker, &at, vec![second]).await?;
        let OutputDigest { bytes, hash } = digest;
        let report = ReportStatus { bytes: Some(bytes), hash: Some(hash), ..says(&worker, &at, ReportedStatus::Completed) };
        let task = bench.report(&at, report).await?.task;
        ensure!(task.state == TaskState::Completed && task.verified == Some(honest), "honest {honest}: {task:?}");
    }
    ensure!(bench.store.count_events().await?[kind::TASK_OUTPUT_DIFFERS] == 1, "the difference is not told");
    Ok(())
}

async fn a_task_that_is_handed_back_can_be_taken_again(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    let record = bench.report(&at, says(&worker, &at, ReportedStatus::Pending)).await?;
    ensure!(record.task.state == TaskState::Submitted && !record.held && record.losses == 0, "{record:?}");
    let before = picture(bench, at.task.id).await?;
    bench.report(&at, says(&worker, &at, ReportedStatus::Pending)).await?;
    ensure!(picture(bench, at.task.id).await? == before, "a repetition changed something");
    let other = bench.worker("other", 1, &[]).await?;
    ensure!(bench.pull_one(&other).await?.attempt == 2, "another number");
    Ok(())
}

async fn the_first_of_finish_and_cancel_wins(bench: &Bench) -> Result<()> {
    for round in 0..8 {
        let (worker, at) = given(bench).await?;
        bench.start(&worker, &at, "ses_1").await?;
        let cancel = bench.store.write(CancelTask { task: at.task.id, lease_ms: 45_000, now: bench.now() });
        let finish = bench.report(&at, says(&worker, &at, ReportedStatus::Completed));
        // Both are in one batch, in this order.
        let (cancel, finish) = if round % 2 == 0 {
            let (finish, cancel) = join!(finish, cancel);
            (cancel?, finish?)
        } else {
            let (cancel, finish) = join!(cancel, finish);
            (cancel?, finish?)
        };
        ensure!(finish.task.state == TaskState::Completed, "round {round}: {finish:?}");
        let expected =
            if round % 2 == 0 { matches!(cancel, CancelOutcome::Terminal(_)) } else { matches!(cancel, CancelOutcome::Asked(_)) };
        ensure!(expected, "round {round}: {cancel:?}");
        ensure!(!bench.record(at.task.id).await?.task.cancel_requested, "a completed task is still to be canceled");
    }
    Ok(())
}

async fn a_report_that_comes_after_the_worker_was_given_up_is_kept_and_changes_nothing(bench: &Bench) -> Result<()> {
    for status in [ReportedStatus::Completed, ReportedStatus::Failed] {
        let (worker, at) = given(bench).await?;
        bench.start(&worker, &at, "ses_1").await?;
        super::lose::lose(bench, &at, Loss::Expired).await?;
        super::lose::lose(bench, &at, Loss::GaveUp).await?;
        let before = picture(bench, at.task.id).await?;
        let result = Some("it was done all the same".to_owned());
        let outcome = bench.report_outcome(at.task.id, ReportStatus { result, ..says(&worker, &at, status.clone()) }).await?;
        ensure!(matches!(outcome, ReportOutcome::Terminal(_)), "{status}: {outcome:?}");
        ensure!(picture(bench, at.task.id).await? == before, "{status} changed something");
        let kept = late_report(bench, at.task.id).await?;
        ensure!(kept.as_deref().is_some_and(|text| text.contains("it was done all the same")), "{status} was not kept: {kept:?}");
    }
    Ok(())
}

async fn late_report(bench: &Bench, task: TaskId) -> Result<Option<String>> {
    use sqlx::{AnyConnection, Connection, Row};
    let mut connection = AnyConnection::connect(&bench.url).await?;
    let row = sqlx::query("SELECT late_report FROM attempts WHERE task_id = $1").bind(task.to_string()).fetch_one(&mut connection).await?;
    Ok(row.try_get("late_report")?)
}

async fn an_interrupted_run_is_settled_by_its_policy(bench: &Bench) -> Result<()> {
    for (on_lost, expected) in
        [(OnLost::Wait, TaskState::Failed), (OnLost::Resume, TaskState::Submitted), (OnLost::Restart, TaskState::Submitted)]
    {
        let worker = bench.worker(on_lost.as_str(), 1, &[]).await?;
        bench.submit(NewTask { on_lost, worker: Some(worker.id.clone()), ..bench.task("work") }).await?;
        let at = bench.pull_one(&worker).await?;
        bench.start(&worker, &at, "ses_1").await?;
        let record = bench.report(&at, says(&worker, &at, ReportedStatus::Interrupted)).await?;
        ensure!(record.task.state == expected && record.continuation == (on_lost == OnLost::Resume), "{on_lost:?}: {record:?}");
        let before = picture(bench, at.task.id).await?;
        bench.report(&at, says(&worker, &at, ReportedStatus::Interrupted)).await?;
        ensure!(picture(bench, at.task.id).await? == before, "a repetition changed something");
    }
    Ok(())
}

async fn a_queued_task_is_canceled_at_once(bench: &Bench) -> Result<()> {
    let task = bench.submit(bench.task("work")).await?;
    let outcome = bench.store.write(CancelTask { task: task.id, lease_ms: 45_000, now: bench.now() }).await?;
    ensure!(matches!(&outcome, CancelOutcome::Canceled(task) if task.confirmed == Some(true)), "{outcome:?}");
    let worker = bench.worker("w", 1, &[]).await?;
    ensure!(bench.pull(&worker).await?.is_empty(), "a canceled task was given");
    let none = bench.store.write(CancelTask { task: TaskId(bench.uuid()), lease_ms: 45_000, now: bench.now() }).await?;
    ensure!(matches!(none, CancelOutcome::NotFound), "{none:?}");
    Ok(())
}

/// A conversation without a session is bound to nobody: its next turn may go to another worker, which must hear of it.
async fn the_next_turn_wakes_whoever_may_take_it(bench: &Bench) -> Result<()> {
    let (worker, other) = (bench.worker("w", 1, &[]).await?, bench.worker("other", 1, &[]).await?);
    let first = bench.submit(NewTask { mode: "echo".into(), ..bench.task("first") }).await?;
    let at = bench.pull_one(&worker).await?;
    bench.submit(NewTask { context_id: first.context_id.clone(), mode: "echo".into(), ..bench.task("second") }).await?;
    let signal = bench.store.hub().worker(other.id.clone());
    bench.complete(&worker, &at).await?;
    ensure!(signal.has_changed()?, "the other worker does not hear of the next turn");
    ensure!(bench.pull_one(&other).await?.task.prompt == "second", "it does not get it");
    Ok(())
}

async fn an_unknown_status_changes_nothing(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    super::lose::lose(bench, &at, Loss::Expired).await?;
    let at = bench.pull_one(&worker).await?;
    bench.start(&worker, &at, "ses_1").await?;
    super::lose::lose(bench, &at, Loss::Expired).await?;
    let before = picture(bench, at.task.id).await?;
    let outcome = bench.report_outcome(at.task.id, says(&worker, &at, "pondering".into())).await?;
    ensure!(matches!(outcome, ReportOutcome::UnknownStatus), "{outcome:?}");
    ensure!(picture(bench, at.task.id).await? == before, "it changed something");
    Ok(())
}
