//! Codebases over HTTP.

use crate::support::{Cx, Http, PlainWorker, Postgres, Puller, Server, Shared, Sse, cases, ensure_fields, items, text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        a_codebase_has_every_field_that_existing_clients_read,
        the_same_path_on_two_machines_is_two_codebases,
        a_codebase_is_registered_again_under_the_same_id,
        the_list_is_filtered_and_has_two_addresses,
        a_removed_codebase_is_gone,
        a_name_that_is_on_several_workers_needs_the_worker,
        what_happens_in_a_codebase_is_told,
        what_was_dropped_says_what_to_use;
    [Postgres] => what_happens_in_a_codebase_is_told_on_postgresql;
}

static SERVER: Shared = Shared::embedded("api-codebases", "");

async fn create(http: &Http, worker: &str, name: &str, path: &str) -> Result<Value> {
    let body = json!({ "name": name, "path": path, "worker_id": worker });
    Ok(http.post("/v1/opencode/codebases", &body).await?.ok()?["codebase"].clone())
}

async fn a_codebase_has_every_field_that_existing_clients_read(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "fields", &[]).await?;
    let body = json!({ "name": "app", "path": "/srv/app", "description": "D", "agent_config": { "model": "x/y" }, "worker_id": "fields" });
    let answer = http.post("/v1/opencode/codebases", &body).await?.ok()?;
    ensure!(answer["success"] == true && answer.get("pending").is_none(), "{answer}");
    let made = &answer["codebase"];
    ensure_fields(
        made,
        &[
            ("id", "string"),
            ("name", "string"),
            ("path", "string"),
            ("description", "string"),
            ("worker_id", "string"),
            ("status", "string"),
            ("is_global", "bool"),
            ("git", "object|null"),
            ("agent_config", "object"),
            ("created_at", "time"),
            ("updated_at", "time"),
        ],
    )?;
    ensure!(made["status"] == "active" && made["is_global"] == false && made["description"] == "D", "{made}");
    ensure!(made["agent_config"] == json!({ "model": "x/y" }), "{made}");
    let shown = http.get(&format!("/v1/opencode/codebases/{}", text(made, "id")?)).await?.ok()?;
    ensure!(shown["id"] == made["id"] && shown["worker_name"] == "fields", "{shown}");
    http.get("/v1/opencode/codebases/none").await?.refused(404, "not_found")?;
    for (body, field) in [
        (json!({ "path": "/x", "worker_id": "w" }), "name"),
        (json!({ "name": "x", "worker_id": "w" }), "path"),
        (json!({ "name": "x", "path": "relative", "worker_id": "w" }), "path"),
        (json!({ "name": "x", "path": "/x", "worker_id": "a b" }), "worker_id"),
    ] {
        let error = http.post("/v1/opencode/codebases", &body).await?.refused(422, "invalid")?;
        ensure!(error["details"]["fields"][0]["field"] == field, "{body}: {error}");
    }
    Ok(())
}

async fn the_same_path_on_two_machines_is_two_codebases(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let (one, other) = (create(&http, "m-1", "app", "/srv/same").await?, create(&http, "m-2", "app", "/srv/same").await?);
    ensure!(one["id"] != other["id"] && one["worker_id"] == "m-1" && other["worker_id"] == "m-2", "{one} {other}");
    Ok(())
}

async fn a_codebase_is_registered_again_under_the_same_id(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let (one, again) = (create(&http, "again", "old", "/srv/again").await?, create(&http, "again", "new", "/srv/again").await?);
    ensure!(one["id"] == again["id"] && again["name"] == "new" && one["created_at"] == again["created_at"], "{one} {again}");
    Ok(())
}

async fn the_list_is_filtered_and_has_two_addresses(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "lister", &[("first", "/srv/lister/first"), ("second", "/srv/lister/second")]).await?;
    let list = async |query: &str| -> Result<Vec<String>> {
        let listed = http.get(&format!("/v1/opencode/codebases?{query}")).await?.ok()?;
        ensure!(http.get(&format!("/v1/opencode/codebases/list?{query}")).await?.ok()? == listed, "the two addresses differ");
        items(&listed)?.iter().map(|codebase| Ok(text(codebase, "name")?.to_owned())).collect()
    };
    ensure!(list("worker_id=lister").await? == ["first", "global", "second"], "{:?}", list("worker_id=lister").await?);
    ensure!(list("path=/srv/lister/first").await? == ["first"], "{:?}", list("path=/srv/lister/first").await?);
    ensure!(list("q=LISTER/SEC").await? == ["second"], "{:?}", list("q=LISTER/SEC").await?);
    ensure!(list("worker_id=nobody").await?.is_empty(), "{:?}", list("worker_id=nobody").await?);
    Ok(())
}

async fn a_removed_codebase_is_gone(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "remover", &[("app", "/srv/removed")]).await?;
    let path = format!("/v1/opencode/codebases/{}", text(&worker.codebases[0], "id")?);
    let answer = http.delete(&path).await?.ok()?;
    ensure!(answer["success"] == true, "{answer}");
    http.get(&path).await?.refused(404, "not_found")?;
    http.delete(&path).await?.refused(404, "not_found")?;
    http.get(&format!("{path}/tasks")).await?.refused(404, "not_found")?;
    http.get(&format!("{path}/events")).await?.refused(404, "not_found")?;
    http.post(&format!("{path}/tasks"), &json!({ "title": "t", "prompt": "p" })).await?.refused(404, "not_found").map(drop)
}

async fn a_name_that_is_on_several_workers_needs_the_worker(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "name-1", &[("twin", "/srv/twin")]).await?;
    let two = PlainWorker::start(&http, "name-2", &[("twin", "/srv/twin")]).await?;
    let submit = async |target: Value| http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": target })).await;
    let error = submit(json!({ "codebase": "twin" })).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "target.codebase", "{error}");
    ensure!(text(&error, "message")?.contains("name-1") && text(&error, "message")?.contains("name-2"), "{error}");
    let task = submit(json!({ "codebase": "twin", "worker": "name-2" })).await?.ok()?;
    ensure!(task["codebase_id"] == two.codebases[0]["id"] && task["worker_id"] == "name-2", "{task}");
    for target in
        [json!({ "codebase": "none" }), json!({ "worker": "none" }), json!({ "agent": "none" }), json!({ "worker": "name-1", "any": true })]
    {
        submit(target).await?.refused(422, "invalid")?;
    }
    Ok(())
}

async fn what_happens_in_a_codebase_is_told(cx: &Cx) -> Result<()> {
    codebase_events(&Server::start(cx).await?).await
}

async fn what_happens_in_a_codebase_is_told_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    codebase_events(&server.launch().await?).await
}

async fn codebase_events(server: &Server) -> Result<()> {
    let (http, client) = (Http::new(server), server.client());
    let codebases = json!({ "codebases": [{ "name": "seen", "path": "/srv/seen" }, { "name": "unseen", "path": "/srv/unseen" }] });
    let worker = Puller::register(client, "events", codebases).await?;
    let id = |name: &str| worker.registered.codebases.iter().find(|codebase| codebase.name == name).map(|codebase| codebase.id.to_string());
    let path = format!("/v1/opencode/codebases/{}/events", id("seen").unwrap_or_default());
    let mut live = Sse::open(&http, &path, None).await?;
    let submit = async |codebase: &str| {
        let body = json!({ "prompt": codebase, "title": codebase, "target": { "codebase": codebase } });
        http.post("/v1/opencode/tasks", &body).await?.ok()
    };
    let (_, seen) = (submit("unseen").await?, submit("seen").await?);
    for _ in 0..2 {
        worker.run(&worker.take().await?, &["x"]).await?;
    }
    let mut told = Vec::new();
    while told.last().is_none_or(|sent: &crate::support::Sent| sent.data["type"] != "task.completed") {
        let sent = live.expect().await?;
        if sent.event == "connected" {
            continue;
        }
        ensure!(sent.id.is_some() && sent.data["task_id"] == seen["id"], "told: {sent:?}");
        if sent.event == "status" {
            told.push(sent);
        }
    }
    let kinds: Vec<_> = told.iter().map(|sent| sent.data["type"].clone()).collect();
    ensure!(kinds == ["task.submitted", "task.assigned", "task.started", "task.completed"], "told: {kinds:?}");
    ensure_fields(
        &told[3].data,
        &[("task_id", "string"), ("status", "string"), ("state", "string"), ("title", "string"), ("time", "time")],
    )?;
    ensure!(told[3].data["status"] == "completed" && told[3].data["title"] == "seen", "told: {:?}", told[3]);
    // A viewer that comes back goes on where it was.
    let mut again = Sse::open_at(&http, &path, told[1].place.as_deref().unwrap_or_default()).await?;
    ensure!(again.expect().await?.event == "connected", "no greeting");
    for expected in &told[2..] {
        let mut sent = again.expect().await?;
        while sent.event != "status" {
            sent = again.expect().await?;
        }
        ensure!(sent.id == expected.id && sent.data["type"] == expected.data["type"], "it goes on elsewhere: {sent:?}");
    }
    Ok(())
}

async fn what_was_dropped_says_what_to_use(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    for path in ["message", "interrupt", "stop", "watch/start", "sessions/s/ingest"] {
        let error = http.post(&format!("/v1/opencode/codebases/c/{path}"), &json!({})).await?.refused(410, "gone")?;
        ensure!(text(&error, "message")?.contains("/v1/opencode/"), "{error}");
    }
    http.get("/v1/opencode/database/stats").await?.refused(410, "gone").map(drop)
}
