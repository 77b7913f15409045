//! What clients of the earlier system send, route by route, and what they read of the answers: names and types of fields.
//!
//! The fields are the earlier system's own; values of ours beside them do not disturb its clients. Workers are in `plain_workers`, the monitor in
//! `monitor`, streams in `api_streams`.

use crate::support::{Cx, Http, PlainWorker, Server, Shared, Sse, cases, ensure_fields, items, text};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use rows::{At, Row, WORKER, rows};
use serde_json::{Value, json};
use std::collections::BTreeSet;

mod rows;

pub(crate) use rows::TASK;

cases! {
    [] =>
        every_route_of_the_earlier_system_answers_with_its_fields,
        a_worker_registers_as_it_always_did,
        a_codebases_viewer_reads_what_its_tasks_say,
        what_was_dropped_says_why_and_what_to_use;
}

static SERVER: Shared = Shared::embedded("earlier-clients", "");

async fn every_route_of_the_earlier_system_answers_with_its_fields(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let worker = PlainWorker::start(&http, "row-worker", &[("row", "/srv/row")]).await?;
    let codebase = text(&worker.codebases[0], "id")?.to_owned();
    let submit = async |title: &str| {
        let made = http.post(&format!("/v1/opencode/codebases/{codebase}/tasks"), &json!({ "title": title, "prompt": "p" })).await?.ok()?;
        anyhow::Ok(text(&made["task"], "id")?.to_owned())
    };
    let (running, waiting) = (submit("runs").await?, submit("waits").await?);
    let shown = worker.poll().await?.context("nothing is shown")?;
    ensure!(shown["id"] == running, "{shown}");
    worker.report(&shown, "running", json!({})).await?.ok()?;
    let fill = |text: &str| {
        let names = [("{w}", "row-worker"), ("{c}", &codebase), ("{t}", &running), ("{q}", &waiting), ("{s}", "ses_row")];
        names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    for Row(method, path, body, at, fields) in rows() {
        let row = format!("{method} {path}");
        let mut request = http.request(method.parse::<Method>()?, &fill(path)).header("content-type", "application/json");
        if let Some(body) = body {
            request = request.body(fill(&body.to_string()));
        }
        let answer = http.send(request).await?.ok().with_context(|| row.clone())?;
        let found: Vec<&Value> = match at {
            At::Top => vec![&answer],
            At::Field(name) => vec![&answer[name]],
            At::Items => items(&answer)?.iter().collect(),
            At::ItemsOf(name) => items(&answer[name])?.iter().collect(),
        };
        ensure!(!found.is_empty(), "{row} answered nothing: {answer}");
        for item in found {
            ensure_fields(item, fields).with_context(|| row.clone())?;
        }
    }
    Ok(())
}

async fn a_worker_registers_as_it_always_did(cx: &Cx) -> Result<()> {
    // Its own: tasks for anybody would be shown to the workers of other cases.
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    // Of different ages: without models and host, with models by id alone and codebases by id, with capabilities of another kind.
    let bodies = [
        json!({ "worker_id": "oldest", "name": "oldest", "capabilities": ["opencode", "build", "deploy"], "hostname": "h" }),
        json!({ "worker_id": "newest", "name": "newest", "capabilities": [], "hostname": "h", "models": ["anthropic/claude-x"],
            "global_codebase_id": null, "codebases": ["0193a0c0-0000-7000-8000-000000000001", "global"] }),
        json!({ "worker_id": "other", "name": "other", "capabilities": ["build", "test"], "hostname": null }),
    ];
    for body in bodies {
        let answer = http.post("/v1/opencode/workers/register", &body).await?.ok()?;
        ensure!(answer["success"] == true, "{answer}");
        ensure_fields(&answer["worker"], WORKER)?;
        ensure!(answer["worker"]["capabilities"] == body["capabilities"], "its capabilities are shown as {}", answer["worker"]);
        // Each of them runs OpenCode, whatever it says of its capabilities.
        let (id, global) = (text(&body, "worker_id")?, answer["worker"]["global_codebase_id"].clone());
        for mode in ["build", "plan"] {
            let submit = json!({ "prompt": "x", "mode": mode, "target": { "any": true } });
            let task = http.post("/v1/opencode/tasks", &submit).await?.ok()?;
            let shown = http.get(&format!("/v1/opencode/tasks?status=pending&worker_id={id}")).await?.ok()?;
            ensure!(shown[0]["id"] == task["id"] && shown[0]["codebase_id"] == global, "{id} is shown {shown}");
            let path = format!("/v1/opencode/tasks/{}/status", text(&task, "id")?);
            for status in ["running", "completed"] {
                http.put(&path, &json!({ "status": status, "worker_id": id })).await?.ok()?;
            }
        }
    }
    Ok(())
}

async fn a_codebases_viewer_reads_what_its_tasks_say(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "viewed", &[("viewed", "/srv/viewed")]).await?;
    let codebase = text(&worker.codebases[0], "id")?;
    let path = format!("/v1/opencode/codebases/{codebase}/events");
    let mut live = Sse::open(&http, &path, None).await?;
    let hello = live.expect().await?;
    ensure!(hello.event == "connected" && hello.data["codebase_id"] == codebase && hello.data["worker_id"] == "viewed", "{hello:?}");
    http.post(&format!("/v1/opencode/codebases/{codebase}/tasks"), &json!({ "title": "t", "prompt": "p" })).await?.ok()?;
    let task = worker.poll().await?.context("nothing is shown")?;
    worker.report(&task, "running", json!({ "session_id": "ses_viewed" })).await?.ok()?;
    for line in ["one", "two", "three"] {
        worker.say(&task, line).await?.ok()?;
    }
    worker.report(&task, "completed", json!({ "result": "said three" })).await?.ok()?;
    let mut told = Vec::new();
    while told.last().is_none_or(|sent: &crate::support::Sent| sent.event != "idle") {
        told.push(live.expect().await?);
    }
    for sent in &told {
        ensure!(sent.data["event_type"] == sent.event && sent.data["codebase_id"] == codebase && sent.place.is_some(), "{sent:?}");
    }
    let lines: Vec<_> = told.iter().filter(|sent| sent.event == "part.text").map(|sent| sent.data["text"].clone()).collect();
    ensure!(lines == ["one", "two", "three"], "{lines:?}");
    let parts: BTreeSet<_> = told.iter().filter_map(|sent| sent.data["part_id"].as_str()).collect();
    ensure!(parts.len() == 3, "{parts:?}");
    let result = told.iter().find(|sent| sent.event == "message").context("no result")?;
    ensure!(result.data["type"] == "text" && result.data["content"] == "said three", "{result:?}");
    let last = told.iter().rfind(|sent| sent.event == "status").context("no status")?;
    ensure!(last.data["status"] == "completed" && last.data["session_id"] == "ses_viewed", "{last:?}");
    // Whoever comes back at any place misses nothing and reads nothing twice. What a task said may come before a status that it has passed since.
    // (That it is idle belongs to the end of the last task, and is not said again after it.)
    let key = |sent: &crate::support::Sent| format!("{} {} {}", sent.event, sent.data["text"], sent.data["type"]);
    for (n, sent) in told.iter().enumerate().take(told.len() - 2) {
        let place = sent.place.as_deref().unwrap_or_default();
        let mut again = Sse::open_at(&http, &path, place).await?;
        again.expect().await?;
        let (mut wanted, mut got) = (told[n + 1..].iter().map(key).collect::<Vec<_>>(), Vec::new());
        for _ in &wanted {
            got.push(key(&again.expect().await?));
        }
        wanted.sort();
        got.sort();
        ensure!(got == wanted, "after {place}: {got:?}, not {wanted:?}");
    }
    http.send(http.request(Method::GET, &path).header("last-event-id", "x;y")).await?.refused(400, "bad_request").map(drop)
}

async fn what_was_dropped_says_why_and_what_to_use(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    // As earlier clients call them, and the replacement that each must name.
    let dropped = [
        ("POST", "/v1/opencode/codebases/c/message", "/trigger"),
        ("POST", "/v1/opencode/codebases/c/interrupt", "/v1/opencode/tasks/{id}/cancel"),
        ("POST", "/v1/opencode/codebases/c/stop", "/v1/opencode/tasks/{id}/cancel"),
        ("POST", "/v1/opencode/codebases/c/watch/start", "/v1/opencode/codebases/{id}/events"),
        ("POST", "/v1/opencode/codebases/c/watch/stop", "/v1/opencode/codebases/{id}/events"),
        ("GET", "/v1/opencode/codebases/c/watch/status", "/v1/opencode/codebases/{id}/events"),
        ("GET", "/v1/opencode/codebases/c/watch", "/v1/opencode/codebases/{id}/events"),
        ("POST", "/v1/opencode/codebases/c/sessions/s/ingest", "/messages/sync"),
        ("GET", "/v1/opencode/database", "/v1/opencode/status"),
        ("GET", "/v1/opencode/database/status", "/v1/opencode/status"),
        ("GET", "/v1/opencode/database/sessions?limit=5", "/v1/opencode/status"),
        ("GET", "/v1/opencode/database/codebases", "/v1/opencode/status"),
        ("GET", "/v1/opencode/database/workers", "/v1/opencode/status"),
        ("GET", "/v1/opencode/runtime", "/v1/opencode/workers"),
        ("GET", "/v1/opencode/runtime/status", "/v1/opencode/workers"),
        ("GET", "/v1/opencode/runtime/projects", "/v1/opencode/workers"),
        ("GET", "/v1/opencode/runtime/sessions", "/v1/opencode/workers"),
        ("GET", "/v1/opencode/runtime/sessions/s/messages", "/v1/opencode/workers"),
        ("GET", "/v1/opencode/runtime/sessions/s/parts", "/v1/opencode/workers"),
    ];
    for (method, path, instead) in dropped {
        for method in [method, "GET", "POST", "PUT", "DELETE"] {
            let error = http.send(http.request(method.parse()?, path)).await?.refused(410, "gone")?;
            let message = text(&error, "message")?;
            ensure!(message.contains(instead), "{method} {path}: {message}");
            // A reason stands before it.
            ensure!(message.len() > instead.len() + 40, "{method} {path}: {message}");
            ensure!(text(&error["details"], "replacement")?.contains(instead) && error["details"]["reason"].is_string(), "{error}");
        }
    }
    Ok(())
}
