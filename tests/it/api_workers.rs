//! Workers, models and the server at a glance over HTTP.

use crate::support::{Cx, Http, PlainWorker, Puller, Server, Shared, cases, ensure_fields, items, text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        a_worker_has_every_field_that_existing_clients_read,
        a_registration_names_every_bad_field,
        a_global_codebase_of_another_worker_is_refused,
        a_worker_without_a_home_gets_one,
        the_list_of_workers_is_filtered,
        a_heartbeat_is_answered,
        what_an_unregistered_worker_ran_is_lost,
        models_are_one_row_each_with_their_workers,
        the_status_counts_what_there_is;
    [Postgres] =>
        models_are_one_row_each_with_their_workers_on_postgresql,
        the_status_counts_what_there_is_on_postgresql;
}

static SERVER: Shared = Shared::embedded("api-workers", "");

async fn a_worker_has_every_field_that_existing_clients_read(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "fields", &[]).await?;
    let shown = http.get("/v1/opencode/workers/fields").await?.ok()?;
    ensure_fields(
        &shown,
        &[
            ("worker_id", "string"),
            ("name", "string"),
            ("hostname", "string"),
            ("capabilities", "array"),
            ("models", "array"),
            ("global_codebase_id", "string"),
            ("labels", "object"),
            ("slots", "int"),
            ("running", "int"),
            ("status", "string"),
            ("registered_at", "time"),
            ("last_seen", "time"),
        ],
    )?;
    ensure!(shown["status"] == "active" && shown["running"] == 0 && shown["slots"] == 1, "{shown}");
    ensure!(shown["capabilities"] == json!(["opencode", "build", "deploy", "test"]), "{shown}");
    let model = &shown["models"][0];
    ensure_fields(
        model,
        &[("id", "string"), ("name", "string"), ("provider", "string"), ("provider_id", "string"), ("capabilities", "object")],
    )?;
    ensure!(model["capabilities"] == json!({ "reasoning": true, "attachment": true, "tool_call": true }), "{model}");
    ensure!(model["limits"]["context"] == 200_000 && model["cost"]["output"] == 15, "{model}");
    ensure_fields(
        &worker.registered,
        &[
            ("success", "bool"),
            ("worker", "object"),
            ("registration", "int"),
            ("lease_ms", "int"),
            ("wait_ms", "int"),
            ("codebases", "array"),
        ],
    )?;
    ensure!(worker.registered["lease_ms"] == 900_000, "the lease of a plain worker is {}", worker.registered["lease_ms"]);
    http.get("/v1/opencode/workers/nobody").await?.refused(404, "not_found").map(drop)
}

async fn a_registration_names_every_bad_field(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let fields = async |body: &Value| -> Result<Vec<String>> {
        let error = http.post("/v1/opencode/workers/register", body).await?.refused(422, "invalid")?;
        items(&error["details"]["fields"])?.iter().map(|field| Ok(text(field, "field")?.to_owned())).collect()
    };
    let mut wrong_types = fields(&json!({ "worker_id": 1, "name": [], "slots": "two", "models": [{ "id": 3 }] })).await?;
    wrong_types.sort();
    ensure!(wrong_types == ["models[0].id", "name", "slots", "worker_id"], "{wrong_types:?}");
    let wrong_values = json!({
        "worker_id": "a b", "name": " ", "slots": 0, "protocol_version": 1, "models": [{ "id": "no-provider" }],
        "codebases": [{ "name": "", "path": "relative", "parallel": 0 }],
    });
    let expected =
        ["worker_id", "name", "slots", "instance", "models[0].id", "codebases[0].name", "codebases[0].path", "codebases[0].parallel"];
    ensure!(fields(&wrong_values).await? == expected, "{:?}", fields(&wrong_values).await?);
    ensure!(fields(&json!({})).await? == ["worker_id", "name"], "{:?}", fields(&json!({})).await?);
    Ok(())
}

async fn a_global_codebase_of_another_worker_is_refused(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let owner = PlainWorker::start(&http, "owner", &[]).await?;
    for id in [owner.global["id"].clone(), json!("no-such-codebase")] {
        let body = json!({ "worker_id": "thief", "name": "thief", "global_codebase_id": id });
        let error = http.post("/v1/opencode/workers/register", &body).await?.refused(422, "invalid")?;
        ensure!(error["details"]["fields"][0]["field"] == "global_codebase_id", "{error}");
    }
    http.get("/v1/opencode/workers/thief").await?.refused(404, "not_found").map(drop)
}

async fn a_worker_without_a_home_gets_one(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let body = json!({ "worker_id": "homeless", "name": "homeless", "capabilities": [], "models": [] });
    let registered = http.post("/v1/opencode/workers/register", &body).await?.ok()?;
    let global = text(&registered["worker"], "global_codebase_id")?;
    let codebase = http.get(&format!("/v1/opencode/codebases/{global}")).await?.ok()?;
    ensure!(codebase["is_global"] == true && codebase["worker_id"] == "homeless" && codebase["path"] == "~", "{codebase}");
    http.delete(&format!("/v1/opencode/codebases/{global}")).await?.refused(409, "conflict").map(drop)
}

async fn the_list_of_workers_is_filtered(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    Puller::register(server.client(), "alpha", json!({ "labels": { "zone": "eu", "gpu": "" }, "hostname": "Box-1" })).await?;
    Puller::register(server.client(), "beta", json!({ "labels": { "zone": "us" }, "capabilities": [], "models": [] })).await?;
    let list = async |query: &str| -> Result<Vec<String>> {
        let listed = http.get(&format!("/v1/opencode/workers{query}")).await?.ok()?;
        items(&listed)?.iter().map(|worker| Ok(text(worker, "name")?.to_owned())).collect()
    };
    for (query, expected) in [
        ("", &["alpha", "beta"][..]),
        ("?status=active", &["alpha", "beta"]),
        ("?status=offline", &[]),
        ("?capability=opencode", &["alpha"]),
        ("?model=fake/echo", &["alpha"]),
        ("?label=zone", &["alpha", "beta"]),
        ("?label=zone%3Deu", &["alpha"]),
        ("?label=gpu", &["alpha"]),
        ("?q=BOX", &["alpha"]),
        ("?q=bet", &["beta"]),
        ("?label=zone%3Dus&capability=opencode", &[]),
    ] {
        ensure!(list(query).await? == expected, "{query}: {:?}", list(query).await?);
    }
    Ok(())
}

async fn a_heartbeat_is_answered(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "beating", &[]).await?;
    let answer = http.send(http.request(reqwest::Method::POST, "/v1/opencode/workers/beating/heartbeat")).await?.ok()?;
    ensure!(answer["success"] == true, "{answer}");
    http.post("/v1/opencode/workers/nobody/heartbeat", &json!({})).await?.refused(404, "not_found").map(drop)
}

async fn what_an_unregistered_worker_ran_is_lost(cx: &Cx) -> Result<()> {
    let (http, client) = (SERVER.http(cx).await?, SERVER.get(cx).await?.client());
    let worker = Puller::register(client, "leaver", json!({ "codebases": [{ "name": "left-behind", "path": "/srv/left" }] })).await?;
    let submit = async |on_lost: &str| {
        let body = json!({ "prompt": "x", "target": { "worker": "leaver" }, "on_lost": on_lost });
        http.post("/v1/opencode/tasks", &body).await?.ok()
    };
    let (started, waiting) = (submit("wait").await?, submit("wait").await?);
    let given = worker.take().await?;
    worker.start(&given, "ses_left").await?;
    let answer = http.post("/v1/opencode/workers/leaver/unregister", &json!({})).await?.ok()?;
    ensure!(answer["success"] == true && !text(&answer, "message")?.is_empty(), "{answer}");
    let task = async |task: &Value| http.get(&format!("/v1/opencode/tasks/{}", text(task, "id")?)).await?.ok();
    let lost = task(&started).await?;
    ensure!(lost["status"] == "failed" && lost["error_code"] == "worker_lost" && lost["session_id"] == "ses_left", "{lost}");
    ensure!(text(&lost, "error")?.contains("leaver"), "{lost}");
    ensure!(task(&waiting).await?["status"] == "pending", "{}", task(&waiting).await?);
    let shown = http.get("/v1/opencode/workers/leaver").await?.ok()?;
    ensure!(shown["status"] == "offline" && shown["running"] == 0, "{shown}");
    let codebases = http.get("/v1/opencode/codebases?worker_id=leaver").await?.ok()?;
    ensure!(items(&codebases)?.iter().all(|codebase| codebase["status"] == "offline"), "{codebases}");
    // It comes back as it was, and takes what waits for it.
    let back = Puller::register(client, "leaver", json!({})).await?;
    ensure!(back.take().await?.task.id.to_string() == text(&waiting, "id")?, "another task");
    http.post("/v1/opencode/workers/nobody/unregister", &json!({})).await?.refused(404, "not_found").map(drop)
}

async fn models_are_one_row_each_with_their_workers(cx: &Cx) -> Result<()> {
    models(&Server::start(cx).await?).await
}

async fn models_are_one_row_each_with_their_workers_on_postgresql(cx: &Cx) -> Result<()> {
    models(&on_postgres(cx).await?).await
}

async fn on_postgres(cx: &Cx) -> Result<Server> {
    let url = crate::support::Postgres::fresh_database().await?;
    Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), url]).launch().await
}

async fn models(server: &Server) -> Result<()> {
    let (http, client) = (Http::new(server), server.client());
    let model = |id: &str| json!({ "id": id, "name": format!("Name of {id}"), "provider": "P", "provider_id": id.split('/').next(), "limits": { "context": 1 } });
    Puller::register(client, "one", json!({ "models": [model("p/a"), model("p/b")], "default_model": "p/a" })).await?;
    let two = Puller::register(client, "two", json!({ "models": [model("p/b"), model("q/c")], "default_model": "p/a" })).await?;
    let list = async |query: &str| http.get(&format!("/v1/opencode/models{query}")).await?.ok();
    let rows = |listed: &Value| -> Result<Vec<(String, Value)>> {
        items(&listed["models"])?.iter().map(|row| Ok((text(row, "id")?.to_owned(), row["workers"].clone()))).collect()
    };
    let all = list("").await?;
    ensure!(
        rows(&all)? == [("p/a".into(), json!(["one"])), ("p/b".into(), json!(["one", "two"])), ("q/c".into(), json!(["two"]))],
        "{all}"
    );
    ensure_fields(
        &all["models"][0],
        &[
            ("id", "string"),
            ("name", "string"),
            ("provider", "string"),
            ("provider_id", "string"),
            ("capabilities", "object"),
            ("limits", "object"),
            ("workers", "array"),
        ],
    )?;
    ensure!(all["default"] == "p/a", "the default is {}", all["default"]);
    ensure!(rows(&list("?provider=q").await?)?.len() == 1, "{}", list("?provider=q").await?);
    ensure!(rows(&list("?q=NAME%20OF%20p/B").await?)?.len() == 1, "{}", list("?q=NAME%20OF%20p/B").await?);
    ensure!(
        rows(&list("?worker=two").await?)? == [("p/b".into(), json!(["two"])), ("q/c".into(), json!(["two"]))],
        "{}",
        list("?worker=two").await?
    );
    // Workers that do not agree have no default together, and one that left has no models.
    Puller::register(client, "three", json!({ "models": [model("q/c")], "default_model": "q/c" })).await?;
    ensure!(list("").await?["default"].is_null(), "the default is {}", list("").await?["default"]);
    client.unregister(two.id()).await?;
    ensure!(rows(&list("").await?)?.iter().all(|(_, workers)| workers != &json!(["two"])), "{}", list("").await?);
    // A model that is nowhere is a mistake, told at once with what there is.
    let error = http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "model": "p/none" })).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "model" && text(&error, "message")?.contains("p/a"), "{error}");
    Ok(())
}

async fn the_status_counts_what_there_is(cx: &Cx) -> Result<()> {
    status(&Server::start(cx).await?, "sqlite").await
}

async fn the_status_counts_what_there_is_on_postgresql(cx: &Cx) -> Result<()> {
    status(&on_postgres(cx).await?, "postgres").await
}

async fn status(server: &Server, database: &str) -> Result<()> {
    let (http, client) = (Http::new(server), server.client());
    let status = async || http.get("/v1/opencode/status").await?.ok();
    let empty = status().await?;
    ensure_fields(
        &empty,
        &[
            ("available", "bool"),
            ("message", "string"),
            ("name", "string"),
            ("server_id", "string"),
            ("version", "string"),
            ("database", "string"),
            ("workers", "object"),
            ("codebases", "int"),
            ("models", "int"),
            ("tasks", "object"),
            ("events", "int"),
            ("uptime_s", "int"),
        ],
    )?;
    ensure!(empty["available"] == false && empty["database"] == database, "{empty}");
    let worker = Puller::register(client, "counted", json!({ "codebases": [{ "name": "app", "path": "/srv/app" }], "slots": 1 })).await?;
    Puller::register(client, "bare", json!({ "capabilities": [], "models": [] })).await?;
    let submit = async || http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": { "worker": "counted" } })).await?.ok();
    for _ in 0..4 {
        submit().await?;
    }
    worker.run(&worker.take().await?, &[]).await?;
    worker.take().await?;
    let last = submit().await?;
    http.post(&format!("/v1/opencode/tasks/{}/cancel", text(&last, "id")?), &json!({})).await?.ok()?;
    let full = status().await?;
    ensure!(full["available"] == true && full["models"] == 1 && full["codebases"] == 3, "{full}");
    ensure!(full["workers"] == json!({ "active": 2, "draining": 0, "offline": 0, "stale": 0 }), "{full}");
    let tasks = json!({ "pending": 2, "running": 1, "waiting": 0, "completed": 1, "failed": 0, "cancelled": 1 });
    ensure!(full["tasks"] == tasks, "{full}");
    let events = http.get("/v1/events").await?.ok()?;
    ensure!(full["events"] == items(&events)?.len(), "{} events are counted, {} are there", full["events"], items(&events)?.len());
    let shown = http.get("/v1/opencode/workers/counted").await?.ok()?;
    ensure!(shown["running"] == 1, "{shown}");
    let pulled = worker.pull(&[], Duration::ZERO).await?;
    ensure!(pulled.assign.len() == 1, "what it did not name is not sent again: {pulled:?}");
    for path in ["/healthz", "/readyz"] {
        ensure!(http.get(path).await?.ok()? == json!({ "status": "ok" }), "{path}");
    }
    let metrics = http.get("/metrics").await?;
    ensure!(metrics.status == 200 && metrics.text.contains("muster_http_requests_total"), "{}", metrics.text);
    Ok(())
}
