//! The agent of the official conformance kit: what each message id that it knows brings about, on every binding.

use super::caller::{BINDINGS, Binding, Caller, message, state};
use crate::support::{Cx, Http, Server, Shared, Sse, cases, items, text};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

cases! {
    [] =>
        each_artifact_of_the_kit_is_a_part_of_its_kind,
        a_message_is_answered_without_a_task,
        a_task_waits_for_input_and_goes_on_with_it,
        a_task_waits_for_credentials_or_is_rejected,
        a_task_that_works_is_answered_at_once_or_at_its_end,
        a_task_that_works_is_canceled_and_stays_so,
        a_stream_tells_what_is_made_piece_by_piece,
        two_subscribers_see_how_a_waiting_task_ends,
        what_is_not_known_works_and_then_asks,
        the_kit_is_answered_in_0_3_too,
        a_caller_must_name_the_extension_that_is_required,
        the_agent_is_not_there_unless_it_is_asked_for;
}

static SERVER: Shared = Shared::embedded("a2a-conformance", "name = \"Server-A\"\n[a2a]\nconformance_agent = true\n");

async fn callers(cx: &Cx) -> Result<Vec<Caller>> {
    let http = SERVER.http(cx).await?;
    BINDINGS.into_iter().map(|binding| Caller::new(&http, binding)).collect()
}

/// A message whose id begins so.
fn begins(prefix: &str, more: Value) -> Value {
    let mut message = message("for the kit", more);
    message["messageId"] = json!(format!("{prefix}-{}", uuid::Uuid::now_v7()));
    message
}

async fn send(caller: &Caller, prefix: &str, more: Value) -> Result<Value> {
    caller.call("SendMessage", json!({ "message": begins(prefix, more) })).await
}

async fn each_artifact_of_the_kit_is_a_part_of_its_kind(cx: &Cx) -> Result<()> {
    let file = json!({ "filename": "output.txt", "mediaType": "text/plain" });
    let with = |key: &str, value: &str| {
        let mut part = file.clone();
        part[key] = json!(value);
        part
    };
    let known = [
        ("tck-artifact-text", json!({ "text": "Generated text content" })),
        ("tck-artifact-file", with("raw", "dGNr")),
        ("tck-artifact-file-url", with("url", "https://example.com/output.txt")),
        ("tck-artifact-data", json!({ "data": { "key": "value", "count": 42 } })),
    ];
    for caller in callers(cx).await? {
        for (prefix, part) in &known {
            let task = send(&caller, prefix, json!({})).await?["task"].clone();
            ensure!(state(&task) == "TASK_STATE_COMPLETED", "{prefix}: {task}");
            ensure!(task["artifacts"][0]["parts"] == json!([part]) && task["artifacts"][0]["artifactId"].is_string(), "{prefix}: {task}");
            ensure!(caller.call("GetTask", json!({ "id": task["id"] })).await? == task, "{prefix} is read otherwise");
            let listed = caller.call("ListTasks", json!({ "contextId": task["contextId"] })).await?;
            ensure!(listed["tasks"][0]["id"] == task["id"] && listed["tasks"][0].get("artifacts").is_none(), "{listed}");
        }
        let task = send(&caller, "tck-complete-task", json!({})).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && task.get("artifacts").is_none(), "{task}");
        ensure!(task["status"]["message"]["parts"] == json!([{ "text": "Hello from TCK" }]), "{task}");
        ensure!(task["metadata"]["agent"] == "Conformance-Server-A", "{task}");
    }
    Ok(())
}

async fn a_message_is_answered_without_a_task(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let answer = send(&caller, "tck-message-response", json!({ "contextId": "said-before" })).await?;
        let said = &answer["message"];
        ensure!(answer.get("task").is_none() && said["role"] == "ROLE_AGENT" && said["messageId"].is_string(), "{answer}");
        ensure!(said["parts"] == json!([{ "text": "Direct message response" }]) && said["contextId"] == "said-before", "{answer}");
        let stream = json!({ "message": begins("tck-message-response", json!({})) });
        let events = caller.stream("SendStreamingMessage", stream, None).await?.rest().await?;
        ensure!(events.len() == 1 && events[0].1["message"]["parts"] == said["parts"], "{events:?}");
        ensure!(events[0].1["message"]["contextId"].is_string(), "{events:?}");
    }
    Ok(())
}

async fn a_task_waits_for_input_and_goes_on_with_it(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let asked = send(&caller, "tck-input-required", json!({})).await?["task"].clone();
        ensure!(state(&asked) == "TASK_STATE_INPUT_REQUIRED" && asked["status"]["message"]["role"] == "ROLE_AGENT", "{asked}");
        let other = begins("tck-complete-task", json!({ "taskId": asked["id"], "contextId": "another" }));
        let refused = caller.fault("SendMessage", json!({ "message": other })).await?;
        ensure!(refused.reason == "INVALID_PARAMS", "{refused:?}");
        let ended = send(&caller, "tck-complete-task", json!({ "taskId": asked["id"] })).await?["task"].clone();
        ensure!(ended["id"] == asked["id"] && ended["contextId"] == asked["contextId"], "{ended}");
        ensure!(state(&ended) == "TASK_STATE_COMPLETED", "{ended}");
        let roles: Vec<&Value> = items(&ended["history"])?.iter().map(|message| &message["role"]).collect();
        ensure!(roles == ["ROLE_USER", "ROLE_AGENT", "ROLE_USER"], "{ended}");
        let late = begins("tck-complete-task", json!({ "taskId": asked["id"] }));
        ensure!(caller.fault("SendMessage", json!({ "message": late })).await?.reason == "UNSUPPORTED_OPERATION", "it is answered twice");
        let follow = caller.fault("SubscribeToTask", json!({ "id": asked["id"] })).await?;
        ensure!(follow.reason == "UNSUPPORTED_OPERATION", "{follow:?}");
    }
    Ok(())
}

async fn a_task_waits_for_credentials_or_is_rejected(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let asked = send(&caller, "tck-auth-required", json!({})).await?["task"].clone();
        ensure!(state(&asked) == "TASK_STATE_AUTH_REQUIRED", "{asked}");
        ensure!(caller.call("GetTask", json!({ "id": asked["id"] })).await? == asked, "it is read otherwise");
        let canceled = caller.call("CancelTask", json!({ "id": asked["id"] })).await?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED" && canceled["metadata"]["confirmed"] == true, "{canceled}");
        let rejected = send(&caller, "tck-reject-task", json!({})).await?["task"].clone();
        ensure!(state(&rejected) == "TASK_STATE_REJECTED", "{rejected}");
        ensure!(rejected["status"]["message"]["parts"][0]["text"] == "rejected", "{rejected}");
        let refused = caller.fault("CancelTask", json!({ "id": rejected["id"] })).await?;
        ensure!(refused.reason == "TASK_NOT_CANCELABLE", "{refused:?}");
    }
    Ok(())
}

async fn a_task_that_works_is_answered_at_once_or_at_its_end(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let at_once = json!({ "message": begins("tck-delayed-complete", json!({})), "configuration": { "returnImmediately": true } });
        let task = caller.call("SendMessage", at_once).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_WORKING", "{task}");
        let impatient = json!({ "message": begins("tck-complete-task", json!({ "taskId": task["id"] })) });
        ensure!(caller.fault("SendMessage", impatient).await?.reason == "UNSUPPORTED_OPERATION", "it takes what it did not ask for");
        let waited = send(&caller, "tck-delayed-complete", json!({})).await?["task"].clone();
        ensure!(state(&waited) == "TASK_STATE_COMPLETED", "{waited}");
        ensure!(waited["status"]["message"]["parts"][0]["text"] == "Done after delay", "{waited}");
    }
    Ok(())
}

async fn a_task_that_works_is_canceled_and_stays_so(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let begun = json!({ "message": begins("test-resubscribe-message-id", json!({})), "configuration": { "returnImmediately": true } });
        let task = caller.call("SendMessage", begun).await?["task"].clone();
        let mut follower = caller.stream("SubscribeToTask", json!({ "id": task["id"] }), None).await?;
        ensure!(state(&follower.expect().await?.1["task"]) == "TASK_STATE_WORKING", "it does not work");
        let canceled = caller.call("CancelTask", json!({ "id": task["id"] })).await?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED", "{canceled}");
        let told = follower.rest().await?;
        ensure!(told.len() == 1 && state(&told[0].1["statusUpdate"]) == "TASK_STATE_CANCELED", "{told:?}");
        // What it would have done next finds the task ended: another that works as long has ended by then.
        let other = send(&caller, "test-resubscribe-message-id", json!({})).await?["task"].clone();
        ensure!(state(&other) == "TASK_STATE_COMPLETED", "{other}");
        let still = caller.call("GetTask", json!({ "id": task["id"] })).await?;
        ensure!(state(&still) == "TASK_STATE_CANCELED" && still.get("artifacts").is_none(), "{still}");
    }
    Ok(())
}

async fn a_stream_tells_what_is_made_piece_by_piece(cx: &Cx) -> Result<()> {
    let told = |events: &[(Option<u64>, Value)]| -> Vec<String> {
        let short = |event: &Value| {
            let (update, status) = (&event["artifactUpdate"], event["task"]["status"]["state"].as_str());
            match status.or(event["statusUpdate"]["status"]["state"].as_str()) {
                Some(state) => state.trim_start_matches("TASK_STATE_").to_owned(),
                None => format!("{} {} {}", update["artifact"]["parts"][0]["text"], update["append"] == true, update["lastChunk"] == true),
            }
        };
        events.iter().map(|(_, event)| short(event)).collect()
    };
    let made = |text: &str| vec!["SUBMITTED".to_owned(), "WORKING".to_owned(), format!("{text:?} false true"), "COMPLETED".to_owned()];
    let known = [
        ("tck-stream-001", made("Stream hello from TCK")),
        ("tck-stream-003", made("Stream task lifecycle")),
        ("tck-stream-ordering-001", made("Ordered output")),
        ("tck-stream-artifact-text", made("Streamed text content")),
    ];
    for caller in callers(cx).await? {
        let stream = async |prefix: &str| -> Result<Vec<(Option<u64>, Value)>> {
            caller.stream("SendStreamingMessage", json!({ "message": begins(prefix, json!({})) }), None).await?.rest().await
        };
        for (prefix, expected) in &known {
            let events = stream(prefix).await?;
            ensure!(told(&events) == *expected, "{prefix}: {:?}", told(&events));
        }
        ensure!(told(&stream("tck-stream-002").await?) == ["SUBMITTED", "WORKING", "COMPLETED"], "another lifecycle");
        let file = stream("tck-stream-artifact-file").await?;
        ensure!(file[2].1["artifactUpdate"]["artifact"]["parts"][0]["raw"] == "dGNr", "{file:?}");
        let chunked = stream("tck-stream-artifact-chunked").await?;
        let pieces = ["SUBMITTED", "WORKING", "\"chunk-1 \" false false", "\"chunk-2\" true true", "COMPLETED"];
        ensure!(told(&chunked) == pieces, "{:?}", told(&chunked));
        let id = &chunked[0].1["task"]["id"];
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        ensure!(task["artifacts"][0]["parts"] == json!([{ "text": "chunk-1 " }, { "text": "chunk-2" }]), "{task}");
        // Whoever lost the stream gets the task as it was there, and what followed.
        let again = caller.stream("SubscribeToTask", json!({ "id": id }), chunked[2].0).await?.rest().await?;
        ensure!(again[0].1["task"]["artifacts"][0]["parts"] == json!([{ "text": "chunk-1 " }]) && again[1..] == chunked[3..], "{again:?}");
        let turn = stream("tck-input-required").await?;
        ensure!(told(&turn) == ["SUBMITTED", "WORKING", "INPUT_REQUIRED"], "{:?}", told(&turn));
        let next = json!({ "message": begins("tck-stream-003", json!({ "taskId": turn[0].1["task"]["id"] })) });
        let next = caller.stream("SendStreamingMessage", next, None).await?.rest().await?;
        ensure!(told(&next) == ["INPUT_REQUIRED", "WORKING", "\"Stream task lifecycle\" false true", "COMPLETED"], "{:?}", told(&next));
    }
    Ok(())
}

async fn two_subscribers_see_how_a_waiting_task_ends(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let asked = send(&caller, "tck-input-required", json!({})).await?["task"].clone();
        let follow = async || caller.stream("SubscribeToTask", json!({ "id": asked["id"] }), None).await;
        let (mut one, other, mut left) = (follow().await?, follow().await?, follow().await?);
        ensure!(one.expect().await?.1["task"] == asked && left.expect().await?.1["task"] == asked, "the snapshot is another");
        drop(left);
        send(&caller, "tck-complete-task", json!({ "taskId": asked["id"] })).await?;
        let (one, other) = (one.rest().await?, other.rest().await?);
        ensure!(other[1..] == one[..] && one.len() == 2, "{one:?}\n{other:?}");
        ensure!(one.last().is_some_and(|(_, last)| state(&last["statusUpdate"]) == "TASK_STATE_COMPLETED"), "{one:?}");
    }
    Ok(())
}

async fn what_is_not_known_works_and_then_asks(cx: &Cx) -> Result<()> {
    for caller in callers(cx).await? {
        let task = send(&caller, "whatever", json!({})).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_INPUT_REQUIRED" && task["artifacts"][0]["parts"][0]["text"] == "Worked on it", "{task}");
        // At its own address too, and content still decides where it is plain.
        let at = send(&caller.at("conformance"), "tck-complete-task", json!({})).await?["task"].clone();
        ensure!(at["metadata"]["agent"] == "Conformance-Server-A", "{at}");
        let status = caller.say("status", json!({})).await?;
        ensure!(status["metadata"]["agent"] == "Monitor-Server-A", "{status}");
    }
    Ok(())
}

async fn the_kit_is_answered_in_0_3_too(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let request = |method: &str, id: &str, more: Value| {
        let mut message =
            json!({ "kind": "message", "messageId": id, "role": "user", "parts": [{ "kind": "text", "text": "for the kit" }] });
        if let (Some(message), Value::Object(more)) = (message.as_object_mut(), more) {
            message.extend(more);
        }
        http.request(Method::POST, "/").json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "message": message } }))
    };
    let call =
        async |id: &str, more: Value| -> Result<Value> { Ok(http.send(request("message/send", id, more)).await?.ok()?["result"].clone()) };
    let said = call("tck-message-response-1", json!({})).await?;
    ensure!(said["kind"] == "message" && said["role"] == "agent" && said["parts"][0]["text"] == "Direct message response", "{said}");
    let linked = call("tck-artifact-file-url-1", json!({})).await?;
    let file = json!({ "uri": "https://example.com/output.txt", "name": "output.txt", "mimeType": "text/plain" });
    ensure!(linked["kind"] == "task" && linked["artifacts"][0]["parts"] == json!([{ "kind": "file", "file": file }]), "{linked}");
    ensure!(call("tck-reject-task-1", json!({})).await?["status"]["state"] == "rejected", "it is not rejected");
    let asked = call("tck-input-required-1", json!({})).await?;
    ensure!(asked["status"]["state"] == "input-required", "{asked}");
    let ended = call("tck-complete-task-1", json!({ "taskId": asked["id"] })).await?;
    ensure!(ended["id"] == asked["id"] && ended["status"]["state"] == "completed", "{ended}");
    let mut events = Sse::of(request("message/stream", "test-resubscribe-message-id", json!({}))).await?;
    let mut kinds = Vec::new();
    let last = loop {
        let event = events.next().await?.context("it ends without a last event")?.data["result"].clone();
        kinds.push(text(&event, "kind")?.to_owned());
        if event["final"] == true {
            break event;
        }
    };
    ensure!(kinds == ["task", "status-update", "artifact-update", "status-update"] && last["status"]["state"] == "completed", "{kinds:?}");
    Ok(())
}

async fn a_caller_must_name_the_extension_that_is_required(cx: &Cx) -> Result<()> {
    const URI: &str = "urn:a2a:tck:required-extension";
    let config = cx.dir().join("demands.toml");
    std::fs::write(&config, format!("[a2a]\nconformance_agent = true\nrequired_extension = \"{URI}\"\n"))?;
    let server = Server::new(cx.dir(), "demands")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let http = Http::new(&server);
    let card = http.get("/.well-known/agent-card.json").await?.ok()?;
    ensure!(card["capabilities"]["extensions"] == json!([{ "uri": URI, "required": true }]), "{card}");
    for binding in BINDINGS {
        let silent = Caller::new(&http, binding)?;
        let refused = silent.fault("SendMessage", json!({ "message": begins("tck-complete-task", json!({})) })).await?;
        let code = if binding == Binding::Rpc { -32008 } else { 400 };
        ensure!(refused.reason == "EXTENSION_SUPPORT_REQUIRED" && refused.code == code, "{refused:?}");
        let speaks = Caller::new(&http.clone().with_header("a2a-extensions", &format!("urn:other, {URI}"))?, binding)?;
        let task = send(&speaks, "tck-complete-task", json!({})).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_COMPLETED", "{task}");
    }
    Ok(())
}

async fn the_agent_is_not_there_unless_it_is_asked_for(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "plain")?.launch().await?;
    let http = Http::new(&server);
    for binding in BINDINGS {
        let caller = Caller::new(&http, binding)?;
        let task = send(&caller, "tck-input-required", json!({})).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_COMPLETED", "{task}");
        let answer = http.get("/agents/conformance/.well-known/agent-card.json").await?;
        ensure!(answer.status == 404, "{answer:?}");
    }
    Ok(())
}
