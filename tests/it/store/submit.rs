//! Accepting tasks: durable, idempotent, in their conversation.

use super::bench::{Bench, on_both};
use anyhow::{Result, bail, ensure};
use muster::store::submit::{Answer, IdempotencyKey, NewTask, SubmitTask, Submitted};
use muster_protocol::ids::{PrincipalId, SessionId};
use muster_protocol::task::{OnLost, Target, TaskState};
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

on_both! {
    a_task_is_read_back_as_it_was_submitted_also_after_reopening,
    the_same_key_and_body_answers_the_same_task,
    a_key_is_refused_with_another_body_until_it_is_forgotten,
    a_key_belongs_to_its_principal,
    a_conversation_of_somebody_else_is_refused_to_those_who_see_only_their_own,
    a_turn_that_asks_for_another_place_than_its_conversation_is_refused,
    the_second_turn_follows_the_first_to_its_worker_and_codebase,
    a_task_that_was_answered_already_is_stored_completed_with_its_answer,
}

async fn a_task_is_read_back_as_it_was_submitted_also_after_reopening(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &["app"]).await?;
    let codebase = worker.codebases["app"].clone();
    let new = NewTask {
        target: Target { codebase: Some("app".into()), worker: Some("w".into()), ..Target::default() },
        session_id: Some(SessionId::from("ses_1")),
        parent_id: Some(muster_protocol::ids::TaskId(bench.uuid())),
        retry_of: Some(muster_protocol::ids::TaskId(bench.uuid())),
        title: "Ünïcödé 'quotes' \"and\" $1".into(),
        prompt: "line one\nline two \u{1f40b}".into(),
        mode: "plan".into(),
        model: Some("a/b".into()),
        capabilities: vec!["docker".into()],
        labels: BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]),
        priority: -3,
        not_before: Some(Timestamp(1)),
        deadline: Some(Timestamp(i64::from(u32::MAX) * 1_000)),
        on_lost: OnLost::Resume,
        max_attempts: 7,
        metadata: serde_json::Map::from_iter([("any".to_owned(), json!({"thing": [1, 2.5, null]}))]),
        ..bench.task_in("", &worker, &codebase)
    };
    let answered = bench.submit(new.clone()).await?;
    bench.store.close().await;
    let again = bench.open_again("Server-A").await?;
    let Some(record) = again.task(new.id).await? else { bail!("the task is gone") };
    let read = &record.task;
    ensure!(serde_json::to_value(&answered)? == serde_json::to_value(read)?, "the answer was another task than is stored");
    ensure!((&read.title, &read.prompt, &read.mode, &read.model) == (&new.title, &new.prompt, &new.mode, &new.model), "{read:?}");
    ensure!((&read.target, &read.capabilities, &read.labels) == (&new.target, &new.capabilities, &new.labels), "{read:?}");
    ensure!((read.parent_id, read.retry_of, read.priority) == (new.parent_id, new.retry_of, -3), "{read:?}");
    ensure!(
        (read.not_before, read.deadline, read.on_lost, read.max_attempts) == (new.not_before, new.deadline, OnLost::Resume, 7),
        "{read:?}"
    );
    ensure!((read.state, read.attempt, read.entries, &read.metadata) == (TaskState::Submitted, 0, 0, &new.metadata), "{read:?}");
    ensure!((&record.target_worker, &record.target_codebase) == (&new.worker, &new.codebase), "{record:?}");
    ensure!(!record.held && record.holder.is_none() && read.completed_at.is_none(), "{record:?}");
    let Some(context) = again.context(&new.context_id).await? else { bail!("the conversation is gone") };
    ensure!(context.session_id == new.session_id && context.worker_id == new.worker, "{context:?}");
    again.close().await;
    Ok(())
}

async fn with_key(bench: &Bench, task: NewTask, key: &str, hash: &str) -> Result<Submitted> {
    let key = Some(IdempotencyKey { key: key.to_owned(), hash: hash.to_owned() });
    Ok(bench.store.write(SubmitTask { task, key, answer: None, message: None, now: bench.now() }).await?)
}

async fn the_same_key_and_body_answers_the_same_task(bench: &Bench) -> Result<()> {
    let Submitted::Accepted(first) = with_key(bench, bench.task("once"), "k", "h").await? else { bail!("not accepted") };
    bench.pass(24 * 3_600);
    let Submitted::Repeated(again) = with_key(bench, bench.task("once"), "k", "h").await? else { bail!("not repeated") };
    ensure!(first.id == again.id, "it made a second task");
    // In one batch.
    let both = [with_key(bench, bench.task("twice"), "k2", "h"), with_key(bench, bench.task("twice"), "k2", "h")];
    let both = futures_util::future::join_all(both).await;
    ensure!(both.iter().filter(|outcome| matches!(outcome, Ok(Submitted::Accepted(_)))).count() == 1, "{both:?}");
    ensure!(bench.store.count_tasks().await?["submitted"] == 2, "it made more tasks");
    Ok(())
}

async fn a_key_is_refused_with_another_body_until_it_is_forgotten(bench: &Bench) -> Result<()> {
    with_key(bench, bench.task("one"), "k", "one").await?;
    ensure!(matches!(with_key(bench, bench.task("other"), "k", "other").await?, Submitted::KeyReused), "the key was taken twice");
    bench.pass(24 * 3_600 + 1);
    ensure!(matches!(with_key(bench, bench.task("other"), "k", "other").await?, Submitted::Accepted(_)), "the key was not forgotten");
    ensure!(matches!(with_key(bench, bench.task("other"), "k", "other").await?, Submitted::Repeated(_)), "the new body was not kept");
    Ok(())
}

async fn a_key_belongs_to_its_principal(bench: &Bench) -> Result<()> {
    with_key(bench, bench.task("mine"), "k", "mine").await?;
    let theirs = NewTask { owner: PrincipalId::from("token:1"), ..bench.task("theirs") };
    ensure!(matches!(with_key(bench, theirs, "k", "theirs").await?, Submitted::Accepted(_)), "the key of another stands in the way");
    Ok(())
}

async fn a_conversation_of_somebody_else_is_refused_to_those_who_see_only_their_own(bench: &Bench) -> Result<()> {
    let mine = bench.submit(bench.task("mine")).await?;
    let other = PrincipalId::from("token:1");
    let turn = |own_only| NewTask { own_only, owner: other.clone(), context_id: mine.context_id.clone(), ..bench.task("turn") };
    ensure!(matches!(bench.submitted(turn(true)).await?, Submitted::ForeignContext), "a stranger continued it");
    ensure!(matches!(bench.submitted(turn(false)).await?, Submitted::Accepted(_)), "an operator may continue it");
    Ok(())
}

async fn a_turn_that_asks_for_another_place_than_its_conversation_is_refused(bench: &Bench) -> Result<()> {
    let (worker, other) = (bench.worker("w", 1, &["app", "lib"]).await?, bench.worker("other", 1, &["app"]).await?);
    let first = bench.submit(bench.task_in("first", &worker, &worker.codebases["app"])).await?;
    let in_context = |task: NewTask| NewTask { context_id: first.context_id.clone(), ..task };
    let elsewhere = bench.submitted(in_context(bench.task_in("turn", &other, &other.codebases["app"]))).await?;
    ensure!(matches!(&elsewhere, Submitted::OtherPlace(context) if context.worker_id.as_ref() == Some(&worker.id)), "{elsewhere:?}");
    let elsewhere = bench.submitted(in_context(bench.task_in("turn", &worker, &worker.codebases["lib"]))).await?;
    ensure!(matches!(&elsewhere, Submitted::OtherPlace(_)), "{elsewhere:?}");
    ensure!(bench.store.count_tasks().await?["submitted"] == 1, "a refused turn was stored");
    Ok(())
}

async fn the_second_turn_follows_the_first_to_its_worker_and_codebase(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 4, &[]).await?;
    let first = bench.submit(bench.task("first")).await?;
    let turn = |prompt| NewTask { context_id: first.context_id.clone(), ..bench.task(prompt) };
    let queued = bench.submit(turn("queued before the session is known")).await?;
    let assigned = bench.pull_one(&worker).await?;
    bench.start(&worker, &assigned, "ses_1").await?;
    let later = bench.submit(turn("submitted later")).await?;
    for id in [queued.id, later.id] {
        let record = bench.record(id).await?;
        ensure!(record.target_worker.as_ref() == Some(&worker.id) && record.target_codebase.as_ref() == Some(&worker.global), "{record:?}");
    }
    bench.complete(&worker, &assigned).await?;
    let second = bench.pull_one(&worker).await?;
    ensure!(second.task.id == queued.id && second.session_id == Some(SessionId::from("ses_1")), "{second:?}");
    Ok(())
}

async fn a_task_that_was_answered_already_is_stored_completed_with_its_answer(bench: &Bench) -> Result<()> {
    let task = bench.task("status report");
    let id = task.id;
    bench
        .store
        .write(SubmitTask { task, key: None, answer: Some(Answer::Given("all is well".into())), message: None, now: bench.now() })
        .await?;
    let record = bench.record(id).await?;
    ensure!(record.task.state == TaskState::Completed && record.task.result.as_deref() == Some("all is well"), "{record:?}");
    let entries = bench.store.entries(id, 0, 10).await?;
    ensure!(entries.len() == 2 && record.task.entries == 2, "{entries:?}");
    let worker = bench.worker("w", 1, &[]).await?;
    ensure!(bench.pull(&worker).await?.is_empty(), "a worker was given what was answered");
    Ok(())
}
