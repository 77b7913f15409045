//! Continuing sessions over HTTP: what a conversation allows, where its turns run, and what strangers learn.

use crate::support::{Cx, Http, PlainWorker, Puller, Shared, cases, text};
use anyhow::{Context, Result, ensure};
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};

cases! {
    [] =>
        a_conversation_whose_first_turn_runs_takes_no_other_session,
        a_retry_runs_where_its_conversation_has_moved_to,
        a_retry_in_a_codebase_that_was_removed_says_so,
        a_worker_that_is_named_is_found_among_many_with_the_same_session,
        an_agents_token_cannot_continue_a_session_that_was_begun_by_hand,
        an_agents_token_learns_of_no_session_but_its_own;
}

static SERVER: Shared = Shared::embedded("continuing", "");

async fn tell_sessions(http: &Http, worker: &str, codebase: &Value, sessions: Value) -> Result<()> {
    let path = format!("/v1/opencode/codebases/{}/sessions/sync", text(codebase, "id")?);
    http.post(&path, &json!({ "worker_id": worker, "sessions": sessions })).await?.ok().map(drop)
}

fn codebase_of(worker: &Puller, name: &str) -> Result<Value> {
    let found = worker.registered.codebases.iter().find(|codebase| codebase.name == name);
    Ok(json!(found.with_context(|| format!("{} has no codebase {name}", worker.id()))?))
}

async fn agent(http: &Http) -> Result<Http> {
    let made = http.post("/v1/tokens", &json!({ "scope": "agent" })).await?.ok()?;
    http.clone().with_token(text(&made, "secret")?)
}

async fn submit(http: &Http, body: Value) -> Result<Value> {
    http.post("/v1/opencode/tasks", &body).await?.ok()
}

async fn a_conversation_whose_first_turn_runs_takes_no_other_session(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let worker = Puller::register(server.client(), "first-turn", json!({})).await?;
    tell_sessions(&http, "first-turn", &codebase_of(&worker, "global")?, json!([{ "id": "ses_other" }])).await?;
    let first = submit(&http, json!({ "prompt": "first", "target": { "worker": "first-turn" } })).await?;
    let given = worker.take().await?;
    let other = json!({
        "prompt": "second", "target": { "worker": "first-turn" }, "context_id": first["context_id"], "resume_session_id": "ses_other",
    });
    // Before its start, and after it as long as no session is told.
    let error = http.post("/v1/opencode/tasks", &other).await?.refused(409, "conflict")?;
    ensure!(text(&error, "message")?.contains(text(&first, "id")?), "the refusal does not name the turn that runs: {error}");
    worker.report(&given, ReportedStatus::Running, json!({})).await?;
    http.post("/v1/opencode/tasks", &other).await?.refused(409, "conflict")?;
    worker.run(&given, &["x"]).await?;
    // Then the conversation has a session, and it is another one.
    http.post("/v1/opencode/tasks", &other).await?.refused(422, "invalid")?;
    submit(&http, json!({ "prompt": "second", "context_id": first["context_id"] })).await?;
    let next = worker.take().await?;
    ensure!(next.session_id.is_some_and(|id| id.as_str() == format!("ses_{}", next.task.context_id)), "the conversation lost its session");
    Ok(())
}

async fn a_retry_runs_where_its_conversation_has_moved_to(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let codebases = json!({ "codebases": [{ "name": "old", "path": "/srv/old" }, { "name": "new", "path": "/srv/new" }] });
    let worker = Puller::register(server.client(), "mover", codebases).await?;
    let (old, new) = (codebase_of(&worker, "old")?, codebase_of(&worker, "new")?);
    let first = submit(&http, json!({ "prompt": "first", "target": { "codebase": old["id"] } })).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_moving").await?;
    worker.report(&given, ReportedStatus::Failed, json!({ "error": "no luck", "session_id": "ses_moving" })).await?;
    // Its directory is another codebase's now: the worker tells so, and somebody continues it there.
    tell_sessions(&http, "mover", &new, json!([{ "id": "ses_moving" }])).await?;
    let path = format!("/v1/opencode/codebases/{}/sessions/ses_moving/resume", text(&new, "id")?);
    let moved = http.post(&path, &json!({ "prompt": "go on" })).await?.ok()?;
    ensure!(moved["task"]["context_id"] == first["context_id"], "{moved}");
    worker.run(&worker.take().await?, &["x"]).await?;
    let retried = http.post(&format!("/v1/opencode/tasks/{}/retry", text(&first, "id")?), &json!({})).await?.ok()?;
    let retried = retried.get("task").cloned().unwrap_or(retried);
    ensure!(retried["codebase_id"] == new["id"] && retried["context_id"] == first["context_id"], "{retried}");
    let again = worker.take().await?;
    ensure!(json!(again.task.retry_of) == first["id"] && again.codebase.as_ref().is_some_and(|place| place.name == "new"), "{again:?}");
    Ok(())
}

async fn a_retry_in_a_codebase_that_was_removed_says_so(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let codebases = json!({ "codebases": [{ "name": "removed", "path": "/srv/removed" }] });
    let worker = Puller::register(server.client(), "remover", codebases).await?;
    let place = codebase_of(&worker, "removed")?;
    for session in [true, false] {
        let task = submit(&http, json!({ "prompt": "x", "target": { "worker": "remover", "codebase": place["id"] } })).await?;
        let given = worker.take().await?;
        if session {
            worker.start(&given, "ses_removed").await?;
        }
        worker.report(&given, ReportedStatus::Failed, json!({ "error": "no luck" })).await?;
        if session {
            continue;
        }
        http.delete(&format!("/v1/opencode/codebases/{}", text(&place, "id")?)).await?.ok()?;
        for ended in [json!(given.task.id), task["id"].clone()] {
            let path = format!("/v1/opencode/tasks/{}/retry", ended.as_str().context("no id")?);
            let error = http.post(&path, &json!({})).await?.refused(422, "invalid")?;
            ensure!(text(&error, "message")?.contains("removed from the registry"), "{error}");
        }
    }
    Ok(())
}

async fn a_worker_that_is_named_is_found_among_many_with_the_same_session(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let mut all = Vec::new();
    for n in 0..25 {
        let id = format!("copied-{n}");
        let worker = PlainWorker::start(&http, &id, &[("app", "/srv/app")]).await?;
        tell_sessions(&http, &id, &worker.codebases[0], json!([{ "id": "ses_copied", "updated": 1_700_000_000_000_i64 - n }])).await?;
        all.push(worker);
    }
    for worker in [&all[0], &all[24]] {
        let task = submit(&http, json!({ "prompt": "x", "target": { "worker": worker.id }, "resume_session_id": "ses_copied" })).await?;
        // Not its home: where the session is.
        ensure!(task["worker_id"] == worker.id && task["codebase_id"] == worker.codebases[0]["id"], "{} got {task}", worker.id);
    }
    let nobody = json!({ "prompt": "x", "resume_session_id": "ses_copied" });
    let error = http.post("/v1/opencode/tasks", &nobody).await?.refused(422, "invalid")?;
    ensure!(text(&error, "message")?.contains("name the worker"), "{error}");
    Ok(())
}

async fn an_agents_token_cannot_continue_a_session_that_was_begun_by_hand(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let worker = Puller::register(server.client(), "by-hand", json!({})).await?;
    let home = codebase_of(&worker, "global")?;
    tell_sessions(&http, "by-hand", &home, json!([{ "id": "ses_by_hand" }])).await?;
    let agent = agent(&http).await?;
    for target in [json!({ "worker": "by-hand" }), json!({ "codebase": home["id"] })] {
        for more in [json!({}), json!({ "fork": true }), json!({ "context_id": "my-conversation" })] {
            let mut body = json!({ "prompt": "x", "target": target, "resume_session_id": "ses_by_hand" });
            body.as_object_mut().context("no object")?.extend(more.as_object().cloned().unwrap_or_default());
            agent.post("/v1/opencode/tasks", &body).await?.refused(409, "conflict")?;
        }
    }
    // Once an operator has made a conversation of it, it is still not the agent's.
    submit(&http, json!({ "prompt": "x", "target": { "worker": "by-hand" }, "resume_session_id": "ses_by_hand" })).await?;
    let body = json!({ "prompt": "x", "target": { "worker": "by-hand" }, "resume_session_id": "ses_by_hand" });
    agent.post("/v1/opencode/tasks", &body).await?.refused(409, "conflict").map(drop)
}

async fn an_agents_token_learns_of_no_session_but_its_own(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let worker = Puller::register(server.client(), "secretive", json!({})).await?;
    let home = codebase_of(&worker, "global")?;
    tell_sessions(&http, "secretive", &home, json!([{ "id": "ses_of_a_person" }, { "id": "ses_on_two" }])).await?;
    let other = PlainWorker::start(&http, "secretive-2", &[]).await?;
    tell_sessions(&http, "secretive-2", &other.global, json!([{ "id": "ses_on_two" }])).await?;
    submit(&http, json!({ "prompt": "x", "resume_session_id": "ses_of_a_person" })).await?;
    worker.run(&worker.take().await?, &["x"]).await?;
    let agent = agent(&http).await?;
    // Not there and not yours look the same, however it is asked.
    for more in [
        json!({}),
        json!({ "fork": true }),
        json!({ "model": "no/such" }),
        json!({ "target": { "any": true } }),
        json!({ "target": { "worker": "secretive" } }),
        json!({ "target": { "worker": "secretive" }, "model": "no/such" }),
        json!({ "target": { "worker": "secretive-2" }, "fork": true }),
        json!({ "target": { "codebase": home["id"] } }),
        json!({ "context_id": "a-new-one" }),
    ] {
        let mut answers = Vec::new();
        for session in ["ses_never", "ses_of_a_person", "ses_on_two"] {
            let mut body = json!({ "prompt": "x", "resume_session_id": session });
            body.as_object_mut().context("no object")?.extend(more.as_object().cloned().unwrap_or_default());
            let answer = agent.post("/v1/opencode/tasks", &body).await?;
            answers.push((answer.status, answer.text.replace(session, "SESSION")));
        }
        ensure!(answers.iter().all(|answer| *answer == answers[0] && answer.0 >= 400), "with {more}: {answers:#?}");
    }
    // Its own is found by its id alone.
    let own = submit(&agent, json!({ "prompt": "mine", "target": { "worker": "secretive" } })).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_own").await?;
    tell_sessions(&http, "secretive", &home, json!([{ "id": "ses_own" }])).await?;
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "", "session_id": "ses_own" })).await?;
    let next = submit(&agent, json!({ "prompt": "next", "resume_session_id": "ses_own" })).await?;
    ensure!(next["context_id"] == own["context_id"] && next["worker_id"] == "secretive", "{next}");
    Ok(())
}
