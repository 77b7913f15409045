//! What is killed, cut or restarted while a task runs: the task runs exactly once, and its answer arrives whole.

use crate::support::{CutProxy, Cx, FakeLlm, Postgres, Server, Story, Worker, cases, follow, on_worker, until_entry, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{OnLost, SubmitTask, TaskState};
use muster_protocol::worker::WorkerStatus;
use std::time::Duration;

cases! {
    [Opencode, Python] =>
        an_assignment_lost_after_its_commit_is_run_exactly_once,
        the_answer_arrives_once_when_the_server_is_killed_while_it_streams,
        an_answer_that_ends_while_the_server_is_away_arrives_when_it_is_back,
        an_answer_reaches_the_server_when_the_network_is_back,
        a_crashed_worker_goes_on_in_the_session_where_the_task_says_so,
        a_crashed_worker_does_not_run_a_prompt_twice,
        a_worker_that_is_told_to_stop_finishes_what_it_runs_and_leaves;
    [Opencode, Python, Postgres] => the_answer_survives_a_server_on_postgresql_too;
}

const TOKENS: usize = 60;

fn slow() -> String {
    format!("!slow {TOKENS} 100")
}

/// The whole text, once, of one run.
fn ensure_ran_once(story: &Story, llm: &FakeLlm, prompt: &str) -> Result<()> {
    let task = &story.task;
    ensure!(task.state == TaskState::Completed, "the task is {}: {:?} {:?}", task.state, task.error_code, task.error);
    ensure!(task.attempt == 1 && story.starts() == 1, "{} attempts, {} starts: {:?}", task.attempt, story.starts(), story.statuses());
    ensure!(task.verified == Some(true), "the stored output is not the worker's");
    let asked = llm.requests_with(prompt)?.len();
    ensure!(asked == 1, "the language model was asked {asked} times");
    Ok(())
}

fn ensure_all_tokens(story: &Story) -> Result<()> {
    let expected = (0..TOKENS).map(|n| format!("tok{n}")).collect::<Vec<_>>().join(" ") + " ";
    ensure!(story.text() == expected, "streamed: {}", story.text());
    ensure!(story.task.result.as_deref().map(str::trim) == Some(expected.trim()), "the result is {:?}", story.task.result);
    Ok(())
}

async fn an_assignment_lost_after_its_commit_is_run_exactly_once(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let proxy = CutProxy::start(server.port()).await?;
    let worker = Worker::new(cx.dir(), "behind", &server)?.with_llm(&llm).through(&proxy.url()).launch().await?;
    proxy.cut_answer_with("\"assign\":[{");
    let task = server.client().submit(&on_worker(worker.name(), "only once please"), None).await?;
    let story = follow(server.client(), task.id).await?;
    ensure!(proxy.cuts() == 1, "the answer with the assignment was lost {} times", proxy.cuts());
    ensure!(story.task.result.as_deref() == Some("echo: only once please"), "the result is {:?}", story.task.result);
    ensure_ran_once(&story, &llm, "only once please")
}

async fn the_answer_arrives_once_when_the_server_is_killed_while_it_streams(cx: &Cx) -> Result<()> {
    killed_while_it_streams(cx, Server::new(cx.dir(), "server")?).await
}

async fn the_answer_survives_a_server_on_postgresql_too(cx: &Cx) -> Result<()> {
    let database = Postgres::fresh_database().await?;
    killed_while_it_streams(cx, Server::new(cx.dir(), "server")?.with_args(["--database-url", &database])).await
}

async fn killed_while_it_streams(cx: &Cx, server: Server) -> Result<()> {
    let (mut server, llm) = (server.launch().await?, FakeLlm::start(cx).await?);
    let worker = Worker::start(cx, "steady", &server, &llm).await?;
    let client = server.client().clone();
    let task = client.submit(&on_worker(worker.name(), &slow()), None).await?;
    let events = async {
        until_entry(&client, task.id, |entry| entry.kind == EntryKind::Text).await?;
        server.kill().await?;
        server.restart().await
    };
    // This viewer is there from the beginning, and loses its connection.
    let (seen, ()) = tokio::try_join!(follow(&client, task.id), events)?;
    ensure_ran_once(&seen, &llm, &slow())?;
    ensure_all_tokens(&seen)?;
    let stored = follow(&client, task.id).await?;
    ensure!(seen.text() == stored.text(), "the viewer saw {}, stored is {}", seen.text(), stored.text());
    Ok(())
}

async fn an_answer_that_ends_while_the_server_is_away_arrives_when_it_is_back(cx: &Cx) -> Result<()> {
    let (mut server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let worker = Worker::start(cx, "steady", &server, &llm).await?;
    let client = server.client().clone();
    let task = client.submit(&on_worker(worker.name(), &slow()), None).await?;
    until_entry(&client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    server.kill().await?;
    wait_for("the language model to be done", Duration::from_secs(30), async || Ok((llm.stats().await?.active == 0).then_some(()))).await?;
    server.restart().await?;
    let story = follow(&client, task.id).await?;
    ensure_ran_once(&story, &llm, &slow())?;
    ensure_all_tokens(&story)
}

async fn an_answer_reaches_the_server_when_the_network_is_back(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let proxy = CutProxy::start(server.port()).await?;
    let worker = Worker::new(cx.dir(), "behind", &server)?.with_llm(&llm).through(&proxy.url()).launch().await?;
    let client = server.client();
    let task = client.submit(&on_worker(worker.name(), &slow()), None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    proxy.refuse(true);
    wait_for("the language model to be done", Duration::from_secs(30), async || Ok((llm.stats().await?.active == 0).then_some(()))).await?;
    ensure!(client.task(task.id).await?.state == TaskState::Working, "the server knows of the end without a network");
    proxy.refuse(false);
    let story = follow(client, task.id).await?;
    ensure_ran_once(&story, &llm, &slow())?;
    ensure_all_tokens(&story)
}

/// Kills a worker while a task's text streams, starts it again, and follows the task to its end.
async fn crash_while_it_streams(cx: &Cx, on_lost: OnLost) -> Result<(Story, FakeLlm)> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let mut worker = Worker::start(cx, "fragile", &server, &llm).await?;
    let client = server.client();
    let task = SubmitTask { on_lost: Some(on_lost), ..on_worker(worker.name(), &slow()) };
    let task = client.submit(&task, None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    worker.kill().await?;
    worker.restart().await?;
    Ok((follow(client, task.id).await?, llm))
}

async fn a_crashed_worker_goes_on_in_the_session_where_the_task_says_so(cx: &Cx) -> Result<()> {
    let (story, llm) = crash_while_it_streams(cx, OnLost::Resume).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    ensure!(story.starts() == 2, "it was started {} times: {:?}", story.starts(), story.statuses());
    let requests = llm.requests_with(&slow())?;
    ensure!(requests.len() == 2, "the language model was asked {} times", requests.len());
    // The second request is a new prompt in the same session, not the old prompt again.
    ensure!(requests[1].count("user") > requests[0].count("user"), "the prompt was given again: {requests:?}");
    Ok(())
}

async fn a_crashed_worker_does_not_run_a_prompt_twice(cx: &Cx) -> Result<()> {
    let (story, llm) = crash_while_it_streams(cx, OnLost::Wait).await?;
    ensure!(story.task.state == TaskState::Failed, "the task is {}: {:?}", story.task.state, story.task.result);
    ensure!(story.task.error.is_some() && story.task.error_code.is_some(), "it failed without a reason");
    ensure!(story.task.session_id.is_some(), "the session, in which one could go on, is not told");
    ensure!(llm.requests_with(&slow())?.len() == 1, "the prompt was given again");
    Ok(())
}

async fn a_worker_that_is_told_to_stop_finishes_what_it_runs_and_leaves(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let mut worker = Worker::start(cx, "leaving", &server, &llm).await?;
    let client = server.client();
    let task = client.submit(&on_worker(worker.name(), &slow()), None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    let status = worker.stop().await?;
    ensure!(status.success(), "the worker ended with {status}: {}", worker.log());
    let story = follow(client, task.id).await?;
    ensure_ran_once(&story, &llm, &slow())?;
    ensure_all_tokens(&story)?;
    let waiting = client.submit(&SubmitTask { prompt: "anybody".to_owned(), ..SubmitTask::default() }, None).await?;
    ensure!(client.explain(waiting.id).await?.state == TaskState::Submitted, "a worker that has left took a task");
    let info = worker.info().await?.context("the worker is forgotten")?;
    let events: Vec<String> = client.events(&[]).await?.into_iter().map(|event| event.kind).collect();
    ensure!(info.status == WorkerStatus::Offline, "a worker that has left is {}: {events:?}", info.status);
    Ok(())
}
