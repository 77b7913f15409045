//! Tasks that run well in the real OpenCode, as the one who asked sees them.

use crate::support::{Cx, Server, Story, Worker, cases, follow, in_codebase, on_worker, run_task};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use muster_protocol::stream::{EntryKind, ToolState};
use muster_protocol::task::{SubmitTask, Task, TaskState};
use std::fs;

cases! {
    [Opencode, Python] =>
        a_text_answer_streams_back,
        a_tool_call_writes_a_file_in_the_codebase,
        twenty_tasks_in_four_codebases_share_four_slots_with_one_writer_each within 240,
        direct_chat_runs_in_the_home_directory,
        the_model_is_chosen_per_task,
        plan_mode_changes_nothing,
        reasoning_is_streamed_apart_from_the_answer,
        a_megabyte_arrives_whole,
        models_are_those_of_opencode_and_never_their_keys,
        an_earlier_clients_task_runs_and_its_output_is_read,
        muster_run_prints_the_answer;
    [] => echo_and_noop_need_no_opencode;
}

/// What must hold of every task that ended well.
fn ensure_completed(story: &Story) -> Result<()> {
    let task = &story.task;
    ensure!(task.state == TaskState::Completed, "the task is {}: {:?} {:?}", task.state, task.error_code, task.error);
    ensure!(task.verified == Some(true), "the stored output is not the worker's: {:?}", task.verified);
    ensure!(task.attempt == 1, "it took {} attempts", task.attempt);
    ensure!(task.entries == story.entries.len() as u64, "the task has {} entries, its stream {}", task.entries, story.entries.len());
    Ok(())
}

async fn a_text_answer_streams_back(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "one two three four five")).await?;
    ensure_completed(&story)?;
    ensure!(story.text() == "echo: one two three four five", "streamed: {:?}", story.text());
    ensure!(story.task.result.as_deref() == Some("echo: one two three four five"), "result: {:?}", story.task.result);
    ensure!(story.task.session_id.is_some(), "the task has no session");
    let usage = story.task.usage.context("the task has no usage")?;
    ensure!(usage.input > 0 && usage.output > 0 && usage.cost > 0.0, "usage: {usage:?}");
    Ok(())
}

async fn a_tool_call_writes_a_file_in_the_codebase(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let file = place.path.join("hello.txt");
    let story = run_task(fleet.server.client(), &in_codebase(&place.name, &format!("!write {} Hello there", file.display()))).await?;
    ensure_completed(&story)?;
    ensure!(fs::read_to_string(&file)? == "Hello there", "the file says something else");
    let call = story.tools().into_iter().find(|call| call.tool == "write" && call.state == ToolState::Completed);
    ensure!(call.is_some(), "the stream tells of no completed write: {:?}", story.tools());
    ensure!(story.files().iter().any(|change| change.path == "hello.txt"), "the stream tells of no file: {:?}", story.files());
    ensure!(story.task.changes.iter().any(|change| change.path == "hello.txt"), "the task has not the change: {:?}", story.task.changes);
    Ok(())
}

async fn twenty_tasks_in_four_codebases_share_four_slots_with_one_writer_each(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let mut worker = Worker::new(cx.dir(), "four-slots", &fleet.server)?.with_llm(&fleet.llm).with_slots(4);
    for name in ["north", "east", "south", "west"] {
        worker = worker.with_codebase(name, &cx.make_repository(name)?);
    }
    let mut worker = worker.launch().await?;
    // A second writer in the same directory would find the lock of the first.
    let prompt = "!bash mkdir lock && sleep 0.5 && rmdir lock && echo alone";
    let client = fleet.server.client();
    let mut submitted = Vec::new();
    for n in 0..20 {
        let codebase = ["north", "east", "south", "west"][n % 4];
        submitted.push(client.submit(&in_codebase(codebase, prompt), None).await?);
    }
    let stories = try_join_all(submitted.iter().map(|task| follow(client, task.id))).await?;
    for story in &stories {
        ensure_completed(story)?;
        ensure!(story.text().contains("tool said: alone"), "it was not alone: {}", story.text());
    }
    let tasks: Vec<&Task> = stories.iter().map(|story| &story.task).collect();
    let most = most_at_once(&tasks);
    ensure!((2..=4).contains(&most), "{most} tasks ran at once, with 4 slots");
    for codebase in tasks.iter().map(|task| &task.codebase_id) {
        let own: Vec<&Task> = tasks.iter().filter(|task| task.codebase_id == *codebase).copied().collect();
        ensure!(own.len() == 5 && most_at_once(&own) == 1, "{} tasks in {codebase}, {} at once", own.len(), most_at_once(&own));
    }
    ensure!(worker.stop().await?.success(), "the worker did not end well");
    Ok(())
}

/// How many of the tasks were between their start and their end at the same time.
fn most_at_once(tasks: &[&Task]) -> usize {
    let spans: Vec<_> = tasks.iter().filter_map(|task| Some((task.started_at?, task.completed_at?))).collect();
    spans.iter().map(|(start, _)| spans.iter().filter(|(from, to)| from <= start && start < to).count()).max().unwrap_or(0)
}

async fn direct_chat_runs_in_the_home_directory(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "!bash pwd")).await?;
    ensure_completed(&story)?;
    let home = fleet.home().canonicalize()?;
    ensure!(story.text().contains(&home.display().to_string()), "it ran elsewhere than in {}: {}", home.display(), story.text());
    Ok(())
}

async fn the_model_is_chosen_per_task(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for (model, word) in [("fake/thinker", "thinker"), ("fake/small", "small")] {
        let prompt = format!("which model is this, if not {word}");
        let task = SubmitTask { model: Some(model.to_owned()), ..on_worker(fleet.worker(), &prompt) };
        ensure_completed(&run_task(fleet.server.client(), &task).await?)?;
        let requests = fleet.llm.requests_with(&prompt)?;
        ensure!(requests.len() == 1 && requests[0].model() == word, "asked for {model}: {requests:?}");
    }
    Ok(())
}

async fn plan_mode_changes_nothing(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let file = place.path.join("planned.txt");
    let prompt = format!("!write {} not yet", file.display());
    let task = SubmitTask { mode: Some("plan".to_owned()), ..in_codebase(&place.name, &prompt) };
    let story = run_task(fleet.server.client(), &task).await?;
    ensure!(story.task.mode == "plan" && story.task.agent_type == "plan", "the task's mode is {}", story.task.mode);
    ensure!(story.task.state.is_terminal(), "the task has not ended");
    ensure!(!file.exists(), "plan mode wrote a file");
    ensure!(
        story.tools().iter().any(|call| call.tool == "write" && call.state == ToolState::Error),
        "no refused write: {:?}",
        story.tools()
    );
    Ok(())
}

async fn reasoning_is_streamed_apart_from_the_answer(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let task = SubmitTask { model: Some("fake/thinker".to_owned()), ..on_worker(fleet.worker(), "!reason first this then that") };
    let story = run_task(fleet.server.client(), &task).await?;
    ensure_completed(&story)?;
    ensure!(story.reasoning() == "first this then that", "reasoning: {:?}", story.reasoning());
    ensure!(!story.text().is_empty(), "there is no answer");
    Ok(())
}

async fn a_megabyte_arrives_whole(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let story = run_task(fleet.server.client(), &on_worker(fleet.worker(), "!big 1048576")).await?;
    ensure_completed(&story)?;
    let expected = "x".repeat(1_048_576);
    ensure!(story.text() == expected, "{} bytes were streamed", story.text().len());
    let result = story.task.result.unwrap_or_default();
    ensure!(result == expected, "the result has {} bytes", result.len());
    Ok(())
}

async fn models_are_those_of_opencode_and_never_their_keys(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let models = fleet.server.client().models(&[]).await?.models;
    let mut ids: Vec<&str> = models.iter().map(|offer| offer.model.id.as_str()).collect();
    ids.sort_unstable();
    ensure!(ids == ["fake/echo", "fake/small", "fake/thinker"], "the models are {ids:?}");
    let all = fleet.server.get("/v1/opencode/models").await?.to_string() + &fleet.server.get("/v1/opencode/workers").await?.to_string();
    ensure!(!all.contains("fake-key"), "the key of the provider is shown");
    Ok(())
}

async fn an_earlier_clients_task_runs_and_its_output_is_read(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (server, place) = (&fleet.server, fleet.place()?);
    let codebases = server.client().codebases(&[("q", &place.name)]).await?;
    let codebase = codebases.into_iter().find(|codebase| codebase.name == place.name).context("the codebase is not there")?;
    let body = serde_json::json!({ "title": "As before", "prompt": "is this still right", "agent_type": "build" });
    let created = server.post(&format!("/v1/opencode/codebases/{}/tasks", codebase.id), &body).await?;
    ensure!(created["success"] == true && created["task"]["status"] == "pending", "the answer is {created}");
    let id = created["task"]["id"].as_str().context("the task has no id")?;

    let stream = reqwest::get(server.path_url(&format!("/v1/opencode/tasks/{id}/output/stream"))).await?.text().await?;
    ensure!(stream.contains("event: output") && stream.contains("event: done"), "the stream is {stream}");
    let output = server.get(&format!("/v1/opencode/tasks/{id}/output")).await?;
    let pieces = output["outputs"].as_array().context("the output is no list")?;
    let text: String = pieces.iter().filter_map(|piece| piece["output"].as_str()).collect();
    ensure!(text.contains("echo: is this still right"), "the output is {output}");
    let task = server.get(&format!("/v1/opencode/tasks/{id}")).await?;
    ensure!(task["status"] == "completed" && task["result"] == "echo: is this still right", "the task is {task}");
    Ok(())
}

async fn muster_run_prints_the_answer(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let mut command = fleet.server.muster(["run", "tell me something", "--worker", fleet.worker()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "it ended with {}: {err}", output.status);
    ensure!(out.contains("echo: tell me something"), "it printed {out:?}, and on stderr {err:?}");
    Ok(())
}

async fn echo_and_noop_need_no_opencode(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let worker = Worker::new(cx.dir(), "bare", &server)?.with_opencode(&cx.dir().join("no-opencode")).launch().await?;
    let echo = SubmitTask { mode: Some("echo".to_owned()), ..on_worker(worker.name(), "say it again") };
    let story = run_task(server.client(), &echo).await?;
    ensure_completed(&story)?;
    ensure!(story.task.result.as_deref() == Some("say it again"), "result: {:?}", story.task.result);
    let noop = SubmitTask { mode: Some("noop".to_owned()), ..on_worker(worker.name(), "nothing") };
    let story = run_task(server.client(), &noop).await?;
    ensure_completed(&story)?;
    ensure!(!story.entries.iter().any(|entry| entry.kind == EntryKind::Text), "noop said something: {}", story.text());
    Ok(())
}
