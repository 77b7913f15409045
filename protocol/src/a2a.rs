//! The A2A data model. What is here now is the relaxed form of `message/send` that the quick-start curls use:
//! `{"message":{"parts":[{"type":"text","content":"Hello"}]}}`, answered with `task` and `message` of the same kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON-RPC 2.0 request. Without an id it is answered all the same, as A2A clients expect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RpcRequest {
    /// Must be `2.0`.
    #[serde(default)]
    pub jsonrpc: String,
    /// Given back with the answer.
    #[serde(default)]
    pub id: Value,
    /// Which operation.
    pub method: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Value,
}

/// A JSON-RPC 2.0 answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RpcResponse {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// As in the request.
    pub id: Value,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcError>,
}

/// A JSON-RPC 2.0 error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RpcError {
    /// The number; see [`rpc_code`].
    pub code: i64,
    /// A sentence.
    pub message: String,
    /// More, by code.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// The numbers of JSON-RPC 2.0, section 5.1.
pub mod rpc_code {
    /// The body is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The body is not a request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A fault of the server.
    pub const INTERNAL_ERROR: i64 = -32603;
}

/// Parameters of `message/send`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMessage {
    /// The message.
    pub message: Message,
    /// Anything.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A message, relaxed: role and ids may be absent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// `user` or `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The sender's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The task that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What it says.
    pub parts: Vec<Part>,
    /// Anything; `agent` names the agent that is to answer.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A part: `{"type":"text","content":".."}`, also with `kind` and `text`, or `{"data":..}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    /// `text` or `data`.
    #[serde(rename = "type", alias = "kind", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The text.
    #[serde(default, alias = "text", skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Structured content.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Part {
    /// A text part.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Some("text".to_owned()), content: Some(Value::String(text.into())), data: Value::Null }
    }
}
