//! The event log over HTTP: pages and the stream, filters, and going on after a place.

use crate::support::{Cx, Http, Postgres, Puller, Server, Sse, cases, ensure_fields, items, text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

cases! {
    [] => the_log_is_read_in_pages_and_followed, a_stream_of_one_subject_tells_nothing_else;
    [Postgres] => the_log_is_read_in_pages_and_followed_on_postgresql;
}

async fn the_log_is_read_in_pages_and_followed(cx: &Cx) -> Result<()> {
    log(&Server::start(cx).await?).await
}

async fn the_log_is_read_in_pages_and_followed_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    log(&server.launch().await?).await
}

async fn run_one(server: &Server, worker: &Puller) -> Result<Value> {
    let body = json!({ "prompt": "x", "target": { "worker": worker.id() } });
    let task = Http::new(server).post("/v1/opencode/tasks", &body).await?.ok()?;
    worker.run(&worker.take().await?, &["y"]).await?;
    Ok(task)
}

async fn log(server: &Server) -> Result<()> {
    let http = Http::new(server);
    let mut live = Sse::open(&http, "/v1/events", None).await?;
    let worker = Puller::register(server.client(), "events", json!({})).await?;
    let task = run_one(server, &worker).await?;
    let page = http.get("/v1/events").await?.ok()?;
    let events = items(&page)?;
    for (n, event) in (1_u64..).zip(events) {
        ensure_fields(
            event,
            &[
                ("specversion", "string"),
                ("id", "string"),
                ("source", "string"),
                ("type", "string"),
                ("subject", "string"),
                ("time", "time"),
                ("datacontenttype", "string"),
                ("sequence", "int"),
                ("origin", "string"),
                ("epoch", "string"),
            ],
        )?;
        ensure!(event["sequence"] == n, "place {n} is {}", event["sequence"]);
        ensure!(event["specversion"] == "1.0" && event["source"] == format!("/servers/{}", text(event, "origin")?), "{event}");
    }
    let subject = format!("tasks/{}", text(&task, "id")?);
    let of_task: Vec<_> = events.iter().filter(|event| event["subject"] == subject).map(|event| event["type"].clone()).collect();
    ensure!(of_task == ["task.submitted", "task.assigned", "task.started", "task.completed"], "{of_task:?}");
    // The stream tells the same.
    for event in events {
        let sent = live.expect().await?;
        ensure!(sent.data == *event && sent.id == event["sequence"].as_u64() && event["type"] == sent.event, "{sent:?} is not {event}");
    }
    let page = async |query: &str| http.get(&format!("/v1/events?{query}")).await?.ok();
    ensure!(page("type=task.completed").await?.as_array().map(Vec::len) == Some(1), "{}", page("type=task.completed").await?);
    ensure!(page(&format!("subject={subject}&limit=2")).await?.as_array().map(Vec::len) == Some(2), "two");
    ensure!(page("subject=tasks/none").await? == json!([]), "{}", page("subject=tasks/none").await?);
    ensure!(page(&format!("origin={}", text(&events[0], "origin")?)).await?.as_array().map(Vec::len) == Some(events.len()), "its own");
    // Page by page.
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let part = page(&format!("after={after}&limit=3")).await?;
        let Some(last) = items(&part)?.last() else { break };
        after = last["sequence"].as_u64().unwrap_or_default();
        seen.extend(items(&part)?.clone());
    }
    ensure!(seen == *events, "the pages are {seen:?}");
    // After a lost connection.
    let middle = events[events.len() / 2]["sequence"].as_u64();
    let mut again = Sse::open(&http, "/v1/events", middle).await?;
    ensure!(again.expect().await?.id == middle.map(|id| id + 1), "it goes on elsewhere");
    ensure!(page("after=999999999").await? == json!([]), "beyond the head");
    Ok(())
}

async fn a_stream_of_one_subject_tells_nothing_else(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let worker = Puller::register(server.client(), "subject", json!({})).await?;
    let mut of_worker = Sse::open(&http, "/v1/events?subject=workers/subject", None).await?;
    let mut completed = Sse::open(&http, "/v1/events?type=task.completed", None).await?;
    let (first, second) = (run_one(&server, &worker).await?, run_one(&server, &worker).await?);
    server.client().unregister(worker.id()).await?;
    ensure!(of_worker.expect().await?.event == "worker.registered", "not the first of the worker");
    ensure!(of_worker.expect().await?.event == "worker.unregistered", "something else between");
    for task in [first, second] {
        let sent = completed.expect().await?;
        ensure!(sent.event == "task.completed" && sent.data["subject"] == format!("tasks/{}", text(&task, "id")?), "{sent:?}");
    }
    Ok(())
}
