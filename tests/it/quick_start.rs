//! The messages of the quick start, as its curls send them: relaxed JSON-RPC at `POST /`, answered from what there really is.

use crate::support::{Cx, Http, Postgres, Puller, Server, cases, ensure_fields, items, text, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

cases! {
    [] =>
        hello_is_answered_by_the_default_agent,
        coordinate_gives_work_to_the_worker_agents,
        a_status_report_counts_what_the_database_has,
        an_unknown_agent_is_told,
        a_message_to_a_worker_is_run_there,
        the_same_context_goes_on_in_its_conversation,
        the_default_agent_gives_work_to_a_machine,
        data_is_looked_at;
    [Postgres] => a_status_report_counts_what_the_database_has_on_postgresql;
}

/// Sends a message as the curls do; answers `result`.
async fn say(http: &Http, message: Value) -> Result<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let answer = http.post("/", &body).await?.ok()?;
    ensure!(answer["jsonrpc"] == "2.0" && answer["id"] == 1 && answer.get("error").is_none(), "{answer}");
    let result = &answer["result"];
    // What those clients read.
    ensure_fields(&result["task"], &[("id", "string"), ("contextId", "string"), ("status", "object")])?;
    ensure_fields(&result["task"]["status"], &[("state", "string")])?;
    ensure_fields(&result["message"], &[("role", "string"), ("parts", "array")])?;
    ensure_fields(&result["message"]["parts"][0], &[("type", "string"), ("content", "string")])?;
    ensure!(result["message"]["role"] == "agent" && result["message"]["parts"][0]["type"] == "text", "{result}");
    Ok(result.clone())
}

fn parts(content: &str) -> Value {
    json!([{ "type": "text", "content": content }])
}

fn answer(result: &Value) -> Result<&str> {
    text(&result["message"]["parts"][0], "content")
}

async fn named(cx: &Cx) -> Result<Server> {
    Server::new(cx.dir(), "server")?.with_args(["--name", "Server-A"]).launch().await
}

async fn hello_is_answered_by_the_default_agent(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let result = say(&http, json!({ "parts": parts("Hello Server-A") })).await?;
    ensure!(result["message"]["metadata"]["agent"] == "Worker-A-Server-A", "{result}");
    let said = answer(&result)?;
    ensure!(said.contains("no machine") && said.contains("2 words") && said.contains("14 characters"), "it says {said}");
    ensure!(result["task"]["status"]["state"] == "completed", "{result}");
    // It is a task like any other.
    let task = http.get(&format!("/v1/opencode/tasks/{}", text(&result["task"], "id")?)).await?.ok()?;
    ensure!(task["prompt"] == "Hello Server-A" && task["result"] == said && task["status"] == "completed", "{task}");
    // The curls' other spelling.
    let other = say(&http, json!({ "role": "user", "parts": [{ "kind": "text", "text": "Hello Server-A" }] })).await?;
    ensure!(answer(&other)? == said, "{other}");
    // Without an id it is answered all the same, and through curl's own content type refused.
    let body = json!({ "jsonrpc": "2.0", "method": "message/send", "params": { "message": { "parts": parts("Hello") } } });
    ensure!(http.post("/", &body).await?.ok()?["result"]["task"]["id"].is_string(), "no answer without an id");
    Ok(())
}

async fn coordinate_gives_work_to_the_worker_agents(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let result = say(&http, json!({ "parts": parts("coordinate distributed analytics task") })).await?;
    ensure!(result["message"]["metadata"]["agent"] == "Coordinator-Server-A", "{result}");
    let said = answer(&result)?;
    for wanted in ["2 parts, 2 completed", "Worker-A-Server-A", "Worker-B-Server-A", "no machine", "3 words"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    Ok(())
}

async fn a_status_report_counts_what_the_database_has(cx: &Cx) -> Result<()> {
    status_report(&named(cx).await?).await
}

async fn a_status_report_counts_what_the_database_has_on_postgresql(cx: &Cx) -> Result<()> {
    let url = Postgres::fresh_database().await?;
    let server = Server::new(cx.dir(), "server")?.with_args(["--name", "Server-A", "--database-url", &url]);
    status_report(&server.launch().await?).await
}

async fn status_report(server: &Server) -> Result<()> {
    let http = Http::new(server);
    let worker = Puller::register(server.client(), "machine", json!({ "slots": 1 })).await?;
    for _ in 0..5 {
        http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": { "worker": "machine" } })).await?.ok()?;
    }
    for _ in 0..2 {
        worker.run(&worker.take().await?, &["x"]).await?;
    }
    worker.take().await?;
    let result = say(&http, json!({ "parts": parts("status report") })).await?;
    ensure!(result["message"]["metadata"]["agent"] == "Monitor-Server-A", "{result}");
    let said = answer(&result)?;
    ensure!(said.contains("tasks: 2 completed, 2 pending, 1 running"), "it says {said}");
    ensure!(said.contains("workers: 1 active") && said.contains("connected peers: none"), "it says {said}");
    // The events that were there when it answered: those before the answer's own two.
    let events = http.get("/v1/events").await?.ok()?;
    let events = items(&events)?;
    let own = format!("tasks/{}", text(&result["task"], "id")?);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event["subject"] != own) {
        *counts.entry(text(event, "type")?).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let each: Vec<_> = counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let expected = format!("events logged: {total} ({})", each.join(", "));
    ensure!(said.contains(&expected), "{expected:?} is not in {said}");
    Ok(())
}

async fn an_unknown_agent_is_told(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let message = json!({ "parts": parts("Hello"), "metadata": { "agent": "nobody" } });
    let body = json!({ "jsonrpc": "2.0", "id": "q", "method": "message/send", "params": { "message": message } });
    let answer = http.post("/", &body).await?.ok()?;
    ensure!(answer["error"]["code"] == -32602 && answer["id"] == "q", "{answer}");
    ensure!(text(&answer["error"], "message")?.contains("nobody"), "{answer}");
    Ok(())
}

/// What the machine is to be asked for, and what comes back.
async fn ask_and_run(http: &Http, worker: &Puller, message: Value, said: &str) -> Result<(Value, muster_protocol::task::Assignment)> {
    let (result, given) = tokio::try_join!(say(http, message), async {
        let given = worker.take().await?;
        worker.run(&given, &[said]).await?;
        Ok(given)
    })?;
    Ok((result, given))
}

async fn a_message_to_a_worker_is_run_there(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let worker = Puller::register(server.client(), "laptop", json!({})).await?;
    let message = json!({ "parts": parts("what is here?"), "metadata": { "agent": "laptop" } });
    let (result, given) = ask_and_run(&http, &worker, message, "a lot").await?;
    ensure!(answer(&result)? == "a lot" && result["message"]["metadata"]["agent"] == "laptop", "{result}");
    ensure!(given.task.prompt == "what is here?" && given.codebase.is_some_and(|codebase| codebase.is_global), "not in its home");
    ensure!(result["task"]["status"]["state"] == "completed" && result["task"]["id"] == given.task.id.to_string(), "{result}");
    Ok(())
}

async fn the_same_context_goes_on_in_its_conversation(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let worker = Puller::register(server.client(), "laptop", json!({})).await?;
    let first = json!({ "parts": parts("remember 7"), "metadata": { "agent": "laptop" } });
    let (first, given) = ask_and_run(&http, &worker, first, "I do").await?;
    ensure!(given.session_id.is_none(), "a new conversation has a session");
    let context = text(&first["task"], "contextId")?;
    let second = json!({ "parts": parts("what was it?"), "contextId": context, "metadata": { "agent": "laptop" } });
    let (second, given) = ask_and_run(&http, &worker, second, "7").await?;
    ensure!(second["task"]["contextId"] == context && second["message"]["contextId"] == context, "{second}");
    ensure!(given.session_id.is_some(), "the second turn begins a new session");
    Ok(())
}

async fn the_default_agent_gives_work_to_a_machine(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let worker = Puller::register(server.client(), "laptop", json!({})).await?;
    let (result, given) = ask_and_run(&http, &worker, json!({ "parts": parts("count the files") }), "12").await?;
    ensure!(answer(&result)? == "12" && result["message"]["metadata"]["agent"] == "Worker-A-Server-A", "{result}");
    ensure!(
        given.task.prompt.ends_with("count the files") && given.task.prompt.len() > 20,
        "without its instructions: {}",
        given.task.prompt
    );
    // The caller that goes away loses nothing: the task is there to be asked for.
    let lonely = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": { "parts": parts("gone") } } });
    let request = http.request(reqwest::Method::POST, "/").json(&lonely).timeout(Duration::from_millis(200));
    ensure!(request.send().await.is_err(), "it was answered although nobody works");
    let limit = Duration::from_secs(10);
    let task = wait_for("the task", limit, async || Ok(http.get("/v1/opencode/tasks?q=gone").await?.ok()?.get(0).cloned())).await?;
    worker.run(&worker.take().await?, &["still here"]).await?;
    let task = http.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?.ok()?;
    ensure!(task["result"] == "still here", "{task}");
    Ok(())
}

async fn data_is_looked_at(cx: &Cx) -> Result<()> {
    let server = named(cx).await?;
    let http = Http::new(&server);
    let message = json!({ "parts": [{ "type": "data", "data": [1, 2, 3.5] }, { "data": { "a": 1 } }] });
    let result = say(&http, message).await?;
    let said = answer(&result)?;
    ensure!(
        said.contains("an array of 3 items") && said.contains("sum 6.5") && said.contains("an object with 1 keys (a)"),
        "it says {said}"
    );
    let by_name = json!({ "parts": parts("1 2 3"), "metadata": { "agent": "analytics" } });
    let result = say(&http, by_name).await?;
    ensure!(result["message"]["metadata"]["agent"] == "Worker-B-Server-A", "{result}");
    answer(&result)?.find("sum 6").context("the numbers are not summed").map(drop)
}
