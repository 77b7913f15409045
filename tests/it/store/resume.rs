//! Continuing sessions: a session is that of one conversation, and a copy begins another.

use super::bench::{Bench, Daemon, on_both, running, says};
use super::sessions::put;
use anyhow::{Context as _, Result, bail, ensure};
use muster::domain::loss::Loss;
use muster::store::attempts::{LoseAttempt, LoseOutcome};
use muster::store::contexts::Context;
use muster::store::submit::{NewTask, Submitted};
use muster_protocol::ids::{ContextId, PrincipalId, SessionId, TaskId};
use muster_protocol::task::{OnLost, ReportStatus, ReportedStatus, Target, Task};
use serde_json::json;
use std::collections::BTreeSet;

on_both! {
    a_session_is_continued_in_its_conversation,
    those_who_continue_a_session_at_once_are_in_one_conversation,
    a_session_on_two_workers_is_continued_on_each,
    a_session_of_another_conversation_is_refused,
    a_conversation_without_a_session_takes_the_one_that_is_asked_for,
    a_conversation_whose_first_turn_runs_takes_none,
    a_conversation_follows_its_session_to_another_codebase,
    a_copy_is_made_until_the_worker_has_reported_it,
    a_copy_that_was_lost_before_it_was_reported_is_made_again,
    the_original_is_never_taken_for_the_copy,
    a_copy_begins_a_conversation_of_its_own,
    a_failed_continuation_can_be_repeated,
}

/// What continues a session, without naming a conversation.
fn resume(bench: &Bench, worker: &Daemon, session: &str) -> NewTask {
    let task = bench.task_in("go on", worker, &worker.global);
    NewTask { context_id: ContextId(task.id.to_string()), session_id: Some(session.into()), ..task }
}

fn fork(bench: &Bench, worker: &Daemon, session: &str) -> NewTask {
    NewTask { fork: true, ..resume(bench, worker, session) }
}

async fn context(bench: &Bench, task: &Task) -> Result<Context> {
    bench.store.context(&task.context_id).await?.context("the conversation is gone")
}

/// The conversation of a session that a first task has begun, and the task.
async fn begun(bench: &Bench, worker: &Daemon, session: &str) -> Result<Task> {
    let first = bench.submit(bench.task_in("first", worker, &worker.global)).await?;
    let assigned = bench.pull_one(worker).await?;
    bench.start(worker, &assigned, session).await?;
    bench.complete(worker, &assigned).await?;
    Ok(first)
}

async fn a_session_is_continued_in_its_conversation(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = begun(bench, &worker, "ses_1").await?;
    let second = bench.submit(resume(bench, &worker, "ses_1")).await?;
    ensure!(second.context_id == first.context_id, "it is in {}, not in {}", second.context_id, first.context_id);
    let third = bench.submit(resume(bench, &worker, "ses_1")).await?;
    // One after the other.
    let given = bench.pull_one(&worker).await?;
    ensure!(given.task.id == second.id && given.session_id == Some("ses_1".into()) && !given.fork, "{given:?}");
    ensure!(bench.pull_with(&worker, &[running(&given)]).await?.assign.is_empty(), "two turns at once");
    bench.complete(&worker, &given).await?;
    ensure!(bench.pull_one(&worker).await?.task.id == third.id, "another turn");
    // One that nobody has used here begins a conversation, and keeps it.
    let (new, again) = (resume(bench, &worker, "ses_2"), resume(bench, &worker, "ses_2"));
    let (new, again) = (bench.submit(new).await?, bench.submit(again).await?);
    ensure!(new.context_id == again.context_id && new.context_id != first.context_id, "{} and {}", new.context_id, again.context_id);
    Ok(())
}

async fn those_who_continue_a_session_at_once_are_in_one_conversation(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let at_once = (0..20).map(|_| bench.submit(resume(bench, &worker, "ses_1")));
    let tasks = futures_util::future::try_join_all(at_once).await?;
    let contexts: BTreeSet<_> = tasks.iter().map(|task| task.context_id.clone()).collect();
    ensure!(contexts.len() == 1, "they are in {contexts:?}");
    ensure!(bench.pull(&worker).await?.len() == 1, "several run at once");
    Ok(())
}

async fn a_session_on_two_workers_is_continued_on_each(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 1, &[]).await?, bench.worker("other", 1, &[]).await?);
    let (a, b) = (bench.submit(resume(bench, &one, "ses_1")).await?, bench.submit(resume(bench, &other, "ses_1")).await?);
    ensure!(a.context_id != b.context_id, "two sessions are one conversation");
    ensure!(bench.pull_one(&one).await?.task.id == a.id && bench.pull_one(&other).await?.task.id == b.id, "mixed up");
    Ok(())
}

async fn a_session_of_another_conversation_is_refused(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = begun(bench, &worker, "ses_1").await?;
    let stranger = |task: NewTask| NewTask { own_only: true, owner: PrincipalId::from("token:1"), ..task };
    for task in [resume(bench, &worker, "ses_1"), fork(bench, &worker, "ses_1")] {
        let refused = bench.submitted(stranger(task)).await?;
        ensure!(matches!(refused, Submitted::SessionTaken { by: None }), "a stranger got {refused:?}");
    }
    // Under the name of another conversation, new or not, it would run in two.
    let mine = bench.submit(bench.task_in("mine", &worker, &worker.global)).await?;
    for name in [ContextId::from("new"), mine.context_id] {
        let refused = bench.submitted(NewTask { context_id: name, ..resume(bench, &worker, "ses_1") }).await?;
        ensure!(matches!(&refused, Submitted::SessionTaken { by: Some(by) } if *by == first.context_id), "{refused:?}");
    }
    let named = NewTask { context_id: first.context_id.clone(), ..resume(bench, &worker, "ses_1") };
    ensure!(matches!(bench.submitted(named).await?, Submitted::Accepted(_)), "its own name is refused");
    ensure!(bench.store.count_tasks().await?["submitted"] == 2, "a refused task was stored");
    ensure!(bench.store.context(&"new".into()).await?.is_none(), "a refused conversation was begun");
    Ok(())
}

async fn a_conversation_without_a_session_takes_the_one_that_is_asked_for(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = bench.submit(bench.task_in("first", &worker, &worker.global)).await?;
    let named = NewTask { context_id: first.context_id.clone(), ..resume(bench, &worker, "ses_1") };
    bench.submit(named).await?;
    let given = bench.pull_one(&worker).await?;
    ensure!(given.task.id == first.id && given.session_id == Some("ses_1".into()), "{given:?}");
    ensure!(bench.submit(resume(bench, &worker, "ses_1")).await?.context_id == first.context_id, "it is in another conversation");
    Ok(())
}

async fn a_conversation_whose_first_turn_runs_takes_none(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = bench.submit(bench.task_in("first", &worker, &worker.global)).await?;
    let named = || NewTask { context_id: first.context_id.clone(), ..resume(bench, &worker, "ses_1") };
    let given = bench.pull_one(&worker).await?;
    let refused = bench.submitted(named()).await?;
    ensure!(matches!(refused, Submitted::BeginsSession(running) if running == first.id), "{refused:?}");
    bench.report(&given, says(&worker, &given, ReportedStatus::Running)).await?;
    let refused = bench.submitted(named()).await?;
    ensure!(matches!(refused, Submitted::BeginsSession(_)), "{refused:?}");
    // It fails without having begun a session: the conversation is free to take one.
    bench.report(&given, says(&worker, &given, ReportedStatus::Failed)).await?;
    bench.submit(named()).await?;
    ensure!(context(bench, &first).await?.session_id == Some("ses_1".into()), "{:?}", context(bench, &first).await?);
    Ok(())
}

async fn a_conversation_follows_its_session_to_another_codebase(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &["app"]).await?;
    let first = begun(bench, &worker, "ses_1").await?;
    let in_app = |task: NewTask| NewTask {
        codebase: Some(worker.codebases["app"].clone()),
        target: Target { codebase: Some("app".into()), ..Target::default() },
        ..task
    };
    let refused = bench.submitted(in_app(resume(bench, &worker, "ses_1"))).await?;
    ensure!(matches!(refused, Submitted::OtherPlace(_)), "{refused:?}");
    put(bench, &worker.id, &worker.codebases["app"], json!([{ "id": "ses_1" }])).await?;
    let moved = bench.submit(in_app(resume(bench, &worker, "ses_1"))).await?;
    ensure!(moved.context_id == first.context_id && moved.codebase_id == worker.codebases["app"], "{moved:?}");
    ensure!(context(bench, &first).await?.codebase_id.as_ref() == Some(&worker.codebases["app"]), "{:?}", context(bench, &first).await?);
    // Who names the worker only is given its home, and means where the session is.
    let anywhere = bench.submit(resume(bench, &worker, "ses_1")).await?;
    ensure!(anywhere.codebase_id == worker.codebases["app"], "{anywhere:?}");
    Ok(())
}

async fn a_copy_is_made_until_the_worker_has_reported_it(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = begun(bench, &worker, "ses_1").await?;
    let copied = bench.submit(fork(bench, &worker, "ses_1")).await?;
    ensure!(copied.context_id != first.context_id, "the copy is in the conversation of the original");
    let given = bench.pull_one(&worker).await?;
    ensure!(given.session_id == Some("ses_1".into()) && given.fork, "{given:?}");
    // The answer was lost: the same is said again.
    let again = bench.pull_one(&worker).await?;
    ensure!((again.attempt, again.fork, &again.session_id) == (given.attempt, true, &given.session_id), "{again:?}");
    bench.start(&worker, &given, "ses_copy").await?;
    let bound = context(bench, &copied).await?;
    ensure!(bound.session_id == Some("ses_copy".into()) && bound.fork_of == Some("ses_1".into()), "{bound:?}");
    bench.complete(&worker, &given).await?;
    let next = NewTask { context_id: copied.context_id.clone(), ..bench.task("next") };
    bench.submit(next).await?;
    let given = bench.pull_one(&worker).await?;
    ensure!(given.session_id == Some("ses_copy".into()) && !given.fork, "the next turn is {given:?}");
    // The copy is a session as any other.
    let resumed = bench.submit(resume(bench, &worker, "ses_copy")).await?;
    ensure!(resumed.context_id == copied.context_id, "the copy is continued in {}", resumed.context_id);
    ensure!(bench.submit(resume(bench, &worker, "ses_1")).await?.context_id == first.context_id, "the original has another conversation");
    Ok(())
}

async fn lose(bench: &Bench, task: TaskId, attempt: u64) -> Result<LoseOutcome> {
    Ok(bench.store.write(LoseAttempt { task, attempt, loss: Loss::Interrupted, now: bench.now() }).await?)
}

async fn a_copy_that_was_lost_before_it_was_reported_is_made_again(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let task = NewTask { on_lost: OnLost::Resume, ..fork(bench, &worker, "ses_1") };
    bench.submit(task).await?;
    // Lost before and after its start, the session unknown each time.
    for _ in 0..2 {
        let given = bench.pull_one(&worker).await?;
        ensure!(given.fork && given.session_id == Some("ses_1".into()) && !given.continuation, "{given:?}");
        if given.attempt == 2 {
            bench.report(&given, says(&worker, &given, ReportedStatus::Running)).await?;
        }
        lose(bench, given.task.id, given.attempt).await?;
    }
    let given = bench.pull_one(&worker).await?;
    ensure!(given.attempt == 3 && given.fork && !given.continuation, "{given:?}");
    bench.start(&worker, &given, "ses_copy").await?;
    lose(bench, given.task.id, given.attempt).await?;
    let given = bench.pull_one(&worker).await?;
    ensure!(!given.fork && given.continuation && given.session_id == Some("ses_copy".into()), "after its session was known: {given:?}");
    Ok(())
}

async fn the_original_is_never_taken_for_the_copy(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let copied = bench.submit(fork(bench, &worker, "ses_1")).await?;
    let given = bench.pull_one(&worker).await?;
    bench.start(&worker, &given, "ses_1").await?;
    ensure!(context(bench, &copied).await?.session_id.is_none(), "{:?}", context(bench, &copied).await?);
    bench.start(&worker, &given, "ses_copy").await?;
    ensure!(context(bench, &copied).await?.session_id == Some("ses_copy".into()), "{:?}", context(bench, &copied).await?);
    Ok(())
}

async fn a_copy_begins_a_conversation_of_its_own(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let first = begun(bench, &worker, "ses_1").await?;
    let into = NewTask { context_id: first.context_id.clone(), ..fork(bench, &worker, "ses_1") };
    ensure!(matches!(bench.submitted(into).await?, Submitted::ForkIntoContext), "it was taken");
    let named = bench.submit(NewTask { context_id: "mine".into(), ..fork(bench, &worker, "ses_1") }).await?;
    ensure!(named.context_id == "mine".into(), "{named:?}");
    let (a, b) = (bench.submit(fork(bench, &worker, "ses_1")).await?, bench.submit(fork(bench, &worker, "ses_1")).await?);
    ensure!(a.context_id != b.context_id, "two copies are one conversation");
    Ok(())
}

async fn a_failed_continuation_can_be_repeated(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    for (task, is_fork) in [(resume(bench, &worker, "ses_1"), false), (fork(bench, &worker, "ses_2"), true)] {
        let first = bench.submit(task).await?;
        let given = bench.pull_one(&worker).await?;
        let report = ReportStatus {
            error: Some("the session is in use elsewhere".into()),
            error_code: Some("session_busy_elsewhere".into()),
            ..says(&worker, &given, ReportedStatus::Failed)
        };
        bench.report(&given, report).await?;
        let retry =
            NewTask { context_id: first.context_id.clone(), retry_of: Some(first.id), ..bench.task_in("go on", &worker, &worker.global) };
        let retried = bench.submit(retry).await?;
        let again = bench.pull_one(&worker).await?;
        ensure!(again.task.id == retried.id && (again.fork, &again.session_id) == (is_fork, &given.session_id), "{again:?}");
        let session = if is_fork { "ses_copy" } else { "ses_1" };
        bench.start(&worker, &again, session).await?;
        bench.complete(&worker, &again).await?;
        let Some(known) = bench.store.context(&first.context_id).await? else { bail!("the conversation is gone") };
        ensure!(known.session_id == Some(SessionId::from(session)), "{known:?}");
    }
    Ok(())
}
