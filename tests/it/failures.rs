//! Tasks that cannot end well: each says clearly why, and none hangs.

use crate::support::{Cx, FakeLlm, Server, Story, Worker, cases, follow, in_codebase, on_worker, run_task, until_entry, wait_for};
use anyhow::{Context, Result, bail, ensure};
use muster_protocol::client::ClientError;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{SubmitTask, Task, TaskState};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

cases! {
    [Opencode, Python] =>
        an_unknown_model_fails_clearly,
        an_unknown_mode_fails_clearly,
        an_unknown_codebase_fails_clearly,
        a_wrong_key_fails_at_once_with_the_providers_reason,
        retries_are_shown_as_they_happen_until_opencode_gives_up,
        a_provider_that_recovers_gives_the_answer,
        a_connection_reset_while_text_streams_gives_the_whole_answer,
        a_stream_without_finish_is_stopped_by_the_step_limit,
        a_run_that_takes_too_long_is_stopped,
        a_worker_without_opencode_says_so_and_picks_it_up_when_it_appears;
    [] => a_task_for_a_worker_without_opencode_fails_clearly;
}

fn ensure_failed(story: &Story, word: &str) -> Result<()> {
    let task = &story.task;
    ensure!(task.state == TaskState::Failed, "the task is {}: {:?}", task.state, task.result);
    let error = task.error.as_deref().context("the task failed without a reason")?;
    ensure!(error.to_lowercase().contains(&word.to_lowercase()), "the reason does not say {word:?}: {error}");
    Ok(())
}

/// Refused with the submit, or failed soon after: either way the reason names what is unknown.
async fn ensure_fails_clearly(cx: &Cx, task: SubmitTask, word: &str) -> Result<()> {
    let fleet = cx.fleet().await?;
    match fleet.server.client().submit(&task, None).await {
        Ok(task) => ensure_failed(&follow(fleet.server.client(), task.id).await?, word),
        Err(ClientError::Refused { status: 400..=499, message, .. }) => {
            ensure!(message.contains(word), "the refusal does not say {word:?}: {message}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn an_unknown_model_fails_clearly(cx: &Cx) -> Result<()> {
    let worker = cx.fleet().await?.worker();
    ensure_fails_clearly(cx, SubmitTask { model: Some("fake/no-such-model".to_owned()), ..on_worker(worker, "hello") }, "no-such-model")
        .await
}

async fn an_unknown_mode_fails_clearly(cx: &Cx) -> Result<()> {
    let worker = cx.fleet().await?.worker();
    ensure_fails_clearly(cx, SubmitTask { mode: Some("no-such-mode".to_owned()), ..on_worker(worker, "hello") }, "no-such-mode").await
}

async fn an_unknown_codebase_fails_clearly(cx: &Cx) -> Result<()> {
    ensure_fails_clearly(cx, in_codebase("no-such-codebase", "hello"), "no-such-codebase").await
}

async fn a_wrong_key_fails_at_once_with_the_providers_reason(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "!http 401")).await?;
    ensure_failed(&story, "401")?;
    ensure!(retries(&story).is_empty(), "a wrong key was tried again: {:?}", retries(&story));
    Ok(())
}

fn retries(story: &Story) -> Vec<u64> {
    story.statuses().into_iter().filter(|status| status.state == "retry").filter_map(|status| status.retry).collect()
}

async fn retries_are_shown_as_they_happen_until_opencode_gives_up(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    // Asked to come back in 600 ms; on its own OpenCode would wait a minute in all.
    let task = client.submit(&on_worker(fleet.worker(), "!http 500 0 600"), None).await?;
    until_entry(client, task.id, |entry| {
        entry.kind == EntryKind::Status && entry.read::<StatusNote>().is_some_and(|note| note.state == "retry")
    })
    .await?;
    let state = client.task(task.id).await?.state;
    ensure!(state == TaskState::Working, "the first retry was told when the task was {state}");
    let story = follow(client, task.id).await?;
    ensure_failed(&story, "500")?;
    let retries = retries(&story);
    ensure!(retries.len() >= 3 && retries.is_sorted(), "the retries told are {retries:?}");
    Ok(())
}

async fn a_provider_that_recovers_gives_the_answer(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "!http 503 2 50")).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    ensure!(story.text().starts_with("echo: "), "the answer is {:?}", story.text());
    ensure!(!retries(&story).is_empty(), "no retry was told");
    Ok(())
}

async fn a_connection_reset_while_text_streams_gives_the_whole_answer(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "!drop 1")).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    ensure!(story.task.result.as_deref() == Some("echo: !drop 1"), "the result is {:?}", story.task.result);
    Ok(())
}

async fn a_stream_without_finish_is_stopped_by_the_step_limit(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let prompt = "!eof";
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), prompt)).await?;
    ensure!(story.task.state == TaskState::Failed, "the task is {}: {:?}", story.task.state, story.task.result);
    ensure!(story.task.error_code.as_deref() == Some("step_limit"), "it failed with {:?}: {:?}", story.task.error_code, story.task.error);
    // Stopped in OpenCode too: it asks no more.
    let asked = fleet.llm.requests_with(prompt)?.len();
    wait_for("two more requests, which must not come", Duration::from_secs(3), async || {
        Ok((fleet.llm.requests_with(prompt)?.len() > asked + 1).then_some(()))
    })
    .await
    .err()
    .context("OpenCode goes on asking after the task has failed")?;
    Ok(())
}

async fn a_run_that_takes_too_long_is_stopped(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let worker = Worker::new(cx.dir(), "strict", &server)?.with_llm(&llm).with_settings("[limits]\nwall_s = 3").launch().await?;
    let story = run_task(server.client(), &on_worker(worker.name(), "!slow 600 100")).await?;
    ensure!(story.task.state == TaskState::Failed, "the task is {}", story.task.state);
    ensure!(story.task.error_code.as_deref() == Some("time_limit"), "it failed with {:?}: {:?}", story.task.error_code, story.task.error);
    let limit = Duration::from_secs(10);
    wait_for("the language model to be left alone", limit, async || Ok((llm.stats().await?.active == 0).then_some(()))).await
}

async fn a_worker_without_opencode_says_so_and_picks_it_up_when_it_appears(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let opencode = cx.dir().join("opencode");
    let worker = Worker::new(cx.dir(), "bare", &server)?.with_llm(&llm).with_opencode(&opencode);
    let process = worker.spawn()?;
    let limit = Duration::from_mins(1);
    let info = wait_for("the worker to be there", limit, async || worker.info().await).await?;
    ensure!(info.capabilities.iter().all(|capability| capability != "opencode"), "it has the capability: {:?}", info.capabilities);
    ensure!(info.models.is_empty() && info.opencode_version.is_none(), "it has models: {:?}", info.models);
    let log = process.log();
    ensure!(log.contains("opencode-ai"), "its log does not say how to install OpenCode: {log}");

    let task = SubmitTask { prompt: "is anybody there".to_owned(), ..SubmitTask::default() };
    let task = server.client().submit(&task, None).await?;
    let explained = server.client().explain(task.id).await?;
    ensure!(explained.state == TaskState::Submitted, "the task is {}", explained.state);
    let reasons: Vec<&str> =
        explained.workers.iter().flat_map(|verdict| &verdict.blockers).map(|blocker| blocker.message.as_str()).collect();
    ensure!(reasons.iter().any(|reason| reason.contains("OpenCode")), "it waits because of {reasons:?}");

    let real = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/build/opencode/opencode")).canonicalize()?;
    symlink(real, &opencode)?;
    let task = ended(&server, &task, limit).await?;
    ensure!(task.result.as_deref() == Some("echo: is anybody there"), "the task is {}: {:?} {:?}", task.state, task.result, task.error);
    drop(process);
    Ok(())
}

async fn a_task_for_a_worker_without_opencode_fails_clearly(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let worker = Worker::new(cx.dir(), "bare", &server)?.with_opencode(&cx.dir().join("no-opencode")).launch().await?;
    let story = run_task(server.client(), &on_worker(worker.name(), "are you there")).await?;
    ensure_failed(&story, "OpenCode")?;
    ensure_failed(&story, "install")
}

async fn ended(server: &Server, task: &Task, limit: Duration) -> Result<Task> {
    wait_for("the task to end", limit, async || {
        let task = server.client().task(task.id).await?;
        if task.state == TaskState::Failed {
            bail!("the task failed: {:?}", task.error);
        }
        Ok(task.state.is_terminal().then_some(task))
    })
    .await
}
