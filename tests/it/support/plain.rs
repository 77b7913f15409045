//! A plain polling worker, call by call as the earlier system's worker makes them: it sends no attempt number and no credential, and does not look
//! at the answers to its reports.

use super::{Http, items, text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// A plain worker. Its name is its id.
pub(crate) struct PlainWorker {
    http: Http,
    pub(crate) id: String,
    pub(crate) global: Value,
    pub(crate) codebases: Vec<Value>,
    pub(crate) registered: Value,
}

impl PlainWorker {
    /// Its home first, then itself, then each codebase: `(name, path)`.
    pub(crate) async fn start(http: &Http, id: &str, codebases: &[(&str, &str)]) -> Result<Self> {
        let http = http.clone();
        let global = register_codebase(&http, id, "global", &format!("/home/{id}")).await?;
        let registration = json!({
            "worker_id": id, "name": id, "capabilities": ["opencode", "build", "deploy", "test"], "hostname": "plain-host",
            "models": [{
                "id": "anthropic/claude-x", "name": "Claude X", "provider": "Anthropic", "provider_id": "anthropic",
                "capabilities": { "reasoning": true, "attachment": true, "tool_call": true },
                "limits": { "context": 200_000, "output": 32_000 }, "cost": { "input": 3, "output": 15 },
            }],
            "global_codebase_id": global["id"],
        });
        let registered = http.post("/v1/opencode/workers/register", &registration).await?.ok()?;
        let mut own = Vec::new();
        for (name, path) in codebases {
            own.push(register_codebase(&http, id, name, path).await?);
        }
        Ok(Self { http, id: id.to_owned(), global, codebases: own, registered })
    }

    /// What it does every 5 s: the task that it is shown, if it is one of its own codebases or has none yet.
    pub(crate) async fn poll(&self) -> Result<Option<Value>> {
        let shown = self.http.get(&format!("/v1/opencode/tasks?status=pending&worker_id={}", self.id)).await?.ok()?;
        let shown = items(&shown)?;
        ensure!(shown.len() <= 1, "a plain worker is shown {} tasks at once", shown.len());
        let Some(task) = shown.first() else { return Ok(None) };
        let own = std::iter::once(&self.global).chain(&self.codebases).any(|codebase| codebase["id"] == task["codebase_id"]);
        ensure!(own || task["codebase_id"] == "__pending__", "it is shown a task of a codebase that is not its own: {task}");
        Ok(Some(task.clone()))
    }

    /// `PUT status`, with fields beside the status.
    pub(crate) async fn report(&self, task: &Value, status: &str, more: Value) -> Result<super::Answer> {
        let mut body = json!({ "status": status, "worker_id": self.id });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.http.put(&format!("/v1/opencode/tasks/{}/status", text(task, "id")?), &body).await
    }

    /// `POST output` for one line.
    pub(crate) async fn say(&self, task: &Value, line: &str) -> Result<super::Answer> {
        let body = json!({ "worker_id": self.id, "output": line, "timestamp": "2026-11-22T12:30:00.123456" });
        self.http.post(&format!("/v1/opencode/tasks/{}/output", text(task, "id")?), &body).await
    }

    /// `POST .../sync` of one of its codebases.
    pub(crate) async fn sync(&self, path: &str, what: &str, items: &[Value], count: &str) -> Result<()> {
        let body = json!({ "worker_id": self.id, what: items });
        let answer = self.http.post(&format!("/v1/opencode/codebases/{path}"), &body).await?.ok()?;
        ensure!(answer["success"] == true && answer[count] == items.len(), "{path}: {answer}");
        Ok(())
    }

    /// Runs a task that it was shown to its end.
    pub(crate) async fn run(&self, task: &Value, lines: &[&str]) -> Result<()> {
        self.report(task, "running", json!({})).await?.ok()?;
        for line in lines {
            self.say(task, line).await?.ok()?;
        }
        self.report(task, "running", json!({ "session_id": format!("ses_{}", text(task, "id")?) })).await?.ok()?;
        self.report(task, "completed", json!({ "result": lines.join("\n") })).await?.ok()?;
        Ok(())
    }
}

async fn register_codebase(http: &Http, worker: &str, name: &str, path: &str) -> Result<Value> {
    let body = json!({ "name": name, "path": path, "description": format!("{name} of {worker}"), "worker_id": worker });
    let answer = http.post("/v1/opencode/codebases", &body).await?.ok()?;
    ensure!(answer["success"] == true, "{answer}");
    Ok(answer["codebase"].clone())
}
