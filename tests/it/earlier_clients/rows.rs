//! The routes of the earlier system: what is sent, and what is read of the answers.

use serde_json::{Value, json};

pub(super) type Fields = &'static [(&'static str, &'static str)];

pub(super) const WORKER: Fields = &[
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
pub(crate) const TASK: Fields = &[
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
pub(super) enum At {
    Top,
    Field(&'static str),
    Items,
    ItemsOf(&'static str),
}

/// One row: what is sent, and what is read. `{c}` is a codebase, `{t}` a task that runs, `{q}` one that waits, `{s}` a session, `{w}` the worker.
pub(super) struct Row(pub(super) &'static str, pub(super) &'static str, pub(super) Option<Value>, pub(super) At, pub(super) Fields);

#[expect(clippy::too_many_lines, reason = "a table: one row a route")]
pub(super) fn rows() -> Vec<Row> {
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
