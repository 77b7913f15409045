//! JSON-RPC at `POST /`: HTTP 200 with the numbers of its specification.

use super::Victim;
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

pub(super) async fn errors(victim: &Victim) -> Result<()> {
    let broken: [&[u8]; 7] = [b"", b"{", b"nonsense", b"\0", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", b"{}{}", b"[1,]"];
    for body in broken {
        ensure_code(victim, body.to_vec(), PARSE_ERROR, &Value::Null).await?;
    }
    for body in [
        json!([]),
        json!([{ "jsonrpc": "2.0", "id": 1, "method": "message/send" }]),
        json!(7),
        json!("x"),
        json!(null),
        json!({}),
        json!({ "jsonrpc": "2.0", "method": 7 }),
        json!({ "jsonrpc": "1.0", "method": "message/send" }),
        json!({ "method": "message/send" }),
        json!({ "jsonrpc": "2.0", "id": {}, "method": "message/send" }),
        json!(["2.0", 1, "message/send", {}]),
    ] {
        ensure_code(victim, body.to_string(), INVALID_REQUEST, &Value::Null).await?;
    }
    for method in ["", "message/none", "Message/Send", "tasks/get\u{0}"] {
        let body = json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": {} });
        ensure_code(victim, body.to_string(), METHOD_NOT_FOUND, &json!("a")).await?;
    }
    let message = |message: Value| json!({ "message": message });
    for params in [
        Value::Null,
        json!(7),
        json!([]),
        json!({}),
        message(json!(7)),
        message(json!([])),
        message(json!({})),
        message(json!({ "parts": "x" })),
        message(json!({ "parts": [] })),
        message(json!({ "parts": [7] })),
        message(json!({ "parts": [[]] })),
        message(json!({ "parts": [{}] })),
        message(json!({ "parts": [{ "type": "text", "content": "" }] })),
        message(json!({ "parts": [{ "type": "text", "content": "a\u{0}b" }] })),
        message(json!({ "parts": [{ "type": 7, "content": "x" }] })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "contextId": "a b" })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "contextId": 7 })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "metadata": { "agent": 7 } })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "metadata": [] })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "metadata": { "agent": "no-such-agent" } })),
        message(json!({ "parts": [{ "type": "text", "content": "x" }], "metadata": { "agent": "a\u{0}b" } })),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 3, "method": "message/send", "params": params });
        ensure_code(victim, body.to_string(), INVALID_PARAMS, &json!(3)).await?;
    }
    victim.ensure_unharmed().await
}

async fn ensure_code(victim: &Victim, body: impl Into<Vec<u8>>, code: i64, id: &Value) -> Result<()> {
    let body = body.into();
    let sent = String::from_utf8_lossy(&body).into_owned();
    let answer = victim.http.raw(Method::POST, "/", body).await?.ok()?;
    let error = &answer["error"];
    ensure!(error["code"] == code, "{sent} was answered with {answer}, not with {code}");
    ensure!(answer["jsonrpc"] == "2.0" && answer["id"] == *id && answer.get("result").is_none(), "{sent}: {answer}");
    ensure!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{sent}: {answer}");
    Ok(())
}
