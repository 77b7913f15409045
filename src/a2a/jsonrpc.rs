//! JSON-RPC 2.0 at `POST /`: errors come with HTTP 200, a request without an id is answered all the same.

use crate::agents::{Message, Reply};
use crate::api::extract::RawBody;
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use muster_protocol::a2a::{Message as WireMessage, Part, RpcError, RpcRequest, RpcResponse, SendMessage, rpc_code};
use muster_protocol::ids::ContextId;
use serde_json::{Map, Value, json};

/// A refusal of an operation.
struct Refused {
    code: i64,
    message: String,
    data: Value,
}

/// `POST /`
#[utoipa::path(post, path = "/", tag = "a2a", summary = "JSON-RPC 2.0 (message/send)",
    description = "Params: `{\"message\":{\"parts\":[{\"type\":\"text\",\"content\":\"Hello\"}]}}`. Errors come with HTTP 200, as JSON-RPC wants.",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "A JSON-RPC answer with `result` or `error`", body = Object)))]
pub(crate) async fn handle(State(app): State<App>, who: Principal, RawBody(body): RawBody) -> Json<RpcResponse> {
    let (id, outcome) = match read(&body) {
        Ok(request) => (request.id.clone(), call(&app, &who, request).await),
        Err((id, refused)) => (id, Err(refused)),
    };
    let (result, error) = match outcome {
        Ok(result) => (Some(result), None),
        Err(Refused { code, message, data }) => (None, Some(RpcError { code, message, data })),
    };
    Json(RpcResponse { jsonrpc: "2.0".to_owned(), id, result, error })
}

fn refuse(code: i64, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into(), data: Value::Null }
}

/// Reads the request; with an error comes the id, as far as there is one.
fn read(body: &[u8]) -> Result<RpcRequest, (Value, Refused)> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| (Value::Null, refuse(rpc_code::PARSE_ERROR, format!("the body is not JSON: {e}"))))?;
    if value.is_array() {
        return Err((Value::Null, refuse(rpc_code::INVALID_REQUEST, "batches are not supported; send one request at a time")));
    }
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    if !(id.is_null() || id.is_string() || id.is_number()) {
        return Err((Value::Null, refuse(rpc_code::INVALID_REQUEST, "`id` must be a string or a number")));
    }
    let version = value.get("jsonrpc").cloned().unwrap_or(Value::Null);
    let request: RpcRequest = serde_json::from_value(value)
        .map_err(|e| (id.clone(), refuse(rpc_code::INVALID_REQUEST, format!("the body is no JSON-RPC request: {e}"))))?;
    if version != "2.0" {
        return Err((id, refuse(rpc_code::INVALID_REQUEST, "`jsonrpc` must be \"2.0\"")));
    }
    Ok(request)
}

async fn call(app: &App, who: &Principal, request: RpcRequest) -> Result<Value, Refused> {
    match request.method.as_str() {
        "message/send" => send_message(app, who, request.params).await,
        other => {
            let message = format!("there is no method `{}`; this server answers message/send", crate::error::shown(other));
            Err(refuse(rpc_code::METHOD_NOT_FOUND, message))
        }
    }
}

async fn send_message(app: &App, who: &Principal, params: Value) -> Result<Value, Refused> {
    let params: SendMessage = serde_path_to_error::deserialize(params)
        .map_err(|e| refuse(rpc_code::INVALID_PARAMS, format!("params.{}: {}", e.path(), e.inner())))?;
    let reply = app.answer_message(who, incoming(params)?).await.map_err(|error| refused(&error))?;
    Ok(outgoing(&reply))
}

fn incoming(params: SendMessage) -> Result<Message, Refused> {
    let WireMessage { parts, context_id, metadata, .. } = params.message;
    let text = |part: &Part| part.content.as_ref().and_then(Value::as_str).map(str::to_owned);
    let texts: Vec<_> = parts.iter().filter_map(text).collect();
    let data = parts.iter().filter(|part| !part.data.is_null()).map(|part| part.data.clone());
    let other = parts.iter().filter_map(|part| part.content.clone()).filter(|content| !content.is_string());
    let data: Vec<Value> = data.chain(other).collect();
    let agent = metadata.get("agent").or_else(|| params.metadata.get("agent"));
    let agent = match agent {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(refuse(rpc_code::INVALID_PARAMS, "params.message.metadata.agent: must be the name of an agent")),
    };
    let message = Message { text: texts.join("\n"), data, context_id: context_id.map(ContextId), agent };
    if message.prompt().contains('\0') {
        return Err(refuse(rpc_code::INVALID_PARAMS, "params.message.parts: must not contain U+0000"));
    }
    if let Some(id) = message.context_id.as_ref().filter(|id| !muster_protocol::ids::is_acceptable_id(id.as_str())) {
        let message =
            format!("params.message.contextId: `{}` must be printable ASCII without space or slash", crate::error::shown(id.as_str()));
        return Err(refuse(rpc_code::INVALID_PARAMS, message));
    }
    Ok(message)
}

/// `task` and `message` side by side, with parts as the quick start's clients read them.
fn outgoing(reply: &Reply) -> Value {
    let task = &reply.task;
    let part = Part::text(reply.text.clone());
    let message = WireMessage {
        role: Some("agent".to_owned()),
        message_id: Some(format!("{}-answer", task.id)),
        context_id: Some(task.context_id.0.clone()),
        task_id: Some(task.id.to_string()),
        parts: vec![part.clone()],
        metadata: Map::from_iter([("agent".to_owned(), json!(reply.agent))]),
    };
    json!({
        "task": {
            "id": task.id,
            "contextId": task.context_id,
            "status": { "state": task.state, "timestamp": task.updated_at },
            "artifacts": [{ "artifactId": format!("{}-answer", task.id), "parts": [part] }],
            "metadata": { "agent": reply.agent },
        },
        "message": message,
    })
}

/// What the rest of the server refuses, in JSON-RPC's numbers.
fn refused(error: &ApiError) -> Refused {
    let body = error.body();
    let code = match error {
        ApiError::BadRequest(_) | ApiError::Invalid { .. } | ApiError::NotFound { .. } | ApiError::Conflict { .. } => {
            rpc_code::INVALID_PARAMS
        }
        _ => rpc_code::INTERNAL_ERROR,
    };
    if code == rpc_code::INTERNAL_ERROR {
        tracing::warn!(error = %error, "a JSON-RPC request failed");
    }
    Refused { code, message: body.error.message, data: json!({ "code": body.error.code, "details": body.error.details }) }
}

#[cfg(test)]
mod tests {
    use super::read;
    use muster_protocol::a2a::rpc_code;

    fn code_of(body: &str) -> i64 {
        read(body.as_bytes()).map_or_else(|(_, refused)| refused.code, |_| 0)
    }

    #[test]
    fn a_body_that_is_no_request_gets_the_number_of_its_fault() {
        assert_eq!(code_of("{"), rpc_code::PARSE_ERROR);
        assert_eq!(code_of("[]"), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of("7"), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"1.0","method":"message/send"}"#), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","id":{},"method":"message/send"}"#), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","id":1,"method":"message/send"}"#), 0);
    }
}
