//! The relaxed form of `message/send` that the quick-start curls use: `{"message":{"parts":[{"type":"text","content":"Hello"}]}}`, answered with
//! `task` and `message` of the same kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
