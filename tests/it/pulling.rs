//! A pulling worker's life, call by call: what a pull answers, when it is woken, and what becomes of answers that are lost.

use crate::support::{Cx, Postgres, Puller, Server, Shared, cases, follow, on_worker, running, wait_for};
use anyhow::{Context, Result, bail, ensure};
use muster_protocol::client::{Client, ClientError};
use muster_protocol::ids::TaskId;
use muster_protocol::task::{ReportedStatus, TaskState};
use muster_protocol::worker::RunningAttempt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

cases! {
    [] =>
        a_pulling_worker_takes_streams_and_finishes_a_task,
        a_waiting_pull_is_woken_by_a_submit,
        a_pull_without_work_waits_and_then_answers_empty,
        a_cancel_is_told_and_confirmed,
        an_assignment_that_was_not_named_is_sent_again,
        entries_that_come_again_are_taken_once_and_a_gap_is_refused,
        a_newer_instance_supersedes_the_older,
        a_worker_that_nobody_knows_is_told_to_register,
        a_higher_pull_ends_the_older_one_empty,
        an_attempt_that_is_not_its_own_is_dropped,
        a_late_report_of_a_lost_attempt_is_refused,
        two_turns_of_a_conversation_go_to_the_worker_that_has_its_session;
    [Postgres] => a_pulling_worker_takes_streams_and_finishes_a_task_on_postgresql;
}

static SERVER: Shared = Shared::embedded("pulling", "");

const LONG: Duration = Duration::from_secs(10);

/// The code of a refusal.
fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Result<(u16, String, Value)> {
    match result {
        Err(ClientError::Refused { status, code, details, .. }) => Ok((status, code, details)),
        other => bail!("not refused: {other:?}"),
    }
}

fn ensure_refused<T: std::fmt::Debug>(result: Result<T, ClientError>, expected: &str) -> Result<()> {
    let (status, code, _) = code(result)?;
    ensure!((status, code.as_str()) == (409, expected), "refused with {status} {code}, not 409 {expected}");
    Ok(())
}

async fn a_pulling_worker_takes_streams_and_finishes_a_task(cx: &Cx) -> Result<()> {
    whole_life(SERVER.get(cx).await?.client()).await
}

async fn a_pulling_worker_takes_streams_and_finishes_a_task_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    whole_life(server.launch().await?.client()).await
}

async fn whole_life(client: &Client) -> Result<()> {
    let codebases = json!({ "codebases": [{ "name": "app", "path": "/srv/app" }], "labels": { "zone": "eu" } });
    let worker = Puller::register(client, "life", codebases).await?;
    let registered = &worker.registered;
    ensure!(registered.success && registered.registration == 1, "{registered:?}");
    ensure!(registered.lease_ms == 45_000 && registered.wait_ms == 15_000, "{registered:?}");
    let global = registered.codebases.iter().find(|codebase| codebase.is_global).context("it has no global codebase")?;
    ensure!(registered.codebases.len() == 2 && registered.worker.global_codebase_id.as_ref() == Some(&global.id), "{registered:?}");

    let task = client.submit(&on_worker("life", "hello"), None).await?;
    let given = worker.take().await?;
    ensure!(given.task.id == task.id && given.attempt == 1 && given.session_id.is_none(), "given: {given:?}");
    ensure!(given.codebase.as_ref().is_some_and(|codebase| codebase.id == global.id), "given: {given:?}");
    ensure!(given.stop_after_ms.is_none(), "a task that waits for its worker has a time to stop: {given:?}");
    let ended = worker.run(&given, &["hel", "lo\u{0}", " größe"]).await?;
    ensure!(ended.state == TaskState::Completed && ended.verified == Some(true), "it ended as {ended:?}");
    // Its stream is kept byte for byte; a text column cannot hold U+0000.
    ensure!(ended.result.as_deref() == Some("hello\u{fffd} größe"), "its result is {:?}", ended.result);
    let story = follow(client, task.id).await?;
    ensure!(story.text() == "hello\u{0} größe", "streamed: {:?}", story.text());
    let states: Vec<_> = story.statuses().into_iter().map(|status| status.state).collect();
    ensure!(states == ["working", "started", "completed"], "the states told are {states:?}");
    // The same report again is answered as before; another one changes nothing.
    let again = worker.report(&given, ReportedStatus::Completed, json!({})).await?;
    ensure!(again.result == ended.result, "the answer to the repeated report is {again:?}");
    ensure_refused(worker.report(&given, ReportedStatus::Failed, json!({ "error": "x" })).await, "terminal")?;
    ensure_refused(worker.append(&given, 3, &["more"]).await, "stale_attempt")?;
    client.unregister(worker.id()).await?;
    ensure_refused(worker.pull(&[], Duration::ZERO).await, "not_registered")
}

async fn a_waiting_pull_is_woken_by_a_submit(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "woken", json!({})).await?;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let heard_of = async || Ok::<_, anyhow::Error>(client.workers(&[("q", "woken")]).await?.first().context("no worker")?.last_seen);
        let before = heard_of().await?;
        let (pulled, waited) = tokio::try_join!(async { Ok(worker.pull(&[], LONG).await?) }, async {
            wait_for("the pull to arrive", LONG, async || Ok((heard_of().await? > before).then_some(()))).await?;
            let begun = Instant::now();
            client.submit(&on_worker("woken", "now"), None).await?;
            Ok::<_, anyhow::Error>(begun)
        })?;
        let took = waited.elapsed();
        let given = pulled.assign.first().context("woken for nothing")?;
        quickest = quickest.min(took);
        worker.run(given, &[]).await?;
    }
    ensure!(quickest < Duration::from_millis(250), "the quickest of five wake-ups took {quickest:?}");
    Ok(())
}

async fn a_pull_without_work_waits_and_then_answers_empty(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "idle", json!({})).await?;
    let begun = Instant::now();
    let pulled = worker.pull(&[], Duration::from_millis(300)).await?;
    ensure!(pulled.is_empty() && pulled.lease_ms == 45_000, "{pulled:?}");
    ensure!(begun.elapsed() >= Duration::from_millis(300), "it answered after {:?}", begun.elapsed());
    Ok(())
}

async fn a_cancel_is_told_and_confirmed(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "canceled", json!({})).await?;
    let task = client.submit(&on_worker("canceled", "stop me"), None).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_c").await?;
    let has = [running(task.id, given.attempt)];
    let (pulled, answer) = tokio::try_join!(worker.pull(&has, LONG), client.cancel(task.id))?;
    ensure!(answer.success && !answer.confirmed && answer.task.cancel_requested, "{answer:?}");
    ensure!(answer.task.state == TaskState::Working, "the state changed with the request: {:?}", answer.task.state);
    ensure!(pulled.cancel.iter().any(|at| at.task_id == task.id && at.attempt == 1), "the cancel is not told: {pulled:?}");
    let stopping = [RunningAttempt { stopping: true, ..running(task.id, given.attempt) }];
    ensure!(worker.pull(&stopping, Duration::from_millis(100)).await?.is_empty(), "it is told again to one that is at it");
    let ended = worker.report(&given, ReportedStatus::Cancelled, json!({})).await?;
    ensure!(ended.state == TaskState::Canceled && ended.confirmed == Some(true) && !ended.cancel_requested, "{ended:?}");
    ensure_refused(client.cancel(task.id).await, "terminal")
}

async fn an_assignment_that_was_not_named_is_sent_again(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "deaf", json!({})).await?;
    let task = client.submit(&on_worker("deaf", "once"), None).await?;
    let first = worker.take().await?;
    // The answer was lost: the worker does not know of it.
    let again = worker.take().await?;
    ensure!(again.task.id == task.id && again.attempt == first.attempt && again.attempt == 1, "sent again: {again:?}");
    let named = worker.pull(&[running(task.id, 1)], Duration::ZERO).await?;
    ensure!(named.is_empty(), "an attempt that it named is told again: {named:?}");
    worker.run(&again, &["x"]).await?;
    ensure!(client.task(task.id).await?.attempt == 1, "there is another attempt");
    Ok(())
}

async fn entries_that_come_again_are_taken_once_and_a_gap_is_refused(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "repeats", json!({})).await?;
    let task = client.submit(&on_worker("repeats", "x"), None).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_r").await?;
    ensure!(worker.append(&given, 0, &["a", "b"]).await?.next_seq == 2, "not counted");
    ensure!(worker.append(&given, 0, &["a", "b", "c"]).await?.next_seq == 3, "not counted");
    let (status, code, details) = code(worker.append(&given, 7, &["h"]).await)?;
    ensure!((status, code.as_str(), &details["next_seq"]) == (409, "gap", &json!(3)), "{status} {code} {details}");
    let early = worker.report(&given, ReportedStatus::Completed, json!({ "entries": 5 })).await;
    ensure_refused(early, "gap")?;
    worker.append(&given, 3, &["d"]).await?;
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "abcd", "entries": 4 })).await?;
    ensure!(follow(client, task.id).await?.text() == "abcd", "streamed: {:?}", follow(client, task.id).await?.text());
    Ok(())
}

async fn a_newer_instance_supersedes_the_older(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let older = Puller::register(client, "twice", json!({})).await?;
    let (ended, newer) = tokio::join!(older.pull(&[], LONG), async {
        wait_for("the older pull", LONG, async || Ok(client.workers(&[("q", "twice")]).await?.pop())).await?;
        Puller::register(client, "twice", json!({})).await
    });
    let newer = newer?;
    ensure_refused(ended, "superseded")?;
    ensure!(newer.registered.registration == 2, "{:?}", newer.registered.registration);
    ensure_refused(older.pull(&[], Duration::ZERO).await, "superseded")?;
    let back = Puller::register_instance(client, "twice", older.instance, json!({})).await;
    let refusal = back.err().context("the older instance was taken back")?;
    ensure!(refusal.to_string().contains("newer instance"), "{refusal:#}");
    ensure!(newer.pull(&[], Duration::ZERO).await?.is_empty(), "the newer one is told something");
    Ok(())
}

async fn a_worker_that_nobody_knows_is_told_to_register(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let mut worker = Puller::register(client, "known", json!({})).await?;
    worker.registered.worker.worker_id = "unknown".into();
    ensure_refused(worker.pull(&[], Duration::ZERO).await, "not_registered")
}

async fn a_higher_pull_ends_the_older_one_empty(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "double", json!({})).await?;
    let first = worker.next_pull(&[], LONG);
    let second = worker.next_pull(&[], Duration::from_millis(200));
    let begun = Instant::now();
    // In whichever order they arrive, the older one ends, and never takes a task.
    let (older, newer) = tokio::try_join!(client.pull(worker.id(), &first), client.pull(worker.id(), &second))?;
    ensure!(older.is_empty() && newer.is_empty(), "{older:?} {newer:?}");
    ensure!(begun.elapsed() < Duration::from_secs(5), "the older pull waited on for {:?}", begun.elapsed());
    let task = client.submit(&on_worker("double", "for the newest"), None).await?;
    let late = client.pull(worker.id(), &first).await?;
    ensure!(late.is_empty(), "a pull that came late took a task: {late:?}");
    ensure!(client.task(task.id).await?.state == TaskState::Submitted, "the task was given to a pull that came late");
    Ok(())
}

async fn an_attempt_that_is_not_its_own_is_dropped(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "stray", json!({})).await?;
    let stray = running(TaskId(Uuid::new_v4()), 1);
    let pulled = worker.pull(std::slice::from_ref(&stray), LONG).await?;
    ensure!(pulled.drop.iter().any(|at| at.task_id == stray.task_id), "it may keep what is not its own: {pulled:?}");
    Ok(())
}

async fn a_late_report_of_a_lost_attempt_is_refused(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, "late", json!({})).await?;
    let task = client.submit(&on_worker("late", "x"), None).await?;
    let first = worker.take().await?;
    // Handed back and taken again: a second attempt.
    worker.report(&first, ReportedStatus::Pending, json!({})).await?;
    let second = worker.take().await?;
    ensure!(second.task.id == task.id && second.attempt == 2, "{second:?}");
    ensure_refused(worker.append(&first, 0, &["old"]).await, "stale_attempt")?;
    ensure_refused(worker.report(&first, ReportedStatus::Completed, json!({ "result": "old" })).await, "stale_attempt")?;
    ensure_refused(worker.report(&first, ReportedStatus::Running, json!({})).await, "stale_attempt")?;
    worker.run(&second, &["new"]).await?;
    ensure!(follow(client, task.id).await?.text() == "new", "the old attempt's text was kept");
    Ok(())
}

async fn two_turns_of_a_conversation_go_to_the_worker_that_has_its_session(cx: &Cx) -> Result<()> {
    let client = SERVER.get(cx).await?.client();
    let only = json!({ "capabilities": ["opencode", "turns"] });
    let one = Puller::register(client, "turns-1", only.clone()).await?;
    let other = Puller::register(client, "turns-2", only).await?;
    let turn = |prompt: &str, context: Option<&str>| {
        serde_json::from_value(json!({ "prompt": prompt, "capabilities": ["turns"], "context_id": context }))
    };
    let first = client.submit(&turn("one", Some("talk-1"))?, None).await?;
    let second = client.submit(&turn("two", Some("talk-1"))?, None).await?;
    let given = one.take().await?;
    ensure!(given.task.id == first.id, "the second turn came first");
    ensure!(other.pull(&[], Duration::ZERO).await?.is_empty(), "two turns of a conversation run at once");
    one.run(&given, &["1"]).await?;
    ensure!(other.pull(&[], Duration::ZERO).await?.is_empty(), "the second turn goes to a worker without the session");
    let given = one.take().await?;
    ensure!(given.task.id == second.id && given.session_id == Some("ses_talk-1".into()), "{given:?}");
    one.run(&given, &["2"]).await?;
    Ok(())
}
