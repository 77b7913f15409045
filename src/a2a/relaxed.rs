//! The relaxed form of `message/send`: parts as `{"type":"text","content":".."}`, no role, no ids; answered with task and message side by side.

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use super::incoming::seconds;
use crate::agents::{Message, Reply};
use muster_protocol::a2a::relaxed::{Message as WireMessage, Part, SendMessage};
use muster_protocol::ids::ContextId;
use serde_json::{Map, Value, json};

/// Whether parameters are of this form: something that 0.3 demands of a message is absent. One that says it is a `message` is 0.3's.
pub(super) fn is_relaxed(params: &Value) -> bool {
    let Some(message) = params.get("message").and_then(Value::as_object) else { return true };
    if message.contains_key("kind") {
        return false;
    }
    let parts = message.get("parts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_bare = |part: &Value| part.get("kind").is_none_or(Value::is_null);
    !message.contains_key("role") || !message.contains_key("messageId") || parts.iter().any(is_bare)
}

impl Asked {
    pub(super) async fn send_relaxed(&self, params: SendMessage) -> Outcome<Value> {
        let mut message = incoming(params)?;
        if let Some(agent) = &self.agent {
            message.agent = Some(self.app.agent_name(agent));
        }
        let reply = self.app.answer_message(&self.who, message).await?;
        Ok(outgoing(&reply))
    }
}

pub(super) fn incoming(params: SendMessage) -> Outcome<Message> {
    let WireMessage { parts, context_id, metadata, .. } = params.message;
    let is_known = |part: &Part| part.kind.as_deref().is_none_or(|kind| matches!(kind, "text" | "data"));
    if let Some(n) = parts.iter().position(|part| !is_known(part)) {
        return Err(A2aError::invalid(&format!("params.message.parts[{n}].type"), "must be `text` or `data`"));
    }
    let text = |part: &Part| part.content.as_ref().and_then(Value::as_str).map(str::to_owned);
    let texts: Vec<_> = parts.iter().filter_map(text).collect();
    let data = parts.iter().filter(|part| !part.data.is_null()).map(|part| part.data.clone());
    let other = parts.iter().filter_map(|part| part.content.clone()).filter(|content| !content.is_string());
    let data: Vec<Value> = data.chain(other).collect();
    let agent = metadata.get("agent").or_else(|| params.metadata.get("agent"));
    let agent = match agent {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(A2aError::invalid("params.message.metadata.agent", "must be the name of an agent")),
    };
    let deadline = metadata.get("deadline_s").or_else(|| params.metadata.get("deadline_s")).filter(|value| !value.is_null());
    let deadline_s = deadline.and_then(seconds);
    if deadline.is_some() && deadline_s.is_none() {
        return Err(A2aError::invalid("params.message.metadata.deadline_s", "must be a number of seconds, at least 1"));
    }
    let context_id = context_id.map(ContextId);
    let message = Message { text: texts.join("\n"), data, context_id, agent, deadline_s, ..Message::default() };
    if message.prompt().contains('\0') {
        return Err(A2aError::invalid("params.message.parts", "must not contain U+0000"));
    }
    if let Some(id) = message.context_id.as_ref().filter(|id| !muster_protocol::ids::is_acceptable_id(id.as_str())) {
        let message = format!("`{}` must be printable ASCII without space or slash", crate::error::shown(id.as_str()));
        return Err(A2aError::invalid("params.message.contextId", message));
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
