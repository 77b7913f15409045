//! What clients of the earlier system send, route by route, and what they read of the answers: names and types of fields.
//!
//! The fields are the earlier system's own; values of ours beside them do not disturb its clients. Workers are in `plain_workers`, the monitor in
//! `monitor`, streams in `api_streams`.

use crate::support::{Cx, Http, PlainWorker, Server, Shared, Sse, cases, ensure_fields, items, text};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

cases! {
    [] =>
        every_route_of_the_earlier_system_answers_with_its_fields,
        a_worker_registers_as_it_always_did,
        a_codebases_viewer_reads_what_its_tasks_say,
        what_was_dropped_says_why_and_what_to_use;
}

static SERVER: Shared = Shared::embedded("earlier-clients", "");

type Fields = &'static [(&'static str, &'static str)];

const WORKER: Fields = &[
    ("worker_id", "string"),
    ("name", "string"),
    ("capabilities", "array"),
    ("hostname", "string|null"),
    ("models", "array"),
    ("global_codebase_id", "string|null"),
    ("registered_at", "time"),
    ("last_seen", "time"),
    ("status", "string"),
];
const CODEBASE: Fields = &[
    ("id", "string"),
    ("name", "string"),
    ("path", "string"),
    ("description", "string"),
    ("registered_at", "time"),
    ("agent_config", "object"),
    ("last_triggered", "time|null"),
    ("status", "string"),
    ("opencode_port", "int|null"),
    ("session_id", "string|null"),
    ("watch_mode", "bool"),
    ("watch_interval", "int"),
    ("worker_id", "string|null"),
];
const TASK: Fields = &[
    ("id", "string"),
    ("codebase_id", "string"),
    ("title", "string"),
    ("prompt", "string"),
    ("agent_type", "string"),
    ("status", "string"),
    ("priority", "int"),
    ("created_at", "time"),
    ("started_at", "time|null"),
    ("completed_at", "time|null"),
    ("result", "string|null"),
    ("error", "string|null"),
    ("session_id", "string|null"),
    ("metadata", "object"),
];
const SUCCESS: Fields = &[("success", "bool")];

/// Where in an answer the fields are.
#[derive(Clone, Copy)]
enum At {
    Top,
    Field(&'static str),
    Items,
    ItemsOf(&'static str),
}

/// One row: what is sent, and what is read. `{c}` is a codebase, `{t}` a task that runs, `{q}` one that waits, `{s}` a session, `{w}` the worker.
struct Row(&'static str, &'static str, Option<Value>, At, Fields);

#[expect(clippy::too_many_lines, reason = "a table: one row a route")]
fn rows() -> Vec<Row> {
    use At::{Field, Items, ItemsOf, Top};
    let model = json!({ "id": "anthropic/claude-x", "name": "X", "provider": "Anthropic", "provider_id": "anthropic",
        "capabilities": { "reasoning": true, "attachment": true, "tool_call": true }, "limits": { "context": 1 }, "cost": { "input": 1.5 } });
    let register =
        json!({ "worker_id": "{w}", "name": "{w}", "capabilities": ["opencode"], "hostname": "h", "models": [model], "extra": 1 });
    let sessions = json!({ "worker_id": "{w}", "sessions": [{ "id": "{s}", "title": "T", "directory": "/srv/row", "project_id": "p",
        "created": "2026-01-01T10:00:00.123456", "updated": null, "messageCount": 2, "summary": {}, "version": "1" }] });
    let messages = json!({ "worker_id": "{w}", "messages": [{ "id": "msg_1", "sessionID": "{s}", "role": "user",
        "time": { "created": "2026-01-01T10:00:00" }, "agent": "build", "model": "a/b", "cost": 0, "tokens": { "input": 1 },
        "parts": [{ "id": "prt_1", "type": "text", "text": "hi" }] }] });
    let output = json!({ "worker_id": "{w}", "output": "line", "timestamp": "2026-01-01T10:00:00.5" });
    vec![
        Row("GET", "/health", None, Top, &[("status", "string"), ("timestamp", "time")]),
        Row(
            "GET",
            "/agents",
            None,
            Items,
            &[
                ("name", "string"),
                ("description", "string"),
                ("url", "string"),
                ("provider", "object"),
                ("capabilities", "object"),
                ("authentication", "array"),
                ("skills", "array"),
                ("version", "string"),
            ],
        ),
        Row("POST", "/v1/opencode/workers/register", Some(register), Field("worker"), WORKER),
        Row("GET", "/v1/opencode/workers", None, Items, WORKER),
        Row("GET", "/v1/opencode/workers/{w}", None, Top, WORKER),
        Row("POST", "/v1/opencode/workers/{w}/heartbeat", None, Top, SUCCESS),
        Row("GET", "/v1/opencode/models", None, Top, &[("models", "array"), ("default", "string|null")]),
        Row(
            "GET",
            "/v1/opencode/models",
            None,
            ItemsOf("models"),
            &[("id", "string"), ("name", "string"), ("provider", "string"), ("capabilities", "object")],
        ),
        Row(
            "GET",
            "/v1/opencode/status",
            None,
            Top,
            &[
                ("available", "bool"),
                ("message", "string"),
                ("opencode_binary", "string|null"),
                ("registered_codebases", "int"),
                ("auto_start", "bool"),
            ],
        ),
        Row(
            "POST",
            "/v1/opencode/codebases",
            Some(json!({ "name": "row", "path": "/srv/row", "description": "", "agent_config": {}, "worker_id": "{w}" })),
            Field("codebase"),
            CODEBASE,
        ),
        Row(
            "POST",
            "/v1/opencode/codebases",
            Some(json!({ "name": "n", "path": "/srv/nobody-has-it" })),
            Top,
            &[("success", "bool"), ("pending", "bool"), ("task_id", "string"), ("message", "string")],
        ),
        Row("GET", "/v1/opencode/codebases", None, Items, CODEBASE),
        Row("GET", "/v1/opencode/codebases/list", None, Items, CODEBASE),
        Row("GET", "/v1/opencode/codebases/{c}", None, Top, CODEBASE),
        Row(
            "POST",
            "/v1/opencode/codebases/{c}/tasks",
            Some(
                json!({ "title": "t", "prompt": "p", "agent_type": "plan", "priority": 3, "metadata": { "model": "anthropic/claude-x" } }),
            ),
            Field("task"),
            TASK,
        ),
        Row(
            "POST",
            "/v1/opencode/codebases/{c}/trigger",
            Some(json!({ "prompt": "p", "agent": "build", "model": null, "files": [], "metadata": {} })),
            Top,
            &[
                ("success", "bool"),
                ("session_id", "string|null"),
                ("message", "string"),
                ("codebase_id", "string"),
                ("agent", "string"),
                ("error", "string|null"),
            ],
        ),
        Row("GET", "/v1/opencode/tasks", None, Items, TASK),
        Row("GET", "/v1/opencode/tasks?status=pending&codebase_id={c}", None, Items, TASK),
        Row("GET", "/v1/opencode/tasks?status=assigned", None, Items, TASK),
        Row("GET", "/v1/opencode/codebases/{c}/tasks?status=running", None, Items, TASK),
        Row("GET", "/v1/opencode/tasks/{t}", None, Top, TASK),
        Row("PUT", "/v1/opencode/tasks/{t}/status", Some(json!({ "status": "assigned", "worker_id": "{w}" })), Field("task"), TASK),
        Row(
            "PUT",
            "/v1/opencode/tasks/{t}/status",
            Some(json!({ "status": "running", "worker_id": "{w}", "session_id": "{s}" })),
            Field("task"),
            TASK,
        ),
        Row("POST", "/v1/opencode/tasks/{t}/output", Some(output), Top, SUCCESS),
        Row("GET", "/v1/opencode/tasks/{t}/output", None, Top, &[("task_id", "string"), ("outputs", "array"), ("total", "int")]),
        Row(
            "GET",
            "/v1/opencode/tasks/{t}/output?since=0",
            None,
            ItemsOf("outputs"),
            &[("output", "string"), ("timestamp", "time"), ("worker_id", "string")],
        ),
        Row("POST", "/v1/opencode/tasks/{q}/cancel", None, Top, &[("success", "bool"), ("message", "string"), ("confirmed", "bool")]),
        Row("POST", "/v1/opencode/codebases/{c}/sessions/sync", Some(sessions), Top, &[("success", "bool"), ("sessions_count", "int")]),
        Row(
            "POST",
            "/v1/opencode/codebases/{c}/sessions/{s}/messages/sync",
            Some(messages),
            Top,
            &[("success", "bool"), ("messages_count", "int")],
        ),
        Row("GET", "/v1/opencode/codebases/{c}/sessions", None, Top, &[("sessions", "array"), ("source", "string")]),
        Row(
            "GET",
            "/v1/opencode/codebases/{c}/sessions",
            None,
            ItemsOf("sessions"),
            &[("id", "string"), ("title", "string"), ("directory", "string")],
        ),
        Row("GET", "/v1/opencode/codebases/{c}/sessions/{s}", None, Top, &[("id", "string"), ("title", "string")]),
        Row(
            "GET",
            "/v1/opencode/codebases/{c}/sessions/{s}/messages?limit=50",
            None,
            Top,
            &[("messages", "array"), ("session_id", "string"), ("source", "string")],
        ),
        Row(
            "GET",
            "/v1/opencode/codebases/{c}/sessions/{s}/messages",
            None,
            ItemsOf("messages"),
            &[("id", "string"), ("role", "string"), ("parts", "array")],
        ),
        Row(
            "POST",
            "/v1/opencode/codebases/{c}/sessions/{s}/resume",
            Some(json!({ "prompt": "go on", "agent": "build", "model": null })),
            Top,
            &[("success", "bool"), ("task_id", "string"), ("session_id", "string"), ("message", "string")],
        ),
        Row(
            "PUT",
            "/v1/opencode/tasks/{t}/status",
            Some(json!({ "status": "completed", "worker_id": "{w}", "result": "done" })),
            Field("task"),
            TASK,
        ),
        Row(
            "POST",
            "/v1/a2a",
            Some(
                json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": { "parts": [{ "type": "text", "content": "status" }] } } }),
            ),
            Field("result"),
            &[("task", "object"), ("message", "object")],
        ),
        Row("DELETE", "/v1/opencode/codebases/{c}", None, Top, SUCCESS),
        Row("POST", "/v1/opencode/workers/{w}/unregister", None, Top, &[("success", "bool"), ("message", "string")]),
    ]
}

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
