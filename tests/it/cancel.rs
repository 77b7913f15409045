//! Cancel: whatever the task is doing, it ends as canceled and leaves no process.

use crate::support::{Cx, cases, follow, in_codebase, is_alive, on_worker, run_task, until_entry, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::client::ClientError;
use muster_protocol::error::code;
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{Task, TaskState};
use std::fs;
use std::path::Path;
use std::time::Duration;

cases! {
    [Opencode, Python] =>
        a_queued_task_is_canceled_and_never_starts,
        a_task_is_canceled_while_its_text_streams,
        a_task_is_canceled_while_a_tool_runs_and_no_process_is_left,
        an_ended_task_cannot_be_canceled;
}

const LIMIT: Duration = Duration::from_secs(30);

fn ensure_canceled(task: &Task) -> Result<()> {
    ensure!(task.state == TaskState::Canceled, "the task is {}: {:?} {:?}", task.state, task.result, task.error);
    ensure!(task.confirmed == Some(true), "the worker has not confirmed it: {:?}", task.confirmed);
    Ok(())
}

async fn a_queued_task_is_canceled_and_never_starts(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, place) = (fleet.server.client(), fleet.place()?);
    let running = client.submit(&in_codebase(&place.name, "!slow 600 100"), None).await?;
    until_entry(client, running.id, |entry| entry.kind == EntryKind::Text).await?;
    let queued = client.submit(&in_codebase(&place.name, "this one is never asked"), None).await?;

    let answer = client.cancel(queued.id).await?;
    ensure!(answer.success && answer.confirmed, "the answer is {answer:?}");
    ensure_canceled(&client.task(queued.id).await?)?;
    client.cancel(running.id).await?;
    follow(client, running.id).await?;
    let story = follow(client, queued.id).await?;
    ensure!(story.starts() == 0 && story.task.attempt == 0, "it was started: {:?}", story.statuses());
    ensure!(fleet.llm.requests_with("this one is never asked")?.is_empty(), "the language model was asked");
    Ok(())
}

async fn a_task_is_canceled_while_its_text_streams(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let gone = fleet.llm.stats().await?.client_gone;
    let task = client.submit(&on_worker(fleet.worker(), "!slow 601 100"), None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    let answer = client.cancel(task.id).await?;
    ensure!(answer.success, "the answer is {answer:?}");
    let story = follow(client, task.id).await?;
    ensure_canceled(&story.task)?;
    ensure!(story.text().starts_with("tok0 ") && !story.text().contains("tok600"), "streamed: {}", story.text());
    wait_for("the request to the language model to be given up", LIMIT, async || {
        Ok((fleet.llm.stats().await?.client_gone > gone).then_some(()))
    })
    .await
}

async fn a_task_is_canceled_while_a_tool_runs_and_no_process_is_left(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, place) = (fleet.server.client(), fleet.place()?);
    // One process in front, one in the background, one in a session of its own.
    let command = "sleep 3001 & echo $! > background; setsid sleep 3002 & echo $! > apart; echo $$ > front; sleep 3003";
    let task = client.submit(&in_codebase(&place.name, &format!("!bash {command}")), None).await?;
    let mut ids = Vec::new();
    for name in ["background", "apart", "front"] {
        let id = wait_for("the tool to run", LIMIT, async || Ok(read_id(&place.path.join(name)))).await?;
        ensure!(is_alive(id), "the process {name} is not there before the cancel");
        ids.push((name, id));
    }
    let answer = client.cancel(task.id).await?;
    ensure!(answer.success, "the answer is {answer:?}");
    let story = follow(client, task.id).await?;
    ensure_canceled(&story.task)?;
    // Confirmed means gone: there is nothing to wait for.
    for (name, id) in ids {
        ensure!(!is_alive(id), "the process {name} ({id}) is still there");
    }
    Ok(())
}

fn read_id(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok()
}

async fn an_ended_task_cannot_be_canceled(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let story = run_task(client, &on_worker(fleet.worker(), "this is over soon")).await?;
    let refusal = client.cancel(story.task.id).await.err().context("the cancel was accepted")?;
    ensure!(matches!(refusal, ClientError::Refused { status: 409, .. }) && refusal.code() == code::TERMINAL, "the refusal is {refusal:?}");
    ensure!(client.task(story.task.id).await?.state == TaskState::Completed, "the state has changed");
    Ok(())
}
