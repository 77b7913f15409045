//! What gRPC has of its own: who may ask, what is no call, its end with the server, its place among the requests, and turning it off.

use super::caller::{Binding, Caller, fault_of_status, message};
use super::channel::Channel;
use crate::support::{Cx, Http, Puller, Server, Shared, cases, items, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::a2a::pb;
use prost_types::value::Kind;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::{Code, Status};

cases! {
    [] =>
        who_asks_is_found_out_as_on_the_other_bindings,
        what_is_no_call_is_refused,
        data_keeps_its_numbers,
        a_stream_holds_its_place_among_the_requests_to_its_end,
        where_the_server_stops_a_stream_ends_with_a_status,
        what_is_said_is_not_logged,
        it_can_be_turned_off;
}

static SERVER: Shared = Shared::embedded("a2a-grpc", "name = \"Server-A\"\n");

/// Answers an empty request to list tasks.
async fn list(http: &Http) -> Result<Result<pb::ListTasksResponse, Status>> {
    let http = http.clone().with_header("a2a-version", "1.0")?;
    Channel::of(&http)?.once("ListTasks", pb::ListTasksRequest::default()).await
}

async fn with_settings(cx: &Cx, settings: &str) -> Result<Server> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, settings)?;
    Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await
}

/// A task of a machine that has begun it, and a stream of it.
async fn followed(server: &Server, worker: &Puller) -> Result<(tonic::Streaming<pb::StreamResponse>, muster_protocol::task::Assignment)> {
    let caller = Caller::new(&Http::new(server), Binding::Grpc)?.at(worker.id().as_str());
    let send = json!({ "message": message("work", json!({})), "configuration": { "returnImmediately": true } });
    let task = caller.call("SendMessage", send).await?["task"]["id"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_grpc").await?;
    let mut stream = Channel::of(&caller.http)?.stream("SubscribeToTask", json!({ "id": task })).await??;
    ensure!(matches!(stream.message().await?.and_then(|event| event.payload), Some(pb::Event::Task(_))), "it begins otherwise");
    Ok((stream, given))
}

async fn who_asks_is_found_out_as_on_the_other_bindings(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let token = async |scope: &str| -> Result<String> {
        let made = http.post("/v1/tokens", &json!({ "name": scope, "scope": scope })).await?.ok()?;
        Ok(text(&made, "secret")?.to_owned())
    };
    let (agent, viewer) = (token("agent").await?, token("viewer").await?);
    list(&http).await??;
    let elsewhere = http.clone().with_header("host", "muster.example")?;
    list(&elsewhere.clone().with_token(&agent)?).await??;
    let of = |name: &'static str, value: &str| http.clone().with_header(name, value);
    for (who, code, says) in [
        (elsewhere.clone(), Code::Unauthenticated, "needs a token"),
        (elsewhere.clone().with_token(&agent.replace("agent_", "agent_x"))?, Code::Unauthenticated, "token"),
        (elsewhere.with_token(&viewer)?, Code::PermissionDenied, "viewer"),
        (of("authorization", "Basic dXNlcjpwYXNz")?, Code::Unauthenticated, "Bearer"),
        (of("x-forwarded-for", "192.0.2.1")?, Code::Unauthenticated, "proxy"),
        (of("origin", "https://evil.example")?, Code::Unauthenticated, "another site"),
        (
            of("origin", "https://evil.example")?.with_header("authorization", &format!("Bearer {agent}"))?,
            Code::PermissionDenied,
            "another site",
        ),
    ] {
        let status = list(&who).await?.err().context("it is answered")?;
        ensure!(status.code() == code && status.message().contains(says), "not {code:?}, {says}: {status:?}");
        ensure!(status.metadata().contains_key("x-request-id"), "the log cannot be asked for it: {status:?}");
    }
    Ok(())
}

fn part(content: pb::Content) -> pb::Part {
    pb::Part { content: Some(content), ..pb::Part::default() }
}

fn said(parts: Vec<pb::Part>) -> pb::SendMessageRequest {
    let message = pb::Message { message_id: "m".into(), role: 1, parts, ..Default::default() };
    pb::SendMessageRequest { message: Some(message), ..Default::default() }
}

async fn what_is_no_call_is_refused(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?.with_header("a2a-version", "1.0")?;
    let mut channel = Channel::of(&http)?;
    let unknown = channel.once::<_, ()>("ExplodeTask", ()).await?.err().context("it is answered")?;
    ensure!(unknown.code() == Code::Unimplemented && unknown.message().contains("ExplodeTask"), "{unknown:?}");
    // A message of which another field has another type: 2 is a text.
    let wrong = prost_types::Timestamp { seconds: 1, nanos: 7 };
    let refused = channel.once::<_, ()>("GetTask", wrong).await?.err().context("it is answered")?;
    let fault = fault_of_status(&refused)?;
    ensure!(refused.code() == Code::InvalidArgument && fault.reason == "INVALID_REQUEST", "{refused:?}");
    let many = said(vec![pb::Part::default(); 1 << 20]);
    let refused = channel.once::<_, ()>("SendMessage", many).await?.err().context("it is answered")?;
    ensure!(fault_of_status(&refused)?.reason == "INVALID_PARAMS", "{refused:?}");
    let text = prost_types::Value { kind: Some(Kind::StringValue("x".into())) };
    let list = |inner| prost_types::Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![inner] })) };
    for (levels, reason) in [(31, "INVALID_PARAMS"), (200, "INVALID_REQUEST")] {
        let deep = pb::Content::Data((0..levels).fold(text.clone(), |inner, _| list(inner)));
        let refused = channel.once::<_, ()>("SendMessage", said(vec![part(deep)])).await?.err().context("it is answered")?;
        ensure!(refused.code() == Code::InvalidArgument && fault_of_status(&refused)?.reason == reason, "{levels} levels: {refused:?}");
    }
    let huge = pb::GetTaskRequest { id: "x".repeat(5 << 20), ..Default::default() };
    let refused = channel.once::<_, ()>("GetTask", huge).await?.err().context("it is answered")?;
    ensure!(refused.code() == Code::OutOfRange, "{refused:?}");
    let path = format!("/{}/GetTask", pb::SERVICE);
    // A body without a message is the caller's mistake, as one without anything in it is.
    for method in ["GetTask", "SubscribeToTask"] {
        let empty = http.request(Method::POST, &format!("/{}/{method}", pb::SERVICE)).header("content-type", "application/grpc");
        let answer = http.send(empty).await?;
        ensure!(answer.header("grpc-status") == Some("3"), "{method}: {answer:?}");
        ensure!(answer.header("grpc-message").is_some_and(|message| message.contains("no%20message")), "{method}: {answer:?}");
    }
    let refused = channel.once::<_, ()>("SendMessage", ()).await?.err().context("it is answered")?;
    ensure!(fault_of_status(&refused)?.details[1]["fieldViolations"][0]["field"] == "message", "{refused:?}");
    http.post(&path, &json!({})).await?.refused(415, "unsupported_media_type")?;
    http.get(&path).await?.refused(405, "method_not_allowed")?;
    Ok(())
}

async fn data_keeps_its_numbers(cx: &Cx) -> Result<()> {
    let caller = Caller::new(&SERVER.http(cx).await?, Binding::Grpc)?;
    let data = json!({ "whole": 3, "half": 0.5, "large": 9_007_199_254_740_991_i64, "below": -7, "list": [1, [2, { "deep": null }]] });
    let task = caller.say("", json!({ "parts": [{ "data": data }], "metadata": { "agent": "monitor" } })).await?;
    ensure!(task["history"][0]["parts"][0]["data"] == data, "{task}");
    // And on another binding it is the same.
    let other = Caller::new(&SERVER.http(cx).await?, Binding::Rpc)?.call("GetTask", json!({ "id": task["id"] })).await?;
    ensure!(other["history"] == task["history"] && other["artifacts"] == task["artifacts"], "{other}");
    let infinite = prost_types::Value { kind: Some(Kind::NumberValue(f64::INFINITY)) };
    let send = said(vec![part(pb::Content::Data(infinite))]);
    let refused = Channel::of(&caller.http)?.once::<_, ()>("SendMessage", send).await?.err().context("it is answered")?;
    ensure!(fault_of_status(&refused)?.details[1]["fieldViolations"][0]["field"] == "message.parts[0].data", "{refused:?}");
    Ok(())
}

async fn a_stream_holds_its_place_among_the_requests_to_its_end(cx: &Cx) -> Result<()> {
    let server = with_settings(cx, "[limits]\nmax_requests = 1\n").await?;
    let worker = Puller::register(server.client(), "one", json!({})).await?;
    let (stream, _) = followed(&server, &worker).await?;
    let http = Http::new(&server);
    http.get("/healthz").await?.refused(503, "overloaded")?;
    let status = list(&http).await?.err().context("it is answered")?;
    ensure!(status.code() == Code::Unavailable, "{status:?}");
    drop(stream);
    let free = async || Ok((http.get("/healthz").await?.status == 200).then_some(()));
    wait_for("the place to be free", Duration::from_secs(20), free).await
}

async fn where_the_server_stops_a_stream_ends_with_a_status(cx: &Cx) -> Result<()> {
    let mut server = Server::new(cx.dir(), "server")?.launch().await?;
    let worker = Puller::register(server.client(), "stops", json!({})).await?;
    let (mut stream, _) = followed(&server, &worker).await?;
    let status = server.stop().await?;
    ensure!(status.success(), "{status}");
    let end = stream.message().await.err().context("it ends as if the task had")?;
    ensure!(end.code() == Code::Unavailable && end.message().contains("stops"), "{end:?}");
    Ok(())
}

async fn what_is_said_is_not_logged(cx: &Cx) -> Result<()> {
    let server = with_settings(cx, "[a2a]\npush_notifications = true\n[log]\nhttp = true\n").await?;
    let caller = Caller::new(&Http::new(&server), Binding::Grpc)?;
    let webhook =
        json!({ "url": "https://example.com", "token": "hush-hush", "authentication": { "scheme": "Basic", "credentials": "hush-too" } });
    let send = json!({ "message": message("aloud", json!({})), "configuration": { "taskPushNotificationConfig": webhook } });
    let task = caller.call("SendMessage", send).await?["task"].clone();
    let listed = caller.call("ListTaskPushNotificationConfigs", json!({ "taskId": task["id"] })).await?;
    ensure!(listed["configs"][0]["token"] == "hush-hush", "{listed}");
    let log = server.log();
    ensure!(log.contains("A2AService/SendMessage") && log.contains("bytes of gRPC"), "it logs {log}");
    ensure!(!log.contains("hush"), "it logs {log}");
    Ok(())
}

async fn it_can_be_turned_off(cx: &Cx) -> Result<()> {
    let server = with_settings(cx, "[a2a]\ngrpc = false\n").await?;
    let http = Http::new(&server);
    let status = list(&http).await?.err().context("it is answered")?;
    ensure!(status.code() == Code::Unimplemented, "{status:?}");
    for path in ["/.well-known/agent-card.json", "/agents/monitor/.well-known/agent-card.json"] {
        let card = http.send(http.request(Method::GET, path)).await?.ok()?;
        ensure!(items(&card["supportedInterfaces"])?.iter().all(|one: &Value| one["protocolBinding"] != "GRPC"), "{card}");
    }
    Ok(())
}
