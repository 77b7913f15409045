//! People answer what running tasks ask: permission requests and questions of the real OpenCode.

use crate::support::{Cx, Http, Puller, Shared, cases, follow, items, on_worker, running, until_entry};
use anyhow::{Context, Result, ensure};
use muster_protocol::client::Client;
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::interaction::{Interaction, InteractionState, Reply, ReplyInteraction};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{Assignment, ReportedStatus, TaskState};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        an_interaction_is_answered_at_most_once_and_only_while_it_is_open,
        the_end_of_an_attempt_voids_what_it_asked;
    [Opencode, Python] =>
        a_permission_that_a_person_gives_lets_the_tool_run,
        a_permission_that_a_person_refuses_is_told_to_the_model_and_the_run_goes_on,
        a_question_is_answered_by_a_person,
        a_task_is_canceled_while_it_waits_for_a_person,
        the_command_line_lists_and_approves_what_waits;
}

static SERVER: Shared = Shared::embedded("interactions", "");

/// What a task asks, once it asks.
async fn asked(client: &Client, task: TaskId) -> Result<Interaction> {
    until_entry(client, task, |entry| entry.kind == EntryKind::Interaction).await?;
    let open = client.interactions(&[("state", "open")]).await?;
    open.into_iter().find(|one| one.task_id == task).context("the task does not ask")
}

fn reply(word: Reply) -> ReplyInteraction {
    ReplyInteraction { reply: Some(word), ..ReplyInteraction::default() }
}

async fn state_of(http: &Http, interaction: &Interaction) -> Result<InteractionState> {
    let all = http.get(&format!("/v1/opencode/tasks/{}/interactions", interaction.task_id)).await?.ok()?;
    let all: Vec<Interaction> = serde_json::from_value(all)?;
    Ok(all.into_iter().find(|one| one.id == interaction.id).context("it is gone")?.state)
}

async fn a_permission_that_a_person_gives_lets_the_tool_run(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, http) = (fleet.server.client(), Http::new(&fleet.server));
    let task = client.submit(&on_worker(fleet.worker(), "!bash ask-me once || echo permitted-it"), None).await?;
    let one = asked(client, task.id).await?;
    ensure!(one.kind == "permission" && one.title.contains("ask-me once"), "it asks {one:?}");
    ensure!(one.directory.as_deref() == fleet.home().to_str() && one.worker_name.as_deref() == Some(fleet.worker()), "where: {one:?}");
    ensure!(one.request["command"].as_str().is_some_and(|command| command.contains("ask-me once")), "the exact action: {one:?}");
    ensure!(one.deadline.is_some() && one.state == InteractionState::Open, "{one:?}");
    let waiting = http.get(&format!("/v1/opencode/tasks/{}", task.id)).await?.ok()?;
    ensure!(waiting["state"] == "input-required" && waiting["status"] == "waiting", "the task is {waiting}");
    client.reply(one.id, &reply(Reply::Once)).await?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    let outcomes: Vec<_> = story.interactions().into_iter().map(|note| note.outcome).collect();
    ensure!(outcomes == ["open", "applied"], "the stream tells {outcomes:?}");
    ensure!(story.tools().iter().any(|tool| tool.output.as_ref().is_some_and(|output| output.contains("permitted-it"))), "no output");
    ensure!(state_of(&http, &one).await? == InteractionState::Applied, "it is not applied");
    http.post(&format!("/v1/interactions/{}/reply", one.id), &json!({ "reply": "reject" })).await?.refused(409, "answered")?;
    Ok(())
}

async fn a_permission_that_a_person_refuses_is_told_to_the_model_and_the_run_goes_on(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let task = client.submit(&on_worker(fleet.worker(), "!bash ask-me twice"), None).await?;
    let one = asked(client, task.id).await?;
    let no = ReplyInteraction { message: Some("use the trash instead".to_owned()), ..reply(Reply::Reject) };
    client.reply(one.id, &no).await?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    let told = story.interactions();
    ensure!(told.iter().any(|note| note.outcome == "applied" && note.reason.as_ref().is_some_and(|r| r.contains("trash"))), "{told:?}");
    let failed = story.tools().into_iter().find_map(|tool| tool.error).context("the tool did not fail")?;
    ensure!(failed.contains("use the trash instead"), "the model is told: {failed}");
    Ok(())
}

async fn a_question_is_answered_by_a_person(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, http) = (fleet.server.client(), Http::new(&fleet.server));
    let question =
        r#"!tool question {"questions":[{"question":"Which db?","header":"DB","options":[{"label":"sqlite","description":"small"}]}]}"#;
    let task = client.submit(&on_worker(fleet.worker(), question), None).await?;
    let one = asked(client, task.id).await?;
    ensure!(one.kind == "question" && one.title == "Which db?", "it asks {one:?}");
    let path = format!("/v1/interactions/{}/reply", one.id);
    for (wrong, field) in [(json!({ "reply": "once" }), "reply"), (json!({ "answers": [] }), "answers")] {
        let refusal = http.post(&path, &wrong).await?.refused(422, "invalid")?;
        ensure!(refusal.to_string().contains(field), "{wrong}: {refusal}");
    }
    http.post(&path, &json!({ "answers": [["sqlite"]] })).await?.ok()?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    let output = story.tools().into_iter().find_map(|tool| tool.output).context("the question has no output")?;
    ensure!(output.contains("sqlite"), "the model reads {output}");
    Ok(())
}

async fn a_task_is_canceled_while_it_waits_for_a_person(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, http) = (fleet.server.client(), Http::new(&fleet.server));
    let task = client.submit(&on_worker(fleet.worker(), "!bash ask-me to wait"), None).await?;
    let one = asked(client, task.id).await?;
    client.cancel(task.id).await?;
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Canceled && story.task.confirmed == Some(true), "the task is {:?}", story.task);
    ensure!(state_of(&http, &one).await? == InteractionState::Void, "it still waits");
    http.post(&format!("/v1/interactions/{}/reply", one.id), &json!({ "reply": "once" })).await?.refused(409, "expired")?;
    Ok(())
}

async fn the_command_line_lists_and_approves_what_waits(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let task = client.submit(&on_worker(fleet.worker(), "!bash ask-me by hand || echo by-hand"), None).await?;
    let one = asked(client, task.id).await?;
    let muster = |args: &[&str]| -> Result<String> {
        let output = fleet.server.muster(args).output()?;
        ensure!(output.status.success(), "muster {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let listed = muster(&["waiting"])?;
    ensure!(listed.contains("ask-me by hand") && listed.contains(fleet.worker()), "it lists {listed}");
    let id = one.id.to_string();
    let said = muster(&["approve", id.rsplit('-').next().unwrap_or(&id)])?;
    ensure!(said.contains("ask-me by hand"), "it says {said}");
    let story = follow(client, task.id).await?;
    ensure!(story.task.state == TaskState::Completed, "the task is {}: {:?}", story.task.state, story.task.error);
    Ok(())
}

/// A scripted worker whose task asks for a permission.
async fn asking(cx: &Cx, name: &str) -> Result<(Http, Puller, Assignment, InteractionId)> {
    let client = SERVER.get(cx).await?.client();
    let worker = Puller::register(client, name, json!({})).await?;
    client.submit(&on_worker(name, "ask"), None).await?;
    let assignment = worker.take().await?;
    worker.start(&assignment, "ses_asking").await?;
    let id = InteractionId(uuid::Uuid::now_v7());
    worker.tell(&assignment, 0, EntryKind::Interaction, &note(id, "open")).await?;
    Ok((SERVER.http(cx).await?, worker, assignment, id))
}

fn note(id: InteractionId, outcome: &str) -> Value {
    json!({ "id": id, "request": "per_1", "kind": "permission", "title": "bash: rm x", "outcome": outcome, "detail": {} })
}

async fn an_interaction_is_answered_at_most_once_and_only_while_it_is_open(cx: &Cx) -> Result<()> {
    let (http, worker, assignment, id) = asking(cx, "asks-once").await?;
    let path = format!("/v1/interactions/{id}/reply");
    http.post(&path, &json!({ "reply": "once" })).await?.ok()?;
    http.post(&path, &json!({ "reply": "reject" })).await?.refused(409, "answered")?;
    http.post(&format!("/v1/interactions/{}/reply", uuid::Uuid::now_v7()), &json!({ "reply": "once" })).await?.refused(404, "not_found")?;
    // The worker is told with every pull until it has said what became of it.
    for _ in 0..2 {
        let pulled = worker.pull(&[running(assignment.task.id, assignment.attempt)], Duration::from_secs(5)).await?;
        let answer = pulled.answers.first().context("it is not told")?;
        ensure!(answer.interaction_id == id && answer.reply == reply(Reply::Once), "it is told {answer:?}");
    }
    worker.tell(&assignment, 1, EntryKind::Interaction, &note(id, "expired")).await?;
    let listed = http.get(&format!("/v1/opencode/tasks/{}/interactions", assignment.task.id)).await?.ok()?;
    ensure!(listed[0]["state"] == "expired" && listed[0]["closed_at"].is_string(), "the worker's word counts: {listed}");
    let task = http.get(&format!("/v1/opencode/tasks/{}", assignment.task.id)).await?.ok()?;
    ensure!(task["state"] == "working", "it goes on: {task}");
    let pulled = worker.pull(&[running(assignment.task.id, assignment.attempt)], Duration::from_millis(10)).await?;
    ensure!(pulled.answers.is_empty(), "it is told again: {pulled:?}");
    Ok(())
}

async fn the_end_of_an_attempt_voids_what_it_asked(cx: &Cx) -> Result<()> {
    let (http, worker, assignment, id) = asking(cx, "asks-and-ends").await?;
    worker.report(&assignment, ReportedStatus::Failed, json!({ "error": "gone" })).await?;
    let listed = http.get("/v1/interactions?state=void").await?.ok()?;
    ensure!(items(&listed)?.iter().any(|one| one["id"] == json!(id)), "it is not void: {listed}");
    http.post(&format!("/v1/interactions/{id}/reply"), &json!({ "reply": "once" })).await?.refused(409, "expired")?;
    Ok(())
}
