//! Codebases that are looked for: only a worker that has the directory registers it.

use crate::support::{Cx, Server, Worker, cases, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::codebase::{Codebase, CodebaseStatus};
use muster_protocol::task::TaskState;
use serde_json::json;
use std::time::Duration;

cases! {
    [] => a_codebase_without_a_worker_is_registered_by_the_one_that_has_it, a_codebase_that_nobody_has_is_waited_for;
}

const SOON: Duration = Duration::from_secs(30);

async fn a_codebase_without_a_worker_is_registered_by_the_one_that_has_it(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let mut worker = Worker::new(cx.dir(), "finder", &server)?.launch().await?;
    let path = cx.make_dir("found")?;
    let body = json!({ "name": "found", "path": path, "description": "looked for" });
    let answer = server.post("/v1/opencode/codebases", &body).await?;
    ensure!(answer["pending"] == true, "{answer}");
    let listed = async || -> Result<Option<Codebase>> {
        let path = path.to_str().context("the path is no text")?;
        Ok(server.client().codebases(&[("path", path)]).await?.pop())
    };
    let codebase = wait_for("the codebase to be registered", SOON, listed).await?;
    ensure!(codebase.name == "found" && codebase.worker_name.as_deref() == Some("finder"), "{codebase:?}");
    worker.restart().await?;
    let is_active = async || Ok(listed().await?.filter(|codebase| codebase.status == CodebaseStatus::Active));
    let again = wait_for("the codebase after a restart of its worker", SOON, is_active).await?;
    ensure!(again.id == codebase.id, "it has another id after a restart of its worker");
    Ok(())
}

async fn a_codebase_that_nobody_has_is_waited_for(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let _worker = Worker::new(cx.dir(), "finder", &server)?.launch().await?;
    let body = json!({ "name": "nowhere", "path": cx.dir().join("nowhere") });
    let answer = server.post("/v1/opencode/codebases", &body).await?;
    let task = answer["task_id"].as_str().context("no task_id")?.parse()?;
    let task = wait_for("the task to be handed back", SOON, async || {
        let task = server.client().task(task).await?;
        Ok(Some(task).filter(|task| task.attempt == 1 && task.state == TaskState::Submitted))
    })
    .await?;
    ensure!(task.error.is_none(), "{task:?}");
    Ok(())
}
