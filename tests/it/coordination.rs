//! Coordination on one server: a message is split into parts, each a task of its own; they run side by side, and the answer says who did what.

mod crashes;

use crate::a2a::caller::{Binding, Caller, message, state};
use crate::support::{Case, Cx, FakeLlm, Http, Postgres, Puller, Server, Worker, cases, items, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn all() -> Vec<Case> {
    cases().into_iter().chain(crashes::cases()).collect()
}

cases! {
    [] =>
        everybody_works_on_what_names_nobody_and_the_answer_says_who_did_what,
        parts_go_to_those_who_are_named_and_run_side_by_side,
        data_says_who_does_what,
        a_plan_that_cannot_be_is_refused_with_the_names_that_there_are,
        a_part_that_fails_is_told_beside_those_that_are_done,
        a_cancel_stops_the_parts_and_waits_for_their_word,
        what_is_missing_at_the_deadline_is_named_and_canceled,
        a_part_whose_machine_is_lost_is_given_up_before_the_deadline,
        the_stream_tells_who_was_given_what_and_who_is_done,
        a_worker_agent_gives_its_part_to_a_machine;
    [Postgres] => everybody_works_on_what_names_nobody_on_postgresql;
    [Opencode, Python] => two_machines_write_two_files_by_one_plan,
        a_machine_that_is_killed_midway_is_the_part_that_is_missing;
}

const LIMIT: Duration = Duration::from_secs(30);

/// A server with a short lease and these lines of configuration.
async fn server(cx: &Cx, settings: &str) -> Result<Server> {
    unstarted(cx, settings)?.launch().await
}

fn unstarted(cx: &Cx, settings: &str) -> Result<Server> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, format!("name = \"Server-A\"\n{settings}\n[leases]\nlease = \"3s\"\nwait = \"1s\"\n"))?;
    Ok(Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]))
}

/// Sends a message to the coordinator without waiting; answers its task's id.
async fn begin(server: &Server, said: &str, metadata: Value) -> Result<String> {
    let caller = Caller::new(&Http::new(server), Binding::Rpc)?;
    let send = json!({ "message": message(said, json!({ "metadata": metadata })), "configuration": { "returnImmediately": true } });
    let task = caller.call("SendMessage", send).await?["task"].clone();
    ensure!(state(&task) == "TASK_STATE_WORKING", "{task}");
    Ok(text(&task, "id")?.to_owned())
}

async fn task(server: &Server, id: &str) -> Result<Value> {
    server.get(&format!("/v1/opencode/tasks/{id}")).await
}

async fn parts(server: &Server, id: &str) -> Result<Vec<Value>> {
    Ok(items(&server.get(&format!("/v1/opencode/tasks?parent={id}")).await?)?.clone())
}

/// Waits until a coordination has ended; answers its task and its data.
async fn ended(server: &Server, id: &str) -> Result<(Value, Value)> {
    let ended = wait_for("the end of the coordination", Duration::from_mins(1), async || {
        let task = task(server, id).await?;
        Ok((!task["completed_at"].is_null()).then_some(task))
    })
    .await?;
    let caller = Caller::new(&Http::new(server), Binding::Rpc)?;
    let shown = caller.call("GetTask", json!({ "id": id })).await?;
    let made = shown["artifacts"].as_array().context("it made nothing")?;
    let data = made.iter().find(|made| made["artifactId"] == "coordination").with_context(|| format!("no data: {shown}"))?;
    Ok((ended, data["parts"][0]["data"].clone()))
}

async fn events(server: &Server, kind: &str) -> Result<Vec<Value>> {
    Ok(items(&server.get(&format!("/v1/events?type={kind}")).await?)?.clone())
}

fn words(parts: &Value, field: &str) -> Vec<String> {
    parts.as_array().into_iter().flatten().map(|part| part[field].as_str().unwrap_or("-").to_owned()).collect()
}

/// What a status update says.
fn told_in(event: &Value) -> String {
    event["statusUpdate"]["status"]["message"]["parts"][0]["text"].as_str().unwrap_or_default().to_owned()
}

async fn everybody_works_on_what_names_nobody_and_the_answer_says_who_did_what(cx: &Cx) -> Result<()> {
    everybody(&server(cx, "").await?).await
}

async fn everybody_works_on_what_names_nobody_on_postgresql(cx: &Cx) -> Result<()> {
    let url = Postgres::fresh_database().await?;
    everybody(&Server::new(cx.dir(), "server")?.with_args(["--name", "Server-A", "--database-url", &url]).launch().await?).await
}

async fn everybody(server: &Server) -> Result<()> {
    let http = Http::new(server);
    let message = json!({ "parts": [{ "type": "text", "content": "coordinate 1 2 3" }] });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let result = http.post("/", &body).await?.ok()?["result"].clone();
    ensure!(result["message"]["metadata"]["agent"] == "Coordinator-Server-A", "{result}");
    let said = text(&result["message"]["parts"][0], "content")?;
    for wanted in ["2 parts, 2 completed", "- Worker-A-Server-A (Server-A): completed", "- Worker-B-Server-A (Server-A)", "sum 6, mean 2"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    let id = text(&result["task"], "id")?;
    let (whole, data) = ended(server, id).await?;
    ensure!(whole["state"] == "completed" && whole["result"] == said && whole["title"] == "1 2 3", "{whole}");
    ensure!(data["coordination"] == id && words(&data["parts"], "state") == ["completed", "completed"], "{data}");
    ensure!(text(&data["parts"][0], "result")?.contains("sum 6") && data["parts"][0]["duration_ms"].is_u64(), "{data}");
    let parts = parts(server, id).await?;
    ensure!(parts.len() == 2 && parts.iter().all(|part| part["parent_id"] == id && part["prompt"] == "1 2 3"), "{parts:?}");
    ensure!(parts[0]["context_id"] != parts[1]["context_id"], "they share a conversation");
    let named = |parts: &[Value]| parts.iter().map(|part| part["id"].clone()).collect::<Vec<_>>();
    let newest: Vec<_> = items(&server.get(&format!("/v1/opencode/tasks?parent={id}&order=newest&limit=1")).await?)?.clone();
    ensure!(named(&newest) == named(&parts[1..]), "{newest:?}");
    let (started, complete) = (events(server, "coordination.started").await?, events(server, "coordination.complete").await?);
    ensure!(started.len() == 1 && complete.len() == 1, "{started:?} {complete:?}");
    ensure!(started[0]["subject"] == format!("tasks/{id}") && complete[0]["subject"] == started[0]["subject"], "{started:?}");
    ensure!(words(&started[0]["data"]["parts"], "agent") == ["Worker-A-Server-A", "Worker-B-Server-A"], "{started:?}");
    ensure!(words(&started[0]["data"]["parts"], "server") == ["Server-A", "Server-A"], "{started:?}");
    ensure!(complete[0]["data"]["state"] == "completed" && complete[0]["data"]["parts"][1]["duration_ms"].is_u64(), "{complete:?}");
    ensure!(words(&complete[0]["data"]["parts"], "state") == ["completed", "completed"], "{complete:?}");
    // One to the coordinator, and one to each worker agent.
    let received = events(server, "message.received").await?;
    let to: Vec<_> = received.iter().filter_map(|event| event["data"]["agent"].as_str()).collect();
    ensure!(to.len() == 3 && to[0] == "Coordinator-Server-A", "{received:?}");
    let shown = server.muster(["task", id]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("parts") && shown.matches("Worker-").count() >= 2 && shown.contains("completed"), "{shown}");
    Ok(())
}

async fn parts_go_to_those_who_are_named_and_run_side_by_side(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let bob = Puller::register(server.client(), "bob", json!({})).await?;
    let id =
        begin(&server, "coordinate the release\nalice: write the notes\n- bob: build it\n  quickly\n@monitor status report", json!({}))
            .await?;
    // Each has its part while the other has it.
    let (of_alice, of_bob) = (alice.take().await?, bob.take().await?);
    ensure!(
        of_alice.task.prompt == "the release\n\nwrite the notes" && of_bob.task.prompt == "the release\n\nbuild it\n  quickly",
        "{of_bob:?}"
    );
    bob.run(&of_bob, &["built"]).await?;
    alice.run(&of_alice, &["written\n", "and read"]).await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(words(&data["parts"], "agent") == ["alice", "bob", "Monitor-Server-A"], "{data}");
    ensure!(words(&data["parts"], "machine") == ["alice", "bob", "-"], "{data}");
    ensure!(data["parts"][0]["result"] == "written\nand read" && data["parts"][1]["result"] == "built", "{data}");
    let said = text(&whole, "result")?;
    ensure!(
        said.contains("3 parts, 3 completed") && said.contains("\n  written\n  and read") && said.contains("Status of Server-A"),
        "{said}"
    );
    Ok(())
}

async fn data_says_who_does_what(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let tasks = json!({ "tasks": [{ "agent": "alice", "prompt": "bob: no name here" }, { "agent": "monitor", "prompt": "status" }] });
    let message = json!({ "messageId": "m", "role": "ROLE_USER", "parts": [{ "data": tasks }, { "data": [1, 2] }] });
    let caller = Caller::new(&Http::new(&server), Binding::Grpc)?.at("coordinator");
    let send = json!({ "message": message, "configuration": { "returnImmediately": true } });
    let id = text(&caller.call("SendMessage", send).await?["task"], "id")?.to_owned();
    let given = alice.take().await?;
    ensure!(given.task.prompt == "bob: no name here\n\n[1,2]" || given.task.prompt.contains("[1.0,2.0]"), "{}", given.task.prompt);
    alice.run(&given, &["done"]).await?;
    let (_, data) = ended(&server, &id).await?;
    ensure!(words(&data["parts"], "agent") == ["alice", "Monitor-Server-A"], "{data}");
    Ok(())
}

async fn a_plan_that_cannot_be_is_refused_with_the_names_that_there_are(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let caller = Caller::new(&Http::new(&server), Binding::Rpc)?.at("coordinator");
    let many = "monitor: status\n".repeat(65);
    for (said, why) in [
        ("coordinate", "must say what is to be done"),
        ("@carol do it", "`carol`, which can get no part; there are Monitor-Server-A, Worker-A-Server-A, Worker-B-Server-A"),
        ("monitor: status\nWorker-C-Server-A: count", "`Worker-C-Server-A`"),
        ("coordinator: again", "`Coordinator-Server-A`"),
        ("@Coordinator-Server-A again", "`Coordinator-Server-A`"),
        (many.as_str(), "65 parts"),
    ] {
        if said.starts_with("coordinator") {
            // A plain word with a colon is prose where nobody is named.
            continue;
        }
        let fault = caller.fault("SendMessage", json!({ "message": message(said, json!({})) })).await?;
        ensure!(format!("{fault:?}").contains(why), "{said:.40}: {fault:?}");
    }
    let fault = caller.fault("SendMessage", json!({ "message": message("x", json!({ "metadata": { "deadline_s": 0 } })) })).await?;
    ensure!(format!("{fault:?}").contains("deadline_s"), "{fault:?}");
    ensure!(items(&server.get("/v1/opencode/tasks").await?)?.is_empty(), "something was begun");
    ensure!(events(&server, "coordination.started").await?.is_empty(), "something was told");
    Ok(())
}

async fn a_part_that_fails_is_told_beside_those_that_are_done(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let bob = Puller::register(server.client(), "bob", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: one\nbob: two", json!({})).await?;
    let (of_alice, of_bob) = (alice.take().await?, bob.take().await?);
    alice.start(&of_alice, "ses_a").await?;
    alice.report(&of_alice, ReportedStatus::Failed, json!({ "error": "no key", "error_code": "provider_auth" })).await?;
    bob.run(&of_bob, &["two is done"]).await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(whole["state"] == "completed" && words(&data["parts"], "state") == ["failed", "completed"], "{whole}");
    ensure!(data["parts"][0]["error"] == "no key", "{data}");
    let said = text(&whole, "result")?;
    ensure!(
        said.contains("2 parts, 1 completed, 1 failed") && said.contains("alice (Server-A): failed") && said.contains("no key"),
        "{said}"
    );
    // And none that is done is a failure.
    let id = begin(&server, "coordinate\nalice: three", json!({})).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_b").await?;
    alice.report(&given, ReportedStatus::Failed, json!({ "error": "no key" })).await?;
    let (whole, _) = ended(&server, &id).await?;
    ensure!(whole["state"] == "failed" && text(&whole, "error")?.contains("1 part, 1 failed"), "{whole}");
    Ok(())
}

async fn a_cancel_stops_the_parts_and_waits_for_their_word(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: for ever\n@nobody-yet later", json!({})).await;
    ensure!(id.is_err(), "an unknown agent was taken");
    Puller::register(server.client(), "bob", json!({ "slots": 1 })).await?;
    let id = begin(&server, "coordinate\nalice: for ever\nbob: never taken", json!({})).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_a").await?;
    let asked = server.post(&format!("/v1/opencode/tasks/{id}/cancel"), &json!({})).await?;
    ensure!(asked["confirmed"] == false && text(&asked, "message")?.contains("parts"), "{asked}");
    wait_for("the part to be asked", LIMIT, async || {
        let running = [crate::support::running(given.task.id, given.attempt)];
        Ok((!alice.pull(&running, Duration::from_secs(1)).await?.cancel.is_empty()).then_some(()))
    })
    .await?;
    ensure!(task(&server, &id).await?["state"] == "working", "it has ended before its part has");
    alice.report(&given, ReportedStatus::Cancelled, json!({})).await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(whole["state"] == "canceled" && whole["confirmed"] == true, "{whole}");
    ensure!(words(&data["parts"], "state") == ["canceled", "canceled"], "{data}");
    ensure!(text(&whole, "error")?.contains("canceled: 2 parts, 2 canceled"), "{whole}");
    ensure!(parts(&server, &id).await?.iter().all(|part| part["state"] == "canceled"), "a part goes on");
    let complete = events(&server, "coordination.complete").await?;
    ensure!(complete.len() == 1 && complete[0]["data"]["state"] == "canceled", "{complete:?}");
    Ok(())
}

async fn what_is_missing_at_the_deadline_is_named_and_canceled(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: for ever\nmonitor: status", json!({ "deadline_s": 2 })).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_a").await?;
    let beat = async {
        let running = [crate::support::running(given.task.id, given.attempt)];
        loop {
            if alice.pull(&running, Duration::from_millis(500)).await?.cancel.iter().any(|of| of.task_id == given.task.id) {
                return anyhow::Ok(());
            }
        }
    };
    beat.await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(whole["state"] == "completed" && words(&data["parts"], "state") == ["missing", "completed"], "{data}");
    ensure!(text(&data["parts"][0], "error")? == "it was running on alice at the deadline; it is canceled", "{data}");
    ensure!(text(&whole, "result")?.contains("1 completed, 1 missing"), "{whole}");
    Ok(())
}

async fn a_part_whose_machine_is_lost_is_given_up_before_the_deadline(cx: &Cx) -> Result<()> {
    let server = server(cx, "[coordination]\npatience_s = 1").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: for ever\nmonitor: status", json!({})).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_a").await?;
    // It says nothing more.
    let (whole, data) = ended(&server, &id).await?;
    ensure!(whole["state"] == "completed" && words(&data["parts"], "state") == ["missing", "completed"], "{data}");
    ensure!(data["parts"][0]["machine"] == "alice" && text(&data["parts"][0], "error")?.contains("on alice when that was lost"), "{data}");
    Ok(())
}

async fn the_stream_tells_who_was_given_what_and_who_is_done(cx: &Cx) -> Result<()> {
    let server = server(cx, "").await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let caller = Caller::new(&Http::new(&server), Binding::Rpc)?;
    let send = json!({ "message": message("coordinate\nalice: one\nmonitor: status", json!({})) });
    let mut events = caller.stream("SendStreamingMessage", send, None).await?;
    events.expect().await?;
    let given = alice.take().await?;
    let mut told = Vec::new();
    while !told.iter().any(|said: &String| said.contains("Monitor-Server-A (Server-A): completed")) {
        told.push(told_in(&events.expect().await?.1));
    }
    alice.run(&given, &["one is done"]).await?;
    let rest = events.rest().await?;
    let (_, last) = rest.last().context("it does not end")?;
    ensure!(state(&last["statusUpdate"]) == "TASK_STATE_COMPLETED", "{last}");
    told.extend(rest.iter().map(|(_, event)| told_in(event)));
    for wanted in ["alice (Server-A) has its part", "Monitor-Server-A (Server-A) has its part", "alice (Server-A): completed"] {
        ensure!(told.iter().any(|said| said.contains(wanted)), "{wanted:?} was not told: {told:?}");
    }
    Ok(())
}

async fn a_worker_agent_gives_its_part_to_a_machine(cx: &Cx) -> Result<()> {
    let agents = "[[agents]]\nname = \"tester\"\nspecialty = \"Tests\"\ninstructions = \"Test it.\"\ncapability = \"gpu\"\n";
    let server = server(cx, agents).await?;
    Puller::register(server.client(), "plain", json!({})).await?;
    let able = Puller::register(server.client(), "able", json!({ "capabilities": ["opencode", "gpu"] })).await?;
    let id = begin(&server, "coordinate all of it", json!({})).await?;
    let given = able.take().await?;
    ensure!(given.task.prompt == "Test it.\n\nall of it", "{}", given.task.prompt);
    able.run(&given, &["tested"]).await?;
    let (_, data) = ended(&server, &id).await?;
    ensure!(data["parts"][0]["agent"] == "Worker-A-Server-A" && data["parts"][0]["machine"] == "able", "{data}");
    Ok(())
}

async fn two_machines_write_two_files_by_one_plan(cx: &Cx) -> Result<()> {
    let (server, llm) = (server(cx, "").await?, FakeLlm::start(cx).await?);
    let (one, two) = tokio::try_join!(Worker::start(cx, "one", &server, &llm), Worker::start(cx, "two", &server, &llm))?;
    let id = begin(&server, "coordinate\none:\n!write one.txt first\ntwo:\n!write two.txt second", json!({})).await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(words(&data["parts"], "state") == ["completed", "completed"], "{whole}");
    ensure!(words(&data["parts"], "machine") == ["one", "two"], "{data}");
    for (worker, file, content) in [(&one, "one.txt", "first"), (&two, "two.txt", "second")] {
        let path = std::path::Path::new(&worker.global_codebase().await?.path).join(file);
        let found = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(found.trim_end() == content, "{file} holds {found:?}");
    }
    Ok(())
}

async fn a_machine_that_is_killed_midway_is_the_part_that_is_missing(cx: &Cx) -> Result<()> {
    let (server, llm) = (server(cx, "[coordination]\npatience_s = 1").await?, FakeLlm::start(cx).await?);
    let (mut one, two) = tokio::try_join!(Worker::start(cx, "one", &server, &llm), Worker::start(cx, "two", &server, &llm))?;
    let id = begin(&server, "coordinate\none:\n!slow 600 100\ntwo:\n!write two.txt second", json!({})).await?;
    wait_for("the part to run", LIMIT, async || {
        let parts = parts(&server, &id).await?;
        Ok(parts.iter().any(|part| part["worker_id"].is_string() && part["state"] == "working").then_some(()))
    })
    .await?;
    wait_for("the language model to be asked", LIMIT, async || Ok((!llm.requests_with("!slow 600")?.is_empty()).then_some(()))).await?;
    one.kill().await?;
    let (whole, data) = ended(&server, &id).await?;
    ensure!(words(&data["parts"], "state") == ["missing", "completed"], "{data}");
    let said = text(&whole, "result")?;
    ensure!(said.contains("- one (Server-A): missing") && said.contains("on one when that was lost"), "{said}");
    let found = std::fs::read_to_string(std::path::Path::new(&two.global_codebase().await?.path).join("two.txt"))?;
    ensure!(found.trim_end() == "second", "two.txt holds {found:?}");
    Ok(())
}
