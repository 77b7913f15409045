//! Every row of the table of errors, on each binding. Those that come from an agent of others (an answer that is no card, an extended card that is not set)
//! are in `external_agents/extended`; the required extension, which needs a setting, is in the tests of the table itself.

use super::caller::{BINDINGS, Binding, Caller, OF_JSON, message};
use crate::support::{Cx, Shared, cases};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

cases! {
    [] =>
        each_row_of_the_table_has_its_code_on_each_binding,
        wrong_parameters_are_named,
        the_version_is_demanded,
        what_is_no_request_of_http_json_is_told,
        answers_are_of_the_type_that_is_asked_for,
        data_that_one_binding_cannot_show_is_refused_on_all,
        a_flood_of_parts_is_refused_at_bounded_cost;
}

static SERVER: Shared = Shared::embedded("a2a-errors", "name = \"Server-A\"\n[a2a]\npush_notifications = false\n");

/// The numbers of `google.rpc.Code`.
const INVALID_ARGUMENT: i64 = 3;
const NOT_FOUND: i64 = 5;
const FAILED_PRECONDITION: i64 = 9;
const NOBODY: &str = "0193a0c0-0000-7000-8000-00000000dead";

/// What is asked, and JSON-RPC's code, HTTP's status, the reason.
async fn rows(caller: &Caller) -> Result<Vec<(&'static str, Value, i64, i64, &'static str)>> {
    let ended = caller.at("monitor").say("x", json!({})).await?["id"].clone();
    let webhook = json!({ "taskId": ended, "url": "https://hooks.invalid" });
    let image = json!({ "parts": [{ "raw": "AAAA", "mediaType": "image/png" }] });
    let to = |id: &Value| json!({ "message": message("x", json!({ "taskId": id })) });
    let with_webhook =
        json!({ "message": message("x", json!({})), "configuration": { "taskPushNotificationConfig": { "url": "https://x" } } });
    Ok(vec![
        ("GetTask", json!({ "id": NOBODY }), -32001, 404, "TASK_NOT_FOUND"),
        ("GetTask", json!({ "id": "no-uuid" }), -32001, 404, "TASK_NOT_FOUND"),
        ("CancelTask", json!({ "id": NOBODY }), -32001, 404, "TASK_NOT_FOUND"),
        ("SubscribeToTask", json!({ "id": NOBODY }), -32001, 404, "TASK_NOT_FOUND"),
        ("SendMessage", to(&json!(NOBODY)), -32001, 404, "TASK_NOT_FOUND"),
        ("SendStreamingMessage", to(&json!(NOBODY)), -32001, 404, "TASK_NOT_FOUND"),
        ("CancelTask", json!({ "id": ended }), -32002, 400, "TASK_NOT_CANCELABLE"),
        ("CreateTaskPushNotificationConfig", webhook, -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("GetTaskPushNotificationConfig", json!({ "taskId": ended, "id": "a" }), -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("ListTaskPushNotificationConfigs", json!({ "taskId": ended }), -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("DeleteTaskPushNotificationConfig", json!({ "taskId": ended, "id": "a" }), -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("SendMessage", with_webhook, -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("SendMessage", to(&ended), -32004, 400, "UNSUPPORTED_OPERATION"),
        ("SendStreamingMessage", to(&ended), -32004, 400, "UNSUPPORTED_OPERATION"),
        ("SubscribeToTask", json!({ "id": ended }), -32004, 400, "UNSUPPORTED_OPERATION"),
        ("SendMessage", json!({ "message": message("", image.clone()) }), -32005, 400, "CONTENT_TYPE_NOT_SUPPORTED"),
        ("SendStreamingMessage", json!({ "message": message("", image) }), -32005, 400, "CONTENT_TYPE_NOT_SUPPORTED"),
    ])
}

async fn each_row_of_the_table_has_its_code_on_each_binding(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?;
        for (operation, params, rpc, http, reason) in rows(&caller).await? {
            let code = match (binding, reason) {
                (Binding::Rpc, _) => rpc,
                (Binding::Rest, _) => http,
                (Binding::Grpc, "TASK_NOT_FOUND") => NOT_FOUND,
                (Binding::Grpc, "CONTENT_TYPE_NOT_SUPPORTED") => INVALID_ARGUMENT,
                (Binding::Grpc, _) => FAILED_PRECONDITION,
            };
            let fault = caller.fault(operation, params.clone()).await?;
            ensure!(fault.code == code && fault.reason == reason, "{operation} {params}: {fault:?}");
        }
        // The machine whose card would be wanted has left meanwhile: 404 by HTTP, as for one that never was.
        let gone = caller.at("never-was");
        if binding == Binding::Grpc {
            let fault = gone.fault("GetExtendedAgentCard", json!({})).await?;
            ensure!(fault.code == INVALID_ARGUMENT && fault.details[1]["fieldViolations"][0]["field"] == "tenant", "{fault:?}");
            continue;
        }
        let answer = gone.http.send(gone.request("GetExtendedAgentCard", &json!({}))).await?;
        ensure!(answer.status == 404, "{answer:?}");
    }
    Ok(())
}

async fn wrong_parameters_are_named(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?;
        let task = caller.at("monitor").say("x", json!({})).await?;
        let said = |more: Value| json!({ "message": message("x", more) });
        for (operation, params, field) in [
            ("GetTask", json!({ "id": task["id"], "historyLength": -1 }), "historyLength"),
            ("GetTask", json!({ "id": task["id"], "historyLength": "many" }), "historyLength"),
            ("ListTasks", json!({ "pageSize": 0 }), "pageSize"),
            ("ListTasks", json!({ "pageSize": 101 }), "pageSize"),
            ("ListTasks", json!({ "pageSize": -1 }), "pageSize"),
            ("ListTasks", json!({ "pageToken": "nonsense" }), "pageToken"),
            ("ListTasks", json!({ "status": "working" }), "status"),
            ("ListTasks", json!({ "historyLength": -1 }), "historyLength"),
            ("ListTasks", json!({ "statusTimestampAfter": "yesterday" }), "statusTimestampAfter"),
            ("ListTasks", json!({ "includeArtifacts": "perhaps" }), "includeArtifacts"),
            ("SendMessage", json!({}), "message"),
            ("SendMessage", json!({ "message": [] }), "message"),
            ("SendMessage", said(json!({ "parts": [] })), "parts"),
            ("SendMessage", said(json!({ "parts": [{}] })), "parts[0]"),
            ("SendMessage", said(json!({ "parts": [{ "text": "a", "url": "b" }] })), "parts[0]"),
            ("SendMessage", said(json!({ "parts": [{ "raw": "*" }] })), "raw"),
            ("SendMessage", said(json!({ "parts": [{ "text": "a\u{0}b" }] })), "parts"),
            ("SendMessage", said(json!({ "parts": [{ "text": "  " }] })), "parts"),
            ("SendMessage", said(json!({ "role": "user" })), "role"),
            ("SendMessage", said(json!({ "messageId": "" })), "messageId"),
            ("SendMessage", said(json!({ "messageId": null })), "messageId"),
            ("SendMessage", said(json!({ "contextId": "a b" })), "contextId"),
            ("SendMessage", said(json!({ "metadata": { "agent": 7 } })), "agent"),
            ("SendMessage", said(json!({ "metadata": { "agent": "nobody" } })), "nobody"),
            ("SendMessage", said(json!({ "metadata": { "codebase": "app" } })), "codebase"),
            ("SendMessage", json!({ "message": message("x", json!({})), "configuration": { "historyLength": -5 } }), "historyLength"),
        ] {
            if !caller.can_say(operation, &params).await {
                continue;
            }
            let fault = caller.fault(operation, params.clone()).await?;
            ensure!(fault.reason == "INVALID_PARAMS", "{operation} {params}: {fault:?}");
            ensure!(binding != Binding::Grpc || fault.code == INVALID_ARGUMENT, "{operation} {params}: {fault:?}");
            ensure!(fault.message.contains(field), "{operation} {params} does not name {field}: {fault:?}");
        }
        let worker = crate::support::Puller::register(SERVER.get(cx).await?.client(), &format!("w-{binding:?}"), json!({})).await?;
        let machine = caller.at(worker.id().as_str());
        let open = json!({ "message": message("x", json!({})), "configuration": { "returnImmediately": true } });
        let task = machine.call("SendMessage", open).await?["task"]["id"].clone();
        let other = json!({ "message": message("x", json!({ "taskId": task, "contextId": "another" })) });
        let fault = machine.fault("SendMessage", other).await?;
        ensure!(fault.reason == "INVALID_PARAMS" && fault.details[1]["fieldViolations"][0]["field"] == "message.contextId", "{fault:?}");
    }
    Ok(())
}

async fn the_version_is_demanded(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    for (version, fits) in
        [("1.0", true), ("1", true), ("1.0.1", true), ("", false), ("0.3", false), ("1.1", false), ("99.0", false), ("x", false)]
    {
        for binding in BINDINGS {
            let mut caller = Caller::new(&http, binding)?;
            caller.http = http.clone().with_header("a2a-version", version)?;
            if fits {
                caller.call("ListTasks", json!({})).await?;
            } else {
                let fault = caller.fault("ListTasks", json!({})).await?;
                let code = match binding {
                    Binding::Rpc => -32009,
                    Binding::Rest => 400,
                    Binding::Grpc => FAILED_PRECONDITION,
                };
                ensure!(fault.code == code && fault.reason == "VERSION_NOT_SUPPORTED", "{version}: {fault:?}");
            }
        }
        // What 0.3 calls its own is not of another version.
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": { "id": NOBODY } });
        let answer = http.send(http.request(Method::POST, "/").header("a2a-version", version).json(&body)).await?.ok()?;
        let code = if matches!(version, "" | "0.3") { -32001 } else { -32009 };
        ensure!(answer["error"]["code"] == code, "{version}: {answer}");
    }
    // In the address, where no header can be sent.
    http.get("/tasks?A2A-Version=1.0").await?.ok()?;
    ensure!(http.get("/tasks").await?.status == 400, "without a version it is 0.3, which has no such path");
    Ok(())
}

async fn what_is_no_request_of_http_json_is_told(cx: &Cx) -> Result<()> {
    let caller = Caller::new(&SERVER.http(cx).await?, Binding::Rest)?;
    for (method, path) in [
        (Method::GET, "/message:send"),
        (Method::PUT, "/tasks"),
        (Method::GET, "/tasks/a:cancel"),
        (Method::POST, "/tasks/a:explode"),
        (Method::GET, "/tasks/a/b/c/d"),
        (Method::GET, "/agents/monitor/nothing"),
        (Method::DELETE, "/extendedAgentCard"),
    ] {
        let answer = caller.http.send(caller.http.request(method.clone(), path)).await?;
        let fault = caller.fault_of(&answer)?;
        ensure!(fault.code == 404 && fault.reason == "METHOD_NOT_FOUND", "{method} {path}: {fault:?}");
    }
    let post = async |kind: &str, body: &'static str| {
        let request = caller.http.request(Method::POST, "/message:send").header("content-type", kind).body(body);
        caller.fault_of(&caller.http.send(request).await?)
    };
    ensure!(post("application/json", "{").await?.reason == "JSON_PARSE_ERROR", "broken JSON");
    ensure!(post("application/json", "[]").await?.reason == "INVALID_REQUEST", "an array");
    ensure!(post("text/plain", "{}").await?.reason == "CONTENT_TYPE_NOT_SUPPORTED", "a text");
    // JSON-RPC says the same of a body that is something else.
    let rpc = Caller::new(&SERVER.http(cx).await?, Binding::Rpc)?;
    let request = rpc.http.request(Method::POST, "/").header("content-type", "text/plain").body("{}");
    let fault = rpc.fault_of(&rpc.http.send(request).await?)?;
    ensure!(fault.code == -32005 && fault.reason == "CONTENT_TYPE_NOT_SUPPORTED", "{fault:?}");
    Ok(())
}

async fn answers_are_of_the_type_that_is_asked_for(cx: &Cx) -> Result<()> {
    const OWN: &str = "application/a2a+json";
    const PLAIN: &str = "application/json";
    let http = Caller::new(&SERVER.http(cx).await?, Binding::Rest)?.http;
    let body = json!({ "message": message("x", json!({ "metadata": { "agent": "monitor" } })) }).to_string();
    for (sent, accepted, answered, refused) in [
        (PLAIN, "*/*", OWN, PLAIN),
        (OWN, "*/*", OWN, OWN),
        (PLAIN, PLAIN, PLAIN, PLAIN),
        (PLAIN, "application/a2a+json, application/json", OWN, OWN),
    ] {
        let of = async |request: reqwest::RequestBuilder| {
            let answer = http.send(request.header("accept", accepted)).await?;
            anyhow::Ok(answer.header("content-type").map(str::to_owned))
        };
        let send = || http.request(Method::POST, "/message:send").header("content-type", sent);
        let (good, bad) = (of(send().body(body.clone())).await?, of(send().body("{")).await?);
        ensure!(good.as_deref() == Some(answered) && bad.as_deref() == Some(refused), "{sent} {accepted}: {good:?} {bad:?}");
        let listed = of(http.request(Method::GET, "/tasks")).await?;
        ensure!(listed.as_deref() == Some(answered), "{accepted}: {listed:?}");
    }
    let stream =
        http.request(Method::POST, "/message:stream").header("content-type", PLAIN).header("accept", "text/event-stream").body(body);
    let stream = http.send(stream).await?;
    ensure!(stream.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")), "{stream:?}");
    // JSON-RPC's is its own.
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "ListTasks" });
    ensure!(http.post("/", &list).await?.header("content-type") == Some(PLAIN), "JSON-RPC answers otherwise");
    Ok(())
}

async fn data_that_one_binding_cannot_show_is_refused_on_all(cx: &Cx) -> Result<()> {
    let nested = |levels: usize| (0..levels).fold(json!("deepest"), |inner, _| json!({ "a": inner }));
    for binding in BINDINGS {
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at("monitor");
        let parts = json!([{ "data": nested(30), "metadata": nested(30) }]);
        let task = caller.say("", json!({ "parts": parts, "metadata": nested(30) })).await?;
        for reader in BINDINGS {
            let reader = Caller::new(&caller.http, reader)?;
            let read = reader.call("GetTask", json!({ "id": task["id"] })).await?;
            ensure!(read["history"][0]["parts"] == parts, "{read}");
            let context = json!({ "contextId": task["contextId"] });
            ensure!(reader.call("ListTasks", context).await?["tasks"][0]["history"] == read["history"], "it is listed otherwise");
        }
        if binding == Binding::Grpc {
            // What would be refused is not even written so; see the cases of gRPC.
            continue;
        }
        for (field, more) in [
            ("message.parts[0].data", json!({ "parts": [{ "data": nested(31) }] })),
            ("message.parts[0].metadata", json!({ "parts": [{ "text": "x", "metadata": nested(31) }] })),
            ("message.metadata", json!({ "metadata": nested(31) })),
        ] {
            let fault = caller.fault("SendMessage", json!({ "message": message("x", more) })).await?;
            ensure!(fault.reason == "INVALID_PARAMS" && fault.details[1]["fieldViolations"][0]["field"] == field, "{field}: {fault:?}");
        }
    }
    Ok(())
}

async fn a_flood_of_parts_is_refused_at_bounded_cost(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?;
        let parts = vec![json!({ "text": "x" }); 10_000];
        let fault = caller.fault("SendMessage", json!({ "message": message("", json!({ "parts": parts })) })).await?;
        ensure!(fault.reason == "INVALID_PARAMS" && fault.message.contains("1000"), "{fault:?}");
        let huge = "x".repeat(100_000);
        let fault = caller.fault("SendMessage", json!({ "message": message("x", json!({ "taskId": huge })) })).await?;
        ensure!(fault.reason == "TASK_NOT_FOUND" && fault.message.len() < 500, "{} bytes", fault.message.len());
        if !OF_JSON.contains(&binding) {
            continue;
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let path = if binding == Binding::Rpc { "/" } else { "/message:send" };
        let answer = caller.http.raw(Method::POST, path, deep).await?;
        ensure!(caller.fault_of(&answer)?.reason == "JSON_PARSE_ERROR", "{answer:?}");
    }
    Ok(())
}
