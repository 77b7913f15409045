//! The envelope of JSON-RPC 2.0.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
