//! Workers that are lost, doubled or out of room: each task has one precise ending, and nothing runs on.

use crate::support::{
    CutProxy, Cx, FakeLlm, Server, SmallDisk, Worker, cases, follow, is_alive, on_worker, run_task, until_entry, wait_for,
};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{OnLost, SubmitTask, TaskState};
use muster_protocol::worker::{Worker as WorkerInfo, WorkerStatus};
use std::fs;
use std::path::Path;
use std::time::Duration;

cases! {
    [Opencode, Python] =>
        a_crashed_worker_begins_a_task_anew_where_the_task_says_so,
        a_worker_that_never_comes_back_is_given_up_with_its_session;
    [Opencode, Python, Mount] => a_copied_worker_takes_over_raises_an_alarm_and_finds_a_way_out;
    [Mount] =>
        a_worker_without_room_drains_says_why_and_goes_on_when_there_is_room,
        a_worker_that_does_not_hear_that_it_drains_takes_tasks_again_all_the_same;
}

const LIMIT: Duration = Duration::from_mins(1);

/// The process id of a worker's OpenCode.
fn opencode_of(worker: &Worker) -> Result<u32> {
    let noted = fs::read_to_string(worker.state_dir().join("opencode/process"))?;
    Ok(noted.split_whitespace().next().context("nothing is noted")?.parse()?)
}

async fn left_alone(llm: &FakeLlm) -> Result<()> {
    wait_for("the language model to be left alone", LIMIT, async || Ok((llm.stats().await?.active == 0).then_some(()))).await
}

async fn a_crashed_worker_begins_a_task_anew_where_the_task_says_so(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let mut worker = Worker::start(cx, "fragile", &server, &llm).await?;
    let client = server.client();
    let task = SubmitTask { on_lost: Some(OnLost::Restart), ..on_worker(worker.name(), "!slow 60 100") };
    let task = client.submit(&task, None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    let opencode = opencode_of(&worker)?;
    worker.kill().await?;
    wait_for("OpenCode to die with its worker", LIMIT, async || Ok((!is_alive(opencode)).then_some(()))).await?;
    worker.restart().await?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    ensure!(story.task.attempt == 2 && story.starts() == 2, "{} attempts: {:?}", story.task.attempt, story.statuses());
    let requests = llm.requests_with("!slow 60 100")?;
    ensure!(requests.len() == 2, "the language model was asked {} times", requests.len());
    left_alone(&llm).await
}

async fn a_worker_that_never_comes_back_is_given_up_with_its_session(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("server.toml");
    fs::write(&config, "[leases]\nlease = \"6s\"\nwait = \"2s\"\nlost_after = \"7s\"\noffline_after = \"10s\"\n")?;
    let server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let llm = FakeLlm::start(cx).await?;
    let mut worker = Worker::start(cx, "gone", &server, &llm).await?;
    let client = server.client();
    let submit = async |on_lost| client.submit(&SubmitTask { on_lost: Some(on_lost), ..on_worker("gone", "!slow 600 100") }, None).await;
    let tasks = [submit(OnLost::Wait).await?, submit(OnLost::Resume).await?];
    for task in &tasks {
        until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    }
    let opencode = opencode_of(&worker)?;
    worker.kill().await?;
    for task in &tasks {
        let story = follow(client, task.id).await?;
        let task = &story.task;
        ensure!(task.state == TaskState::Failed && task.error_code.as_deref() == Some("worker_lost"), "{task:?}");
        ensure!(task.session_id.is_some() && task.error.as_ref().is_some_and(|e| e.contains("not heard of")), "{task:?}");
        ensure!(story.statuses().iter().any(|note| note.state == "disconnected"), "a viewer was not told: {:?}", story.statuses());
    }
    ensure!(!is_alive(opencode), "OpenCode goes on without its worker");
    left_alone(&llm).await
}

/// The worker's id as its state directory has it.
fn identity(state: &Path) -> Result<String> {
    Ok(fs::read_to_string(state.join("worker_id"))?.trim().to_owned())
}

async fn a_copied_worker_takes_over_raises_an_alarm_and_finds_a_way_out(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let mut original = Worker::new(cx.dir(), "original", &server)?.with_llm(&llm).on_host("alpha").launch().await?;
    let client = server.client();
    let task = client.submit(&on_worker("original", "!slow 600 100"), None).await?;
    until_entry(client, task.id, |entry| entry.kind == EntryKind::Text).await?;
    let opencode = opencode_of(&original)?;

    let copy = Worker::new(cx.dir(), "copy", &server)?.with_opencode(&cx.dir().join("no-opencode")).on_host("beta");
    fs::create_dir_all(copy.state_dir())?;
    fs::copy(original.state_dir().join("worker_id"), copy.state_dir().join("worker_id"))?;
    let mut copy = copy.launch().await?;
    let status = original.ended().await?;
    ensure!(status.code() == Some(3), "the older one ended with {status}");
    ensure!(!is_alive(opencode), "its OpenCode goes on");
    left_alone(&llm).await?;
    let lost = follow(client, task.id).await?.task;
    ensure!(lost.state == TaskState::Failed && lost.error_code.as_deref() == Some("worker_lost"), "{lost:?}");
    ensure!(llm.requests_with("!slow 600 100")?.len() == 1, "the prompt was given twice");
    let info: WorkerInfo = copy.info().await?.context("the copy is not there")?;
    let alarm = info.alarm.context("there is no alarm")?;
    ensure!(alarm.contains("alpha") && alarm.contains("beta") && alarm.contains("`worker_id`"), "the alarm is {alarm:?}");

    // It does what the alarm says.
    copy.stop().await?;
    let before = identity(&copy.state_dir())?;
    fs::remove_file(copy.state_dir().join("worker_id"))?;
    // First the original, so that its name is its own again.
    original.restart().await?;
    copy.restart().await?;
    ensure!(identity(&copy.state_dir())? != before && identity(&original.state_dir())? == before, "the ids are as they were");
    for name in ["original", "copy"] {
        let echo = SubmitTask { mode: Some("echo".to_owned()), ..on_worker(name, "both are there") };
        let task = run_task(client, &echo).await?.task;
        ensure!(task.result.as_deref() == Some("both are there"), "{name}: {task:?}");
    }
    let both = client.workers(&[]).await?;
    ensure!(both.len() == 2 && both.iter().all(|worker| worker.status == WorkerStatus::Active), "{both:?}");
    Ok(())
}

async fn a_worker_without_room_drains_says_why_and_goes_on_when_there_is_room(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let worker = Worker::new(cx.dir(), "narrow", &server)?.with_opencode(&cx.dir().join("no-opencode"));
    fs::create_dir_all(worker.state_dir())?;
    let disk = SmallDisk::mount(&worker.state_dir(), "16m")?;
    let mut worker = worker.launch().await?;
    let client = server.client();
    let echo = SubmitTask { mode: Some("echo".to_owned()), ..on_worker("narrow", "is there room") };
    disk.fill();
    let task = client.submit(&echo, None).await?;
    let info =
        wait_for("the worker to drain", LIMIT, async || Ok(worker.info().await?.filter(|info| info.status == WorkerStatus::Draining)))
            .await?;
    ensure!(info.drain_reason.as_ref().is_some_and(|reason| reason.contains("no room")), "{:?}", info.drain_reason);
    let waits = wait_for("the task to be handed back", LIMIT, async || {
        Ok(Some(client.task(task.id).await?).filter(|task| task.state == TaskState::Submitted))
    })
    .await?;
    ensure!(waits.attempt <= 1, "it was given {} times", waits.attempt);
    ensure!(client.explain(task.id).await?.summary.contains("draining"), "{}", client.explain(task.id).await?.summary);

    // Started on a full disk it says the same.
    worker.kill().await?;
    let mut process = worker.spawn()?;
    wait_for("the worker to drain again", LIMIT, async || {
        ensure!(process.exit_status()?.is_none(), "it does not start: {}", process.log());
        Ok((process.log().matches("draining, no room").count() >= 2).then_some(()))
    })
    .await?;
    drop(process);
    disk.empty()?;
    worker.restart().await?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.result.as_deref() == Some("is there room") && story.task.attempt <= 4, "{:?}", story.task);
    let info = worker.info().await?.context("the worker is gone")?;
    ensure!(info.status == WorkerStatus::Active && info.drain_reason.is_none(), "{info:?}");
    Ok(())
}

async fn a_worker_that_does_not_hear_that_it_drains_takes_tasks_again_all_the_same(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let proxy = CutProxy::start(server.port()).await?;
    let worker = Worker::new(cx.dir(), "unheard", &server)?.with_opencode(&cx.dir().join("no-opencode")).through(&proxy.url());
    fs::create_dir_all(worker.state_dir())?;
    let disk = SmallDisk::mount(&worker.state_dir(), "16m")?;
    let worker = worker.launch().await?;
    // The server drains it, and the answer that says so is lost.
    proxy.cut_answer_with("takes nothing new");
    disk.fill();
    wait_for("the worker to drain", LIMIT, async || Ok(worker.info().await?.filter(|info| info.status == WorkerStatus::Draining))).await?;
    wait_for("the answer to be lost", LIMIT, async || Ok((proxy.cuts() == 1).then_some(()))).await?;
    disk.empty()?;
    let info =
        wait_for("the worker to be back", LIMIT, async || Ok(worker.info().await?.filter(|info| info.status == WorkerStatus::Active)))
            .await?;
    ensure!(info.drain_reason.is_none(), "{info:?}");
    let echo = SubmitTask { mode: Some("echo".to_owned()), ..on_worker("unheard", "is there room") };
    let task = run_task(server.client(), &echo).await?.task;
    ensure!(task.result.as_deref() == Some("is there room"), "{task:?}");
    Ok(())
}
