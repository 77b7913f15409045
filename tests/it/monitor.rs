//! The earlier system's monitor: what its dashboards and scripts ask, in their words.

use crate::support::{Cx, Http, PlainWorker, Postgres, Server, Shared, Sse, cases, ensure_fields, items, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        events_are_told_as_messages,
        messages_come_in_pages_and_in_the_order_that_is_asked_for,
        an_export_holds_every_message,
        a_formula_in_a_title_is_none_in_the_export,
        the_stream_of_messages_goes_on_where_a_viewer_was,
        an_intervention_is_the_next_turn_of_what_runs,
        an_intervention_reaches_an_idle_worker_and_an_agent,
        an_intervention_to_nobody_names_who_there_is;
    [Postgres] => events_are_told_as_messages_on_postgresql, messages_come_in_pages_on_postgresql;
}

static SERVER: Shared = Shared::embedded("monitor", "");

const MESSAGE: [(&str, &str); 9] = [
    ("id", "string"),
    ("timestamp", "time"),
    ("type", "string"),
    ("agent_name", "string"),
    ("content", "string"),
    ("metadata", "object"),
    ("response_time", "number|null"),
    ("tokens", "int|null"),
    ("error", "string|null"),
];

/// A worker with one task that ended well and one that failed.
async fn some_work(http: &Http, name: &str) -> Result<PlainWorker> {
    let worker = PlainWorker::start(http, name, &[]).await?;
    for (title, status, more) in
        [("went well", "completed", json!({ "result": "ok" })), ("went wrong", "failed", json!({ "error": "no luck" }))]
    {
        let body = json!({ "prompt": "x", "title": format!("{title} on {name}"), "target": { "worker": name } });
        http.post("/v1/opencode/tasks", &body).await?.ok()?;
        let task = worker.poll().await?.context("nothing is shown")?;
        worker.report(&task, "running", json!({})).await?.ok()?;
        worker.report(&task, status, more).await?.ok()?;
    }
    Ok(worker)
}

async fn events_are_told_as_messages(cx: &Cx) -> Result<()> {
    told(&Http::new(&Server::start(cx).await?)).await
}

async fn events_are_told_as_messages_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    let server = server.launch().await?;
    told(&Http::new(&server)).await
}

async fn told(http: &Http) -> Result<()> {
    some_work(http, "alice").await?;
    let messages = http.get("/v1/monitor/messages").await?.ok()?;
    let events = http.get("/v1/events").await?.ok()?;
    ensure!(items(&messages)?.len() == items(&events)?.len(), "{} messages of {} events", items(&messages)?.len(), items(&events)?.len());
    for message in items(&messages)? {
        ensure_fields(message, &MESSAGE)?;
        ensure!(message["metadata"].as_object().is_some_and(|all| all.values().all(Value::is_string)), "{message}");
    }
    let failed = items(&messages)?.iter().find(|message| message["metadata"]["event"] == "task.failed").context("no failure")?;
    ensure!(failed["type"] == "agent" && failed["agent_name"] == "alice" && failed["error"] == "no luck", "{failed}");
    ensure!(failed["content"] == "Task 'went wrong on alice' failed on alice: no luck" && failed["response_time"].is_number(), "{failed}");

    for (kind, some) in [("agent", 4), ("human", 2), ("tool", 0), ("error", 0)] {
        let only = http.get(&format!("/v1/monitor/messages?type={kind}")).await?.ok()?;
        ensure!(items(&only)?.iter().all(|message| message["type"] == kind) && items(&only)?.len() == some, "{kind}: {only}");
        let count = http.get(&format!("/v1/monitor/messages/count?type={kind}")).await?.ok()?;
        ensure!(count == json!({ "total": some, "type_filter": kind }), "{count}");
    }
    let system = http.get("/v1/monitor/messages?type=system").await?.ok()?;
    let count = http.get("/v1/monitor/messages/count").await?.ok()?;
    ensure!(count == json!({ "total": items(&system)?.len() + 6, "type_filter": null }), "{count}");

    for (q, wanted) in [("NO%20LUCK", 1), ("went%20well", 4), ("nothing-of-the-kind", 0)] {
        let found = http.get(&format!("/v1/monitor/messages/search?q={q}&limit=100")).await?.ok()?;
        ensure_fields(&found, &[("query", "string"), ("results", "array"), ("count", "int")])?;
        ensure!(found["count"] == wanted && items(&found["results"])?.len() == wanted, "{q}: {found}");
    }
    http.get("/v1/monitor/messages/search").await?.refused(400, "bad_request")?;

    let agents = http.get("/v1/monitor/agents").await?.ok()?;
    for agent in items(&agents)? {
        let fields = [("id", "string"), ("name", "string"), ("status", "string"), ("messages_count", "int"), ("last_seen", "time")];
        ensure_fields(agent, &fields)?;
    }
    let alice = items(&agents)?.iter().find(|agent| agent["id"] == "alice").context("no alice")?;
    ensure!(alice["name"] == "alice" && alice["status"] == "active" && alice["messages_count"].as_u64() > Some(6), "{alice}");

    let stats = http.get("/v1/monitor/stats").await?.ok()?;
    ensure_fields(
        &stats,
        &[
            ("total_messages", "int"),
            ("tool_calls", "int"),
            ("errors", "int"),
            ("tokens", "int"),
            ("avg_response_time", "number"),
            ("active_agents", "int"),
            ("interventions", "int"),
        ],
    )?;
    let there = items(&agents)?.len();
    ensure!(stats["errors"] == 1 && stats["active_agents"] == there && stats["total_messages"] == items(&messages)?.len(), "{stats}");
    Ok(())
}

async fn messages_come_in_pages_and_in_the_order_that_is_asked_for(cx: &Cx) -> Result<()> {
    pages(&Http::new(&Server::start(cx).await?)).await
}

async fn messages_come_in_pages_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    let server = server.launch().await?;
    pages(&Http::new(&server)).await
}

fn sequences(messages: &Value) -> Result<Vec<u64>> {
    items(messages)?.iter().map(|message| Ok(text(&message["metadata"], "sequence")?.parse()?)).collect()
}

async fn pages(http: &Http) -> Result<()> {
    some_work(http, "pages").await?;
    let all = sequences(&http.get("/v1/monitor/messages").await?.ok()?)?;
    ensure!(all.len() > 7 && all.is_sorted(), "{all:?}");
    // The dashboard turns these around by itself.
    let newest = sequences(&http.get("/v1/monitor/messages?limit=500&use_cache=false").await?.ok()?)?;
    ensure!(newest.iter().rev().eq(all.iter()), "{newest:?}");
    let last = sequences(&http.get("/v1/monitor/messages?limit=2").await?.ok()?)?;
    ensure!(last == all[all.len() - 2..], "{last:?}");
    let (mut seen, mut next) = (Vec::new(), "/v1/monitor/messages?limit=3&use_cache=false".to_owned());
    loop {
        let answer = http.get(&next).await?;
        seen.extend(sequences(&answer.ok()?)?);
        let Some(cursor) = answer.header("x-next-cursor") else { break };
        ensure!(
            answer.header("link").is_some_and(|link| link.contains(cursor) && link.contains("use_cache=false")),
            "{:?}",
            answer.headers
        );
        next = format!("/v1/monitor/messages?limit=3&use_cache=false&cursor={cursor}");
    }
    ensure!(seen == newest, "by pages: {seen:?}");
    http.get("/v1/monitor/messages?use_cache=perhaps").await?.refused(400, "bad_request").map(drop)
}

async fn an_export_holds_every_message(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let worker = some_work(&http, "exported").await?;
    // More than one chunk.
    for n in 0..80 {
        http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "title": format!("n{n}"), "target": { "worker": "exported" } }))
            .await?
            .ok()?;
        let task = worker.poll().await?.context("nothing is shown")?;
        worker.run(&task, &[]).await?;
    }
    let total = items(&http.get("/v1/events?limit=1000").await?.ok()?)?.len();
    ensure!(total > 300, "only {total} events");
    let export = http.get("/v1/monitor/export/json?all_messages=true").await?.ok()?;
    ensure_fields(
        &export,
        &[("export_date", "time"), ("message_count", "int"), ("total_in_database", "int"), ("stats", "object"), ("messages", "array")],
    )?;
    ensure!(
        export["message_count"] == total && export["total_in_database"] == total && items(&export["messages"])?.len() == total,
        "{total}"
    );
    for message in items(&export["messages"])? {
        ensure_fields(message, &MESSAGE)?;
    }
    let newest = sequences(&export["messages"])?;
    ensure!(newest.iter().rev().is_sorted() && newest.last() == Some(&1), "the order is another");
    let few = http.get("/v1/monitor/export/json?limit=5&all_messages=false").await?.ok()?;
    ensure!(few["message_count"] == 5 && few["total_in_database"] == total && sequences(&few["messages"])? == newest[..5], "{few}");

    let csv = http.get("/v1/monitor/export/csv?all_messages=True").await?;
    ensure!(csv.status == 200 && csv.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{:?}", csv.headers);
    ensure!(csv.header("content-disposition").is_some_and(|name| name.starts_with("attachment; filename=")), "{:?}", csv.headers);
    let mut lines = csv.text.lines();
    ensure!(lines.next() == Some("Timestamp,Type,Agent,Content,Response Time,Tokens,Error"), "{}", &csv.text[..80]);
    ensure!(lines.clone().count() == total && lines.all(|line| line.matches("\",\"").count() == 6), "{}", &csv.text[..400]);
    Ok(())
}

async fn a_formula_in_a_title_is_none_in_the_export(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "=cmd()", &[]).await?;
    let worker = PlainWorker::start(&http, "formula", &[]).await?;
    http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "title": "a \"b\",\nc", "target": { "worker": "formula" } })).await?.ok()?;
    let task = worker.poll().await?.context("nothing is shown")?;
    worker.report(&task, "running", json!({})).await?.ok()?;
    worker.report(&task, "failed", json!({ "error": "=HYPERLINK(\"http://x\")" })).await?.ok()?;
    let csv = http.get("/v1/monitor/export/csv").await?.text;
    ensure!(csv.contains("\"'=HYPERLINK(\"\"http://x\"\")\""), "{csv}");
    ensure!(csv.contains("Task 'a \"\"b\"\",\nc' failed"), "{csv}");
    ensure!(!csv.contains("\"=") && !csv.contains("\n="), "a cell begins a formula: {csv}");
    Ok(())
}

async fn the_stream_of_messages_goes_on_where_a_viewer_was(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let mut live = Sse::open(&http, "/v1/monitor/stream", None).await?;
    let hello = live.expect().await?;
    ensure!(
        hello.event.is_empty() && hello.id.is_none() && hello.data["type"] == "connected" && hello.data["timestamp"].is_string(),
        "{hello:?}"
    );
    some_work(&http, "followed").await?;
    let (mut told, mut statuses) = (Vec::new(), Vec::new());
    while told.last().is_none_or(|sent: &crate::support::Sent| sent.data["metadata"]["event"] != "task.failed") {
        let sent = live.expect().await?;
        match sent.event.as_str() {
            "message" => told.push(sent),
            "agent_status" => statuses.push(sent),
            other => anyhow::bail!("an event `{other}`"),
        }
    }
    for sent in &told {
        ensure_fields(&sent.data, &MESSAGE)?;
        ensure!(sent.id.map(|id| id.to_string()).as_deref() == sent.data["metadata"]["sequence"].as_str(), "{sent:?}");
    }
    let status = statuses.first().context("no status")?;
    ensure_fields(&status.data, &[("agent_id", "string"), ("name", "string"), ("status", "string"), ("messages_count", "int")])?;
    ensure!(status.data["agent_id"] == "followed" && status.data["status"] == "active", "{status:?}");
    let mut again = Sse::open(&http, "/v1/monitor/stream", told[told.len() - 3].id).await?;
    again.expect().await?;
    for sent in &told[told.len() - 2..] {
        ensure!(again.expect().await? == *sent, "it goes on elsewhere");
    }
    Ok(())
}

async fn intervene(http: &Http, agent: &str, message: &str) -> Result<Value> {
    let body = json!({ "agent_id": agent, "message": message, "timestamp": "2026-11-22T12:30:00.000Z" });
    let answer = http.post("/v1/monitor/intervene", &body).await?.ok()?;
    ensure!(answer["success"] == true, "{answer}");
    let done = answer["intervention"].clone();
    ensure_fields(&done, &[("agent_id", "string"), ("message", "string"), ("timestamp", "time"), ("task_id", "string")])?;
    ensure!(done["agent_id"] == agent && done["message"] == message, "{done}");
    Ok(done)
}

async fn an_intervention_is_the_next_turn_of_what_runs(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "busy-one", &[]).await?;
    http.post("/v1/opencode/tasks", &json!({ "prompt": "first", "target": { "worker": "busy-one" } })).await?.ok()?;
    let first = worker.poll().await?.context("nothing is shown")?;
    worker.report(&first, "running", json!({ "session_id": "ses_busy" })).await?.ok()?;
    let before = http.get("/v1/monitor/stats").await?.ok()?["interventions"].as_u64().context("no count")?;
    let by_task = intervene(&http, text(&first, "id")?, "by its task").await?;
    let by_worker = intervene(&http, "busy-one", "by its worker").await?;
    for done in [&by_task, &by_worker] {
        ensure!(done["continues"] == first["id"], "{done}");
        let task = http.get(&format!("/v1/opencode/tasks/{}", text(done, "task_id")?)).await?.ok()?;
        ensure!(task["context_id"] == first["context_id"] && task["status"] == "pending" && task["prompt"] == done["message"], "{task}");
    }
    worker.report(&first, "completed", json!({ "result": "x" })).await?.ok()?;
    // Each reaches the session that it speaks to.
    for done in [&by_task, &by_worker] {
        let next = worker.poll().await?.context("the next turn is not shown")?;
        ensure!(next["id"] == done["task_id"] && next["metadata"]["resume_session_id"] == "ses_busy", "{next}");
        worker.report(&next, "running", json!({ "session_id": "ses_busy" })).await?.ok()?;
        worker.report(&next, "completed", json!({ "result": "x" })).await?.ok()?;
    }
    let after = http.get("/v1/monitor/stats").await?.ok()?["interventions"].as_u64().context("no count")?;
    ensure!(after >= before + 2, "{before} interventions, then {after}");
    let found = http.get("/v1/monitor/messages/search?q=by%20its%20worker").await?.ok()?;
    let told = items(&found["results"])?.iter().find(|m| m["metadata"]["intervention"] == "true").context("it is not told")?;
    ensure!(told["type"] == "human" && told["agent_name"] == "Human Operator", "{told}");
    ensure!(told["content"] == "Intervention to busy-one: by its worker", "{told}");
    Ok(())
}

async fn an_intervention_reaches_an_idle_worker_and_an_agent(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "idle-one", &[]).await?;
    let done = intervene(&http, "idle-one", "say something").await?;
    ensure!(done["continues"].is_null(), "{done}");
    let task = worker.poll().await?.context("nothing is shown")?;
    ensure!(task["id"] == done["task_id"] && task["prompt"] == "say something", "{task}");
    worker.run(&task, &[]).await?;
    let done = intervene(&http, "monitor", "status").await?;
    let task = http.get(&format!("/v1/opencode/tasks/{}", text(&done, "task_id")?)).await?.ok()?;
    ensure!(task["status"] == "completed" && text(&task, "result")?.contains("workers"), "{task}");
    Ok(())
}

async fn an_intervention_to_nobody_names_who_there_is(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    PlainWorker::start(&http, "somebody", &[]).await?;
    let error = http.post("/v1/monitor/intervene", &json!({ "agent_id": "nobody", "message": "x" })).await?.refused(404, "not_found")?;
    ensure!(text(&error, "message")?.contains("Monitor-") && text(&error, "message")?.contains("nobody"), "{error}");
    let error = http.post("/v1/monitor/intervene", &json!({ "agent_id": "somebody", "message": "  " })).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "message", "{error}");
    http.post("/v1/monitor/intervene", &json!({ "message": "x" })).await?.refused(422, "invalid").map(drop)
}
