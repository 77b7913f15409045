//! A2A 0.3 over JSON-RPC at the same addresses: `kind`, lowercase states, unwrapped results.

use crate::support::{Cx, Http, Puller, Shared, Sse, cases, text};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::ReportedStatus;
use reqwest::Method;
use serde_json::{Value, json};

cases! {
    [] =>
        every_method_answers_as_0_3_spells_it,
        streams_are_told_as_0_3_spells_them,
        errors_have_the_codes_of_0_3;
}

static SERVER: Shared = Shared::embedded("a2a-old", "name = \"Server-A\"\n[a2a]\npush_notifications = true\n");

async fn rpc(http: &Http, path: &str, method: &str, params: Value) -> Result<Value> {
    let answer = http.post(path, &json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params })).await?.ok()?;
    ensure!(answer["jsonrpc"] == "2.0" && answer["id"] == 5, "{answer}");
    Ok(answer)
}

async fn call(http: &Http, method: &str, params: Value) -> Result<Value> {
    let answer = rpc(http, "/", method, params.clone()).await?;
    ensure!(answer.get("error").is_none(), "{method} {params}: {answer}");
    Ok(answer["result"].clone())
}

fn message(text: &str) -> Value {
    json!({ "kind": "message", "messageId": uuid::Uuid::now_v7(), "role": "user", "parts": [{ "kind": "text", "text": text }],
        "metadata": { "agent": "monitor" } })
}

async fn every_method_answers_as_0_3_spells_it(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let task = call(&http, "message/send", json!({ "message": message("Hello") })).await?;
    ensure!(task["kind"] == "task" && task["status"]["state"] == "completed" && task.get("task").is_none(), "{task}");
    ensure!(task["history"][0]["kind"] == "message" && task["history"][0]["role"] == "user", "{task}");
    ensure!(task["artifacts"][0]["parts"][0]["kind"] == "text", "{task}");
    let id = text(&task, "id")?;
    ensure!(call(&http, "tasks/get", json!({ "id": id })).await? == task, "it is read otherwise than it was answered");
    ensure!(call(&http, "tasks/get", json!({ "id": id, "historyLength": 0 })).await? == task, "0 means all");
    // The other addresses, and the version spelled out.
    for path in ["/v1/a2a", "/agents/monitor"] {
        let versioned = http.clone().with_header("a2a-version", "0.3.0")?;
        let answer = rpc(&versioned, path, "message/send", json!({ "message": message("Hello") })).await?;
        ensure!(answer["result"]["kind"] == "task", "{path}: {answer}");
    }
    // Files and data.
    let parts = json!([{ "kind": "file", "file": { "bytes": "MSAyIDM=", "name": "n.txt", "mimeType": "text/plain" } }, { "kind": "data", "data": { "a": 1 } }]);
    let mut with_files = message("");
    with_files["parts"] = parts.clone();
    let task = call(&http, "message/send", json!({ "message": with_files })).await?;
    ensure!(task["history"][0]["parts"] == parts, "{task}");
    // A list is data too, though 0.3 has no words for it: it is told as the official SDKs do.
    let mut listing = message("");
    listing["parts"] = json!([{ "kind": "data", "data": [1, 2] }]);
    let task = call(&http, "message/send", json!({ "message": listing })).await?;
    let told = json!([{ "kind": "data", "data": { "value": [1, 2] }, "metadata": { "data_part_compat": true } }]);
    ensure!(task["history"][0]["parts"] == told, "{task}");
    // Webhooks: one without an id reads back.
    let id = text(&task, "id")?;
    let webhook = json!({ "url": "https://hooks.invalid", "authentication": { "schemes": ["Bearer"], "credentials": "c" } });
    let set = call(&http, "tasks/pushNotificationConfig/set", json!({ "taskId": id, "pushNotificationConfig": webhook })).await?;
    ensure!(set["taskId"] == id && set["pushNotificationConfig"]["authentication"] == webhook["authentication"], "{set}");
    ensure!(call(&http, "tasks/pushNotificationConfig/get", json!({ "id": id })).await? == set, "it does not read back");
    let listed = call(&http, "tasks/pushNotificationConfig/list", json!({ "id": id })).await?;
    ensure!(listed == json!([set]), "{listed}");
    let named = json!({ "id": id, "pushNotificationConfigId": set["pushNotificationConfig"]["id"] });
    let answer = rpc(&http, "/", "tasks/pushNotificationConfig/delete", named).await?;
    ensure!(
        answer.get("error").is_none() && answer["result"].is_null() && answer.as_object().is_some_and(|all| all.contains_key("result")),
        "{answer}"
    );
    ensure!(call(&http, "tasks/pushNotificationConfig/list", json!({ "id": id })).await? == json!([]), "it is still there");
    let card = call(&http, "agent/getAuthenticatedExtendedCard", Value::Null).await?;
    ensure!(card["protocolVersion"] == "0.3.0" && card["preferredTransport"] == "JSONRPC", "{card}");

    let worker = Puller::register(SERVER.get(cx).await?.client(), "old-machine", json!({})).await?;
    let send = json!({ "message": message("x"), "configuration": { "blocking": false } });
    let begun = rpc(&http, "/agents/old-machine", "message/send", send).await?["result"].clone();
    ensure!(begun["status"]["state"] == "submitted", "{begun}");
    let canceled = call(&http, "tasks/cancel", json!({ "id": begun["id"] })).await?;
    ensure!(canceled["kind"] == "task" && canceled["status"]["state"] == "canceled", "{canceled}");
    drop(worker);
    Ok(())
}

async fn open(http: &Http, path: &str, method: &str, params: Value) -> Result<Sse> {
    let body = json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params });
    Sse::of(http.request(Method::POST, path).json(&body)).await
}

async fn results(sse: Sse) -> Result<Vec<Value>> {
    Ok(sse.rest().await?.into_iter().map(|sent| sent.data["result"].clone()).collect())
}

async fn streams_are_told_as_0_3_spells_them(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let told = results(open(&http, "/", "message/stream", json!({ "message": message("Hello") })).await?).await?;
    let kinds: Vec<_> = told.iter().filter_map(|event| event["kind"].as_str()).collect();
    ensure!(kinds == ["task", "artifact-update", "status-update"], "{told:?}");
    ensure!(told[2]["final"] == true && told[2]["status"]["state"] == "completed", "{}", told[2]);

    let worker = Puller::register(SERVER.get(cx).await?.client(), "old-asks", json!({})).await?;
    let mut turn = open(&http, "/agents/old-asks", "message/stream", json!({ "message": message("ask") })).await?;
    let begun = turn.expect().await?.data["result"].clone();
    let listener = open(&http, "/agents/old-asks", "tasks/resubscribe", json!({ "id": begun["id"] })).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_old").await?;
    let id = uuid::Uuid::now_v7();
    let note = |outcome: &str| json!({ "id": id, "request": "r", "kind": "permission", "title": "rm", "outcome": outcome, "detail": {} });
    worker.tell(&given, 0, EntryKind::Interaction, &note("open")).await?;
    let told = results(turn).await?;
    let last = told.last().context("nothing is told")?;
    ensure!(last["status"]["state"] == "input-required" && last["final"] == true, "{last}");
    ensure!(last["status"]["message"]["kind"] == "message" && last["status"]["message"]["role"] == "agent", "{last}");
    let mut reply = message("yes");
    reply["taskId"] = begun["id"].clone();
    let next = open(&http, "/agents/old-asks", "message/stream", json!({ "message": reply })).await?;
    worker.tell(&given, 1, EntryKind::Interaction, &note("applied")).await?;
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "" })).await?;
    let (told, heard) = (results(next).await?, results(listener).await?);
    ensure!(told.last().is_some_and(|last| last["status"]["state"] == "completed" && last["final"] == true), "{told:?}");
    ensure!(heard.len() > told.len() && heard.last() == told.last(), "{heard:?}");
    Ok(())
}

async fn errors_have_the_codes_of_0_3(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let ended = call(&http, "message/send", json!({ "message": message("x") })).await?["id"].clone();
    let to = |id: &Value| {
        let mut message = message("x");
        message["taskId"] = id.clone();
        json!({ "message": message })
    };
    let mut image = message("x");
    image["parts"] = json!([{ "kind": "file", "file": { "bytes": "AAAA", "mimeType": "image/png" } }]);
    let mut bad = message("x");
    bad["parts"] = json!([{ "kind": "video" }]);
    let without = |field: &str| {
        let mut message = message("x");
        message.as_object_mut().map(|fields| fields.remove(field));
        json!({ "message": message })
    };
    let mut scalar = message("x");
    scalar["parts"] = json!([{ "kind": "data", "data": 7 }]);
    let untold = json!({ "message": { "messageId": "m", "role": "user", "parts": [{ "type": "video", "text": "x" }] } });
    for (method, params, code) in [
        ("message/send", without("messageId"), -32602),
        ("message/send", without("role"), -32602),
        ("message/send", without("parts"), -32602),
        ("message/send", json!({ "message": scalar }), -32602),
        ("message/send", untold, -32602),
        ("tasks/get", json!({ "id": "nobody" }), -32001),
        ("tasks/cancel", json!({ "id": "nobody" }), -32001),
        ("tasks/resubscribe", json!({ "id": "nobody" }), -32001),
        ("tasks/cancel", json!({ "id": ended }), -32002),
        ("tasks/resubscribe", json!({ "id": ended }), -32004),
        ("message/send", to(&ended), -32004),
        ("message/stream", to(&ended), -32004),
        ("message/send", json!({ "message": image }), -32005),
        ("message/send", json!({ "message": bad }), -32602),
        ("tasks/get", json!({}), -32602),
        ("tasks/get", json!({ "id": ended, "historyLength": -1 }), -32602),
        ("tasks/list", json!({}), -32601),
    ] {
        let answer = rpc(&http, "/", method, params.clone()).await?;
        ensure!(answer["error"]["code"] == code && answer.get("result").is_none(), "{method} {params}: {answer}");
    }
    Ok(())
}
