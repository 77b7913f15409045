//! What webhooks are told: what a subscriber sees, in the version that their owner speaks.

use super::caller::{BINDINGS, Binding, Caller, message, state};
use crate::support::{Cx, Got, Http, Puller, Receiver, Server, Shared, cases, text};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};

cases! {
    [] =>
        a_webhook_hears_what_a_subscriber_sees,
        a_webhook_of_0_3_gets_the_task_at_each_change_of_state,
        a_webhook_that_is_set_later_begins_with_the_task_as_it_is,
        a_webhook_of_a_task_that_has_ended_is_told_so,
        another_webhook_under_the_same_id_begins_anew,
        a_deleted_webhook_hears_nothing_more,
        pieces_of_text_that_wait_together_are_one,
        without_the_setting_webhooks_are_refused;
}

pub(super) const TO_PRIVATE: &str = "name = \"Server-A\"\n[a2a]\nwebhooks_to_private = true\n";
static SERVER: Shared = Shared::embedded("a2a-push", TO_PRIVATE);

/// A machine and a caller at its address.
pub(super) async fn machine(server: &Server, binding: Binding, name: &str) -> Result<(Puller, Caller)> {
    let worker = Puller::register(server.client(), name, json!({})).await?;
    Ok((worker, Caller::new(&Http::new(server), binding)?.at(name)))
}

/// Begins a task with a webhook, if any, without waiting for it.
pub(super) async fn begin(caller: &Caller, webhook: Option<Value>) -> Result<Value> {
    let configuration = json!({ "returnImmediately": true, "taskPushNotificationConfig": webhook });
    let send = json!({ "message": message("tell", json!({})), "configuration": configuration });
    Ok(caller.call("SendMessage", send).await?["task"].clone())
}

/// The state that an event tells.
pub(super) fn told_state(event: &Value) -> &str {
    let status = if event["task"].is_object() { &event["task"] } else { &event["statusUpdate"] };
    state(status)
}

pub(super) fn is_end(event: &Value) -> bool {
    told_state(event) == "TASK_STATE_COMPLETED"
}

/// The events with the texts of pieces that follow each other put together.
fn joined(events: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for event in events {
        let text = |event: &Value| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str().map(str::to_owned);
        let id = |event: &Value| event["artifactUpdate"]["artifact"]["artifactId"].clone();
        let more = text(&event).filter(|_| event["artifactUpdate"]["append"] == true);
        match (all.last_mut(), more) {
            (Some(last), Some(more)) if id(last) == id(&event) => {
                let longer = text(last).unwrap_or_default() + &more;
                last["artifactUpdate"]["artifact"]["parts"][0]["text"] = json!(longer);
            }
            _ => all.push(event),
        }
    }
    all
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn a_webhook_hears_what_a_subscriber_sees(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    for binding in BINDINGS {
        let (worker, caller) = machine(SERVER.get(cx).await?, binding, &format!("sees-{binding:?}")).await?;
        let path = format!("/{binding:?}");
        let webhook =
            json!({ "url": receiver.url(&path), "token": "to ken", "authentication": { "scheme": "Bearer", "credentials": "c" } });
        let configuration = json!({ "taskPushNotificationConfig": webhook });
        let send = json!({ "message": message("tell", json!({})), "configuration": configuration });
        let mut subscriber = caller.stream("SendStreamingMessage", send, None).await?;
        let mut seen = vec![subscriber.expect().await?.1];
        // The task as it was then is told as it is now.
        receiver.until(&path, |event| event["task"].is_object()).await?;
        let given = worker.take().await?;
        worker.start(&given, "ses_sees").await?;
        worker.append(&given, 0, &["one ", "two "]).await?;
        let tool = json!({ "call": "c", "tool": "bash", "state": "running", "title": "ls" });
        worker.tell(&given, 2, EntryKind::Tool, &tool).await?;
        worker.append(&given, 3, &["three"]).await?;
        let change = json!([{ "path": "a.rs", "change": "modified", "additions": 1, "deletions": 0, "patch": "@@" }]);
        worker.report(&given, ReportedStatus::Completed, json!({ "result": "one two three", "changes": change })).await?;
        seen.extend(subscriber.rest().await?.into_iter().map(|(_, event)| event));
        let heard = receiver.until(&path, is_end).await?;
        ensure!(joined(heard.clone()) == joined(seen.clone()), "{binding:?}: it heard {heard:#?}, and should have heard {seen:#?}");
        let tries = receiver.tries(&path);
        let places: Vec<u64> = tries.iter().filter_map(|got| header(got, "x-event-id").parse().ok()).collect();
        ensure!(places.is_sorted_by(|one, next| one < next) && places.first() == Some(&0), "{places:?}");
        let states: Vec<_> = heard.iter().map(told_state).filter(|state| !state.is_empty()).collect();
        ensure!(states.first() == Some(&"TASK_STATE_SUBMITTED") && states.contains(&"TASK_STATE_WORKING"), "{states:?}");
        for got in tries {
            ensure!(header(&got, "content-type") == "application/a2a+json", "{:?}", got.headers);
            ensure!(header(&got, "authorization") == "Bearer c", "{:?}", got.headers);
            ensure!(header(&got, "x-a2a-notification-token") == "to ken", "{:?}", got.headers);
            ensure!(header(&got, "a2a-version") == "1.0", "{:?}", got.headers);
        }
    }
    Ok(())
}

async fn a_webhook_of_0_3_gets_the_task_at_each_change_of_state(cx: &Cx) -> Result<()> {
    let (server, receiver) = (SERVER.get(cx).await?, Receiver::start()?);
    let worker = Puller::register(server.client(), "old-sees", json!({})).await?;
    let webhook = json!({ "url": receiver.url("/old"), "token": "t", "authentication": { "schemes": ["Basic"], "credentials": "YTpi" } });
    let said = json!({ "messageId": "m", "role": "user", "parts": [{ "kind": "text", "text": "tell" }], "kind": "message" });
    let params = json!({ "message": said, "configuration": { "blocking": false, "pushNotificationConfig": webhook } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params });
    let task = Http::new(server).post("/agents/old-sees", &body).await?.ok()?["result"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_old").await?;
    worker.append(&given, 0, &["one "]).await?;
    let id = uuid::Uuid::now_v7();
    let note = |outcome: &str| json!({ "id": id, "request": "r", "kind": "permission", "title": "bash: rm x", "outcome": outcome, "directory": "/w", "detail": {} });
    worker.tell(&given, 1, EntryKind::Interaction, &note("open")).await?;
    receiver.until("/old", |told| state(told) == "input-required").await?;
    worker.tell(&given, 2, EntryKind::Interaction, &note("applied")).await?;
    worker.append(&given, 3, &["two"]).await?;
    let change = json!([{ "path": "a.rs", "change": "modified", "additions": 1, "deletions": 0, "patch": "@@" }]);
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "one two", "changes": change })).await?;
    let heard = receiver.until("/old", |told| state(told) == "completed").await?;
    let states: Vec<_> = heard.iter().map(state).collect();
    ensure!(states == ["submitted", "working", "input-required", "working", "completed"], "{states:?}");
    ensure!(
        heard.iter().all(|told| told["kind"] == "task" && told["id"] == task["id"] && told["contextId"] == task["contextId"]),
        "{heard:?}"
    );
    ensure!(heard[2]["artifacts"][0]["parts"][0]["text"] == "one ", "{}", heard[2]);
    ensure!(text(&heard[2]["status"]["message"]["parts"][0], "text")?.contains("rm x"), "{}", heard[2]);
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tasks/get", "params": { "id": task["id"] } });
    let read = Http::new(server).post("/", &body).await?.ok()?["result"].clone();
    ensure!(heard[4] == read, "the end is {}, and it is read as {read}", heard[4]);
    let got = receiver.tries("/old").first().cloned().context("nothing")?;
    ensure!(header(&got, "content-type") == "application/json" && header(&got, "authorization") == "Basic YTpi", "{:?}", got.headers);
    ensure!(header(&got, "a2a-version") == "0.3" && header(&got, "x-a2a-notification-token") == "t", "{:?}", got.headers);
    Ok(())
}

async fn a_webhook_that_is_set_later_begins_with_the_task_as_it_is(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "later").await?;
    let task = begin(&caller, None).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_later").await?;
    worker.append(&given, 0, &["one ", "two "]).await?;
    let webhook = json!({ "taskId": task["id"], "url": receiver.url("/later") });
    caller.call("CreateTaskPushNotificationConfig", webhook).await?;
    worker.append(&given, 2, &["three"]).await?;
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "one two three" })).await?;
    let heard = joined(receiver.until("/later", is_end).await?);
    ensure!(heard.len() == 3 && told_state(&heard[0]) == "TASK_STATE_WORKING", "{heard:#?}");
    ensure!(heard[0]["task"]["artifacts"][0]["parts"] == json!([{ "text": "one two " }]), "{}", heard[0]);
    let piece = &heard[1]["artifactUpdate"];
    ensure!(piece["append"] == true && piece["artifact"] == json!({ "artifactId": "p1", "parts": [{ "text": "three" }] }), "{piece}");
    Ok(())
}

async fn a_webhook_of_a_task_that_has_ended_is_told_so(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "ended").await?;
    let id = begin(&caller, None).await?["id"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_ended").await?;
    worker.append(&given, 0, &["one ", "two"]).await?;
    let change = json!([{ "path": "a.rs", "change": "modified", "additions": 1, "deletions": 0, "patch": "@@" }]);
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "one two", "changes": change })).await?;
    let task = caller.call("GetTask", json!({ "id": id })).await?;
    ensure!(task["artifacts"].as_array().map(Vec::len) == Some(2), "{task}");
    caller.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": receiver.url("/ended") })).await?;
    let heard = receiver.until("/ended", is_end).await?;
    ensure!(heard == [json!({ "task": task })], "{heard:#?}");
    // It is still there to be read.
    let listed = caller.call("ListTaskPushNotificationConfigs", json!({ "taskId": task["id"] })).await?;
    ensure!(listed["configs"].as_array().map(Vec::len) == Some(1), "{listed}");
    Ok(())
}

async fn another_webhook_under_the_same_id_begins_anew(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "anew").await?;
    let of = |path: &str| json!({ "id": "own", "url": receiver.url(path) });
    let task = begin(&caller, Some(of("/first"))).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_anew").await?;
    receiver.until("/first", |event| told_state(event) == "TASK_STATE_WORKING").await?;
    let mut other = of("/second");
    other["taskId"] = task["id"].clone();
    caller.call("CreateTaskPushNotificationConfig", other).await?;
    worker.append(&given, 0, &["one"]).await?;
    worker.report(&given, ReportedStatus::Completed, json!({ "result": "one" })).await?;
    let heard = receiver.until("/second", is_end).await?;
    ensure!(heard[0]["task"]["id"] == task["id"], "{heard:#?}");
    let first = receiver.tries("/first");
    ensure!(first.iter().all(|got| !is_end(&got.body) && got.body["artifactUpdate"].is_null()), "{first:#?}");
    Ok(())
}

async fn a_deleted_webhook_hears_nothing_more(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rest, "deleted").await?;
    let task = begin(&caller, Some(json!({ "id": "gone", "url": receiver.url("/gone") }))).await?;
    caller.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "id": "kept", "url": receiver.url("/kept") })).await?;
    for path in ["/gone", "/kept"] {
        receiver.until(path, |event| told_state(event) == "TASK_STATE_SUBMITTED").await?;
    }
    caller.call("DeleteTaskPushNotificationConfig", json!({ "taskId": task["id"], "id": "gone" })).await?;
    worker.run(&worker.take().await?, &["one"]).await?;
    receiver.until("/kept", is_end).await?;
    let heard = receiver.tries("/gone");
    ensure!(heard.len() == 1, "{heard:#?}");
    Ok(())
}

async fn pieces_of_text_that_wait_together_are_one(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "pieces").await?;
    begin(&caller, Some(json!({ "url": receiver.url("/pieces") }))).await?;
    let given = worker.take().await?;
    let pieces: Vec<String> = (0..600).map(|n| format!("{n} ")).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    worker.run(&given, &pieces).await?;
    let heard = receiver.until("/pieces", is_end).await?;
    let texts: Vec<_> = heard.iter().filter_map(|event| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str()).collect();
    ensure!(texts.concat() == pieces.concat(), "{texts:?}");
    ensure!(texts.len() < 20, "{} requests for {} pieces that came at once", texts.len(), pieces.len());
    Ok(())
}

async fn without_the_setting_webhooks_are_refused(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, "[a2a]\npush_notifications = false\n")?;
    let server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let http = Http::new(&server);
    let card = http.get("/.well-known/agent-card.json").await?.ok()?;
    ensure!(card["capabilities"]["pushNotifications"] == false, "{card}");
    let caller = Caller::new(&http, Binding::Rpc)?;
    let task = caller.say("x", json!({})).await?;
    let fault = caller.fault("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": "https://hooks.invalid" })).await?;
    ensure!(fault.code == -32003, "{fault:?}");
    Ok(())
}
