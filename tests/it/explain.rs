//! `GET /v1/opencode/tasks/{id}/explain`: why a task waits, by a code for programs and a sentence for people.

use crate::support::{Cx, Http, Puller, Server, Shared, cases, ensure_fields, items, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::client::Client;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

cases! {
    [] =>
        without_any_worker_it_says_how_to_start_one,
        a_worker_that_is_away_is_named_with_when_it_was_seen,
        a_worker_that_left_is_offline,
        a_full_worker_has_no_slot,
        a_busy_codebase_is_named,
        a_busy_conversation_names_the_task_that_goes_first,
        a_task_for_later_says_when,
        what_a_worker_has_not_is_named_for_each_worker,
        a_draining_worker_says_so,
        a_task_that_can_run_says_who_takes_it,
        a_task_that_does_not_wait_says_so;
    [Postgres] => a_busy_codebase_is_named_on_postgresql;
}

static SERVER: Shared = Shared::embedded("explain", "");
static POSTGRES: Shared = Shared::on_postgres("explain-postgres", "");

struct Explained {
    summary: String,
    blockers: Vec<Value>,
    workers: Vec<Value>,
}

async fn explain(http: &Http, task: &Value) -> Result<Explained> {
    let answer = http.get(&format!("/v1/opencode/tasks/{}/explain", text(task, "id")?)).await?.ok()?;
    ensure_fields(
        &answer,
        &[("task_id", "string"), ("state", "string"), ("summary", "string"), ("blockers", "array"), ("workers", "array")],
    )?;
    Ok(Explained {
        summary: text(&answer, "summary")?.to_owned(),
        blockers: items(&answer["blockers"])?.clone(),
        workers: items(&answer["workers"])?.clone(),
    })
}

impl Explained {
    /// The conditions that fail at a worker.
    fn at(&self, worker: &str) -> Result<Vec<(String, String)>> {
        let verdict = self.workers.iter().find(|verdict| verdict["name"] == worker);
        let verdict = verdict.with_context(|| format!("{worker} is not considered: {:?}", self.workers))?;
        pairs(items(&verdict["blockers"])?)
    }

    /// Checks that `code` fails at a worker, with a sentence that contains `words`, and that the summary says it too.
    fn ensure_only(&self, worker: &str, code: &str, words: &str) -> Result<()> {
        let blockers = self.at(worker)?;
        let [(found, message)] = blockers.as_slice() else { anyhow::bail!("{worker}: {blockers:?}") };
        ensure!(found == code && message.contains(words), "{worker} does not say {code}, {words:?}: {blockers:?}");
        ensure!(self.summary.contains(words), "the summary does not say {words:?}: {}", self.summary);
        Ok(())
    }
}

fn pairs(blockers: &[Value]) -> Result<Vec<(String, String)>> {
    blockers.iter().map(|b| Ok((text(b, "code")?.to_owned(), text(b, "message")?.to_owned()))).collect()
}

async fn submit(http: &Http, body: Value) -> Result<Value> {
    http.post("/v1/opencode/tasks", &body).await?.ok()
}

async fn on(cx: &Cx) -> Result<(Http, &'static Client)> {
    Ok((SERVER.http(cx).await?, SERVER.get(cx).await?.client()))
}

async fn without_any_worker_it_says_how_to_start_one(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let task = submit(&http, json!({ "prompt": "hello" })).await?;
    let explained = explain(&http, &task).await?;
    ensure!(explained.summary.contains("muster-worker") && explained.workers.is_empty(), "it says {}", explained.summary);
    Ok(())
}

async fn a_worker_that_is_away_is_named_with_when_it_was_seen(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("short.toml");
    fs::write(&config, "[leases]\nlease = \"600ms\"\nwait = \"200ms\"\noffline_after = \"1500ms\"\nplain_lease = \"900ms\"\n")?;
    let server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let http = Http::new(&server);
    let worker = Puller::register(server.client(), "away", json!({})).await?;
    let task = submit(&http, json!({ "prompt": "hello", "target": { "worker": "away" } })).await?;
    for (status, words) in [("stale", "not been heard of since 20"), ("offline", "offline, last seen 20")] {
        let explained = wait_for(status, Duration::from_secs(10), async || {
            let explained = explain(&http, &task).await?;
            let codes = explained.at("away")?;
            Ok(codes.iter().any(|(code, _)| code == status).then_some(explained))
        })
        .await?;
        explained.ensure_only("away", status, words)?;
        let listed = http.get(&format!("/v1/opencode/workers?status={status}")).await?.ok()?;
        ensure!(items(&listed)?.len() == 1, "the list of {status} workers is {listed}");
        // Its codebases are not there either, one by one and in the list.
        let codebases = http.get("/v1/opencode/codebases?worker_id=away").await?.ok()?;
        let one = http.get(&format!("/v1/opencode/codebases/{}", text(&codebases[0], "id")?)).await?.ok()?;
        ensure!(codebases[0]["status"] == "offline" && one["status"] == "offline", "its home is {codebases} and {one}");
    }
    // It is back by its next pull.
    worker.pull(&[], Duration::ZERO).await?;
    let listed = http.get("/v1/opencode/workers?status=active").await?.ok()?;
    ensure!(items(&listed)?.len() == 1, "the list of active workers is {listed}");
    Ok(())
}

async fn a_worker_that_left_is_offline(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    let worker = Puller::register(client, "left", json!({})).await?;
    client.unregister(worker.id()).await?;
    let task = submit(&http, json!({ "prompt": "hello", "target": { "worker": "left" } })).await?;
    explain(&http, &task).await?.ensure_only("left", "offline", "offline")
}

async fn a_full_worker_has_no_slot(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    let worker = Puller::register(client, "full", json!({ "slots": 1 })).await?;
    let task = json!({ "prompt": "hello", "target": { "worker": "full" } });
    let first = submit(&http, task.clone()).await?;
    let given = worker.take().await?;
    let second = submit(&http, task).await?;
    explain(&http, &second).await?.ensure_only("full", "no_free_slot", "slots are taken")?;
    worker.run(&given, &[]).await?;
    ensure!(explain(&http, &second).await?.at("full")?.is_empty(), "it is still blocked when {first} has ended");
    Ok(())
}

async fn a_busy_codebase_is_named(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    busy_codebase(&http, client).await
}

async fn a_busy_codebase_is_named_on_postgresql(cx: &Cx) -> Result<()> {
    busy_codebase(&POSTGRES.http(cx).await?, POSTGRES.get(cx).await?.client()).await
}

async fn busy_codebase(http: &Http, client: &Client) -> Result<()> {
    let codebases = json!({ "codebases": [{ "name": "narrow", "path": "/srv/narrow" }], "slots": 4 });
    let worker = Puller::register(client, "writer", codebases).await?;
    let task = json!({ "prompt": "write", "target": { "codebase": "narrow" } });
    submit(http, task.clone()).await?;
    let given = worker.take().await?;
    let second = submit(http, task.clone()).await?;
    let explained = explain(http, &second).await?;
    explained.ensure_only("writer", "codebase_busy", "narrow")?;
    ensure!(worker.pull(&[crate::support::running(given.task.id, 1)], Duration::ZERO).await?.is_empty(), "a second writer was let in");
    // A plan does not write.
    let mut plan = task;
    plan["mode"] = json!("plan");
    let plan = submit(http, plan).await?;
    ensure!(explain(http, &plan).await?.at("writer")?.is_empty(), "a plan waits for a writer");
    Ok(())
}

async fn a_busy_conversation_names_the_task_that_goes_first(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    Puller::register(client, "talker", json!({})).await?;
    let turn = json!({ "prompt": "hello", "target": { "worker": "talker" }, "context_id": "talk" });
    let first = submit(&http, turn.clone()).await?;
    let second = submit(&http, turn).await?;
    let explained = explain(&http, &second).await?;
    let blockers = pairs(&explained.blockers)?;
    let id = text(&first, "id")?;
    ensure!(blockers.len() == 1 && blockers[0].0 == "context_busy" && blockers[0].1.contains(id), "{blockers:?}");
    ensure!(explained.summary.contains(id), "{}", explained.summary);
    Ok(())
}

async fn a_task_for_later_says_when(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    let worker = Puller::register(client, "patient", json!({})).await?;
    let body = json!({ "prompt": "later", "target": { "worker": "patient" }, "not_before": "2099-01-01T00:00:00Z" });
    let explained = explain(&http, &submit(&http, body).await?).await?;
    let blockers = pairs(&explained.blockers)?;
    ensure!(blockers.len() == 1 && blockers[0].0 == "not_before" && blockers[0].1.contains("2099-01-01T00:00:00.000Z"), "{blockers:?}");
    ensure!(worker.pull(&[], Duration::ZERO).await?.is_empty(), "it was given out before its time");
    Ok(())
}

async fn what_a_worker_has_not_is_named_for_each_worker(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    Puller::register(server.client(), "small", json!({ "labels": { "zone": "eu" } })).await?;
    let model = json!([{ "id": "big/model", "name": "Big", "provider": "Big", "provider_id": "big" }]);
    Puller::register(server.client(), "big", json!({ "capabilities": ["opencode", "gpu"], "labels": { "zone": "us" }, "models": model }))
        .await?;
    Puller::register(server.client(), "bare", json!({ "capabilities": [], "models": [] })).await?;
    let body = json!({ "prompt": "x", "capabilities": ["gpu"], "labels": { "zone": "eu" }, "model": "big/model" });
    let explained = explain(&http, &submit(&http, body).await?).await?;
    let codes = |worker: &str| -> Result<Vec<String>> { Ok(explained.at(worker)?.into_iter().map(|(code, _)| code).collect()) };
    ensure!(codes("small")? == ["capability", "model"], "small: {:?}", explained.at("small")?);
    ensure!(codes("big")? == ["label"], "big: {:?}", explained.at("big")?);
    ensure!(codes("bare")? == ["capability", "label", "no_opencode", "model"], "bare: {:?}", explained.at("bare")?);
    let said = format!("{:?}", explained.workers);
    ensure!(said.contains("gpu") && said.contains("zone=eu") && said.contains("big/model"), "{said}");
    ensure!(explained.summary.contains("none of 3 workers"), "{}", explained.summary);
    Ok(())
}

async fn a_draining_worker_says_so(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    let worker = Puller::register(client, "draining", json!({})).await?;
    let drained = http.post("/v1/opencode/workers/draining/drain", &json!({ "reason": "new disk" })).await?.ok()?;
    ensure!(drained["success"] == true, "{drained}");
    let task = submit(&http, json!({ "prompt": "x", "target": { "worker": "draining" } })).await?;
    explain(&http, &task).await?.ensure_only("draining", "draining", "draining")?;
    ensure!(worker.pull(&[], Duration::ZERO).await?.is_empty(), "a draining worker was given a task");
    let shown = http.get("/v1/opencode/workers/draining").await?.ok()?;
    ensure!(shown["status"] == "draining" && shown["drain_reason"] == "new disk", "{shown}");
    http.post("/v1/opencode/workers/draining/resume", &json!({})).await?.ok()?;
    let given = worker.take().await?;
    ensure!(given.task.id.to_string() == text(&task, "id")?, "given: {given:?}");
    Ok(())
}

async fn a_task_that_can_run_says_who_takes_it(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    Puller::register(client, "ready", json!({})).await?;
    let task = submit(&http, json!({ "prompt": "x", "target": { "worker": "ready" } })).await?;
    let explained = explain(&http, &task).await?;
    ensure!(explained.at("ready")?.is_empty() && explained.summary.contains("worker ready"), "{}", explained.summary);
    Ok(())
}

async fn a_task_that_does_not_wait_says_so(cx: &Cx) -> Result<()> {
    let (http, client) = on(cx).await?;
    let worker = Puller::register(client, "runner", json!({})).await?;
    let task = submit(&http, json!({ "prompt": "x", "target": { "worker": "runner" } })).await?;
    let given = worker.take().await?;
    ensure!(explain(&http, &task).await?.summary.contains("working on worker runner"), "{}", explain(&http, &task).await?.summary);
    worker.run(&given, &[]).await?;
    let explained = explain(&http, &task).await?;
    ensure!(explained.summary.contains("completed") && explained.workers.is_empty(), "{}", explained.summary);
    http.get("/v1/opencode/tasks/0193a0c0-0000-7000-8000-000000000001/explain").await?.refused(404, "not_found").map(drop)
}
