//! Continuing a session, or a copy of it, over HTTP.

use super::{POSTGRES, SERVER, path_of, sync, sync_messages};
use crate::support::{Cx, Http, PlainWorker, Puller, Server, cases, ensure_fields, text};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use std::collections::BTreeSet;

cases! {
    [] =>
        a_session_is_continued_as_a_turn_of_its_conversation,
        a_plain_worker_continues_a_session_as_it_always_did,
        a_copy_of_a_session_begins_a_conversation;
    [Postgres] => a_session_is_continued_as_a_turn_of_its_conversation_on_postgresql;
}

async fn a_session_is_continued_as_a_turn_of_its_conversation(cx: &Cx) -> Result<()> {
    continued(SERVER.get(cx).await?, &SERVER.http(cx).await?).await
}

async fn a_session_is_continued_as_a_turn_of_its_conversation_on_postgresql(cx: &Cx) -> Result<()> {
    continued(POSTGRES.get(cx).await?, &POSTGRES.http(cx).await?).await
}

async fn continued(server: &Server, http: &Http) -> Result<()> {
    let codebases = json!({ "codebases": [{ "name": "resumed", "path": "/srv/resumed" }] });
    let worker = Puller::register(server.client(), "resumer", codebases).await?;
    let codebase = json!(worker.registered.codebases.iter().find(|codebase| codebase.name == "resumed").context("no codebase")?);
    let path = format!("{}/ses_user/resume", path_of(&codebase)?);
    http.post(&path, &json!({ "prompt": "go on" })).await?.refused(404, "not_found")?;
    sync(http, "resumer", &codebase, json!([{ "id": "ses_user", "title": "Of the user" }])).await?;
    http.post(&path, &json!({ "prompt": " " })).await?.refused(422, "invalid")?;
    let answer = http.post(&path, &json!({ "prompt": "go on", "agent": "plan", "model": "fake/echo" })).await?.ok()?;
    ensure_fields(
        &answer,
        &[
            ("success", "bool"),
            ("task_id", "string"),
            ("session_id", "string"),
            ("message", "string"),
            ("codebase_id", "string"),
            ("agent", "string"),
            ("error", "null"),
            ("task", "object"),
        ],
    )?;
    ensure!(answer["success"] == true && answer["session_id"] == "ses_user" && answer["agent"] == "plan", "{answer}");
    ensure!(answer["codebase_id"] == codebase["id"] && answer["task"]["id"] == answer["task_id"], "{answer}");
    ensure!(answer["task"]["worker_id"] == "resumer" && answer["task"]["model"] == "fake/echo", "{answer}");
    let context = text(&answer["task"], "context_id")?;
    // Many at once, by each way: all are turns of one conversation.
    let by_task = json!({ "prompt": "go on", "target": { "codebase": codebase["id"] }, "resume_session_id": "ses_user" });
    let earlier = json!({ "title": "T", "prompt": "go on", "metadata": { "resume_session_id": "ses_user" } });
    let earlier_path = format!("/v1/opencode/codebases/{}/tasks", text(&codebase, "id")?);
    let at_once = (0..9).map(async |n| -> Result<String> {
        let task = match n % 3 {
            0 => http.post(&path, &json!({ "prompt": "go on", "agent": "", "model": "" })).await?.ok()?["task"].clone(),
            1 => http.post("/v1/opencode/tasks", &by_task).await?.ok()?,
            _ => http.post(&earlier_path, &earlier).await?.ok()?["task"].clone(),
        };
        Ok(text(&task, "context_id")?.to_owned())
    });
    let contexts: BTreeSet<_> = try_join_all(at_once).await?.into_iter().collect();
    ensure!(contexts.iter().eq([context]), "they are in {contexts:?}, not in {context}");
    let given = worker.take().await?;
    ensure!(given.session_id.as_ref().is_some_and(|id| id.as_str() == "ses_user") && !given.fork, "{given:?}");
    ensure!(given.task.id.to_string() == text(&answer, "task_id")?, "another turn came first");
    let shown = http.get(&format!("{}/ses_user", path_of(&codebase)?)).await?.ok()?;
    ensure!(shown["context_id"] == context, "{shown}");
    // With a key it is one task however often it is asked for.
    let once = async || {
        http.send(http.request(reqwest::Method::POST, &path).header("idempotency-key", "resume-once").json(&json!({ "prompt": "once" })))
            .await?
            .ok()
    };
    let (first, again) = (once().await?, once().await?);
    ensure!(first["task_id"] == again["task_id"], "{first} {again}");
    Ok(())
}

async fn a_plain_worker_continues_a_session_as_it_always_did(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "plain-resume", &[("app", "/srv/plain-resume")]).await?;
    let app = &worker.codebases[0];
    sync(&http, "plain-resume", app, json!([{ "id": "ses_1" }])).await?;
    let path = format!("{}/ses_1/resume", path_of(app)?);
    let answer = http.post(&path, &json!({ "prompt": "go on" })).await?.ok()?;
    let shown = worker.poll().await?.context("it is shown nothing")?;
    ensure!(shown["id"] == answer["task_id"] && shown["metadata"]["resume_session_id"] == "ses_1", "{shown}");
    worker.report(&shown, "running", json!({})).await?.ok()?;
    worker.report(&shown, "running", json!({ "session_id": "ses_1" })).await?.ok()?;
    sync_messages(&http, "plain-resume", app, "ses_1", json!([{ "id": "msg_1", "role": "user" }])).await?;
    worker.report(&shown, "completed", json!({ "result": "done", "session_id": "ses_1" })).await?.ok()?;
    let session = http.get(&format!("{}/ses_1", path_of(app)?)).await?.ok()?;
    ensure!(session["context_id"] == shown["context_id"] && session["messageCount"] == 1, "{session}");
    let again = http.post(&path, &json!({ "prompt": "and on" })).await?.ok()?;
    ensure!(again["task"]["context_id"] == shown["context_id"], "{again}");
    // It would continue the session itself.
    let error = http.post(&path, &json!({ "prompt": "go on", "fork": true })).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "fork", "{error}");
    Ok(())
}

async fn a_copy_of_a_session_begins_a_conversation(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let worker = Puller::register(server.client(), "forker", json!({})).await?;
    let home = json!(worker.registered.codebases[0]);
    sync(&http, "forker", &home, json!([{ "id": "ses_1" }])).await?;
    let path = format!("{}/ses_1/resume", path_of(&home)?);
    let original = http.post(&path, &json!({ "prompt": "go on" })).await?.ok()?;
    let copy = http.post(&path, &json!({ "prompt": "another way", "fork": true })).await?.ok()?;
    ensure!(copy["task"]["context_id"] != original["task"]["context_id"] && copy["session_id"] == "ses_1", "{copy}");
    let first = worker.take().await?;
    worker.run(&first, &["x"]).await?;
    let given = worker.take().await?;
    ensure!(given.task.id.to_string() == text(&copy, "task_id")? && given.fork, "{given:?}");
    ensure!(given.session_id.as_ref().is_some_and(|id| id.as_str() == "ses_1"), "{given:?}");
    worker.start(&given, "ses_copy").await?;
    sync(&http, "forker", &home, json!([{ "id": "ses_copy" }])).await?;
    let shown = http.get(&format!("{}/ses_copy", path_of(&home)?)).await?.ok()?;
    ensure!(shown["context_id"] == copy["task"]["context_id"], "{shown}");
    // Without a session, or into a conversation that is there, there is nothing to copy.
    let error = http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "fork": true })).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "fork", "{error}");
    let into = json!({
        "prompt": "x", "fork": true, "resume_session_id": "ses_1", "target": { "worker": "forker" }, "context_id": copy["task"]["context_id"],
    });
    let error = http.post("/v1/opencode/tasks", &into).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "context_id", "{error}");
    // Another conversation cannot have the session; the refusal says what can be done.
    let named = json!({ "prompt": "x", "resume_session_id": "ses_copy", "target": { "worker": "forker" }, "context_id": "my-own" });
    let error = http.post("/v1/opencode/tasks", &named).await?.refused(409, "conflict")?;
    ensure!(text(&error, "message")?.contains("fork"), "{error}");
    let made = http.post("/v1/tokens", &json!({ "scope": "agent" })).await?.ok()?;
    let stranger = http.clone().with_token(text(&made, "secret")?)?;
    for fork in [false, true] {
        let body = json!({ "prompt": "x", "resume_session_id": "ses_copy", "target": { "worker": "forker" }, "fork": fork });
        let error = stranger.post("/v1/opencode/tasks", &body).await?.refused(409, "conflict")?;
        ensure!(!error.to_string().contains(text(&copy["task"], "context_id")?), "a stranger is told the conversation: {error}");
    }
    Ok(())
}
