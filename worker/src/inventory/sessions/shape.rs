//! OpenCode's sessions and messages as they leave the machine. Fields are picked by name: provider options, headers and
//! bodies stay here, and so does whatever a later OpenCode adds.

use crate::opencode::client::Listed;
use crate::opencode::error::scrub;
use muster_protocol::ids::SessionId;
use muster_protocol::session::{SessionMessage, SessionReport};
use muster_protocol::time::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// What each text of a part is cut to, in bytes; harder where a message is still too large for one request.
const CUTS: [usize; 3] = [32 << 10, 4 << 10, 512];
/// The largest message that is sent, in bytes of JSON.
pub(super) const MAX_MESSAGE: usize = 900_000;
/// The longest title, in characters.
const MAX_TITLE: usize = 500;

/// A session as it is told.
pub(super) fn report(listed: &Listed, count: Option<u64>) -> SessionReport {
    let numbers = ["additions", "deletions", "files"].map(|name| (name.to_owned(), listed.summary[name].clone()));
    let summary: Map<String, Value> = numbers.into_iter().filter(|(_, value)| value.is_number()).collect();
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    SessionReport {
        id: SessionId(listed.id.clone()),
        title: Some(listed.title.chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect()),
        directory: text(&listed.directory),
        project_id: text(&listed.project_id),
        created: Some(Timestamp(listed.time.created)),
        updated: Some(Timestamp(listed.time.updated)),
        message_count: count,
        summary: if summary.is_empty() { Value::Null } else { Value::Object(summary) },
        version: text(&listed.version),
        parent_id: listed.parent_id.clone().map(SessionId),
    }
}

/// A message as it is told, and its length as JSON; `None` if it is none.
pub(super) fn message(value: &Value) -> Option<(SessionMessage, usize)> {
    let info = &value["info"];
    let mut message = SessionMessage {
        id: info["id"].as_str()?.to_owned(),
        role: info["role"].as_str().map(str::to_owned),
        time: pick(&info["time"], &["created", "completed"], CUTS[2]),
        agent: info["agent"].as_str().or_else(|| info["mode"].as_str()).map(str::to_owned),
        model: model(info),
        cost: info["cost"].as_f64(),
        tokens: info["tokens"].clone(),
        parts: Vec::new(),
    };
    for most in CUTS {
        message.parts = parts(value, most);
        let size = size(&message);
        if size <= MAX_MESSAGE {
            return Some((message, size));
        }
    }
    let all = message.parts.len();
    while size(&message) > MAX_MESSAGE && message.parts.len() > 1 {
        message.parts.truncate(message.parts.len() / 2);
    }
    message
        .parts
        .push(json!({"type": "text", "synthetic": true, "text": format!("[cut: only {} of {all} parts are shown]", message.parts.len())}));
    let size = size(&message);
    Some((message, size))
}

/// Eight bytes that change with what they are of.
pub(super) fn fingerprint(value: &impl serde::Serialize) -> u64 {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(&json);
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn size(message: &SessionMessage) -> usize {
    serde_json::to_vec(message).map_or(usize::MAX, |json| json.len())
}

fn model(info: &Value) -> Value {
    let of = |value: &Value| Some(format!("{}/{}", value["providerID"].as_str()?, value["modelID"].as_str()?));
    of(info).or_else(|| of(&info["model"])).map_or(Value::Null, Value::String)
}

fn parts(value: &Value, most: usize) -> Vec<Value> {
    let parts = value["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let mut parts: Vec<Value> = parts.iter().map(|value| part(value, most)).collect();
    // An answer that failed has no part that says so.
    if let Some(failed) = value["info"]["error"]["name"].as_str() {
        let message = value["info"]["error"]["data"]["message"].as_str().unwrap_or_default();
        parts.push(json!({"type": "error", "name": failed, "message": scrub(message)}));
    }
    parts
}

fn part(part: &Value, most: usize) -> Value {
    let fields: &[&str] = match part["type"].as_str().unwrap_or_default() {
        "text" => &["text", "synthetic", "ignored", "time"],
        "reasoning" => &["text", "time"],
        "tool" => &["tool", "callID"],
        "file" => &["mime", "filename", "url"],
        "patch" => &["hash", "files"],
        "step-finish" => &["reason", "cost", "tokens"],
        "agent" => &["name"],
        "subtask" => &["prompt", "description", "agent"],
        "compaction" => &["auto"],
        "retry" => &["attempt", "time"],
        _ => &[],
    };
    let mut picked = pick(part, &["id", "type"], most);
    if let (Value::Object(picked), Value::Object(more)) = (&mut picked, pick(part, fields, most)) {
        picked.extend(more);
    }
    if part["type"] == "tool" {
        let state = &part["state"];
        picked["state"] = pick(state, &["status", "input", "output", "title", "error", "time"], most);
        // What OpenCode's own interface shows of a call besides: which session it made, how it ended, what it changed.
        let detail = pick(&state["metadata"], &["sessionId", "exit", "diff", "filepath", "truncated"], most);
        if detail.as_object().is_some_and(|detail| !detail.is_empty()) {
            picked["state"]["metadata"] = detail;
        }
    }
    // A file given as data is worth its name, not its bytes.
    if let Some(url) = picked["url"].as_str().filter(|url| url.starts_with("data:")) {
        let kind = url.split([',', ';']).next().unwrap_or("data:");
        picked["url"] = format!("{kind},[{} bytes left out]", url.len()).into();
    }
    picked
}

fn pick(value: &Value, names: &[&str], most: usize) -> Value {
    let fields = names.iter().filter(|name| !value[**name].is_null()).map(|name| ((*name).to_owned(), cut(&value[*name], most)));
    Value::Object(fields.collect())
}

/// A value with each of its texts cut to `most` bytes, and a mark where it was.
fn cut(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) if text.len() > most => {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            Value::String(format!("{}… [cut: {} bytes in all]", &text[..end], text.len()))
        }
        Value::Array(items) => items.iter().map(|item| cut(item, most)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), cut(field, most))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MESSAGE, fingerprint, message};
    use serde_json::{Value, json};

    fn told(parts: &Value) -> Value {
        let info = json!({"id": "msg_a", "role": "assistant", "time": {"created": 1, "completed": 2}, "providerID": "p", "modelID": "m/x",
            "mode": "build", "cost": 0.5, "tokens": {"input": 1}, "options": "SECRET", "path": {"cwd": "/"},
            "error": {"name": "APIError", "data": {"message": "refused sk-abcdefghijklmnop", "responseHeaders": "SECRET", "responseBody": "SECRET"}}});
        serde_json::to_value(message(&json!({"info": info, "parts": parts})).unwrap().0).unwrap()
    }

    #[test]
    fn only_named_fields_leave_the_machine() {
        let tool = json!({"id": "t", "sessionID": "s", "type": "tool", "tool": "bash", "callID": "c", "metadata": {"openai": "SECRET"},
            "state": {"status": "completed", "input": {"command": "ls", "options": {"mine": true}}, "output": "out", "metadata": {"exit": 0, "output": "SECRET"}}});
        let file = json!({"id": "f", "type": "file", "mime": "image/png", "url": "data:image/png;base64,SECRET"});
        let told = told(
            &json!([tool, file, {"id": "r", "type": "reasoning", "text": "hm", "metadata": "SECRET"}, {"id": "n", "type": "new", "x": "SECRET"}]),
        );
        assert!(!told.to_string().contains("SECRET") && !told.to_string().contains("sk-"), "{told:#}");
        assert_eq!(
            (&told["model"], &told["agent"], &told["parts"][0]["state"]["input"]["options"]["mine"]),
            (&json!("p/m/x"), &json!("build"), &json!(true))
        );
        assert_eq!(told["parts"][0]["state"]["metadata"], json!({"exit": 0}));
        assert_eq!(told["parts"][4]["type"], "error");
    }

    #[test]
    fn long_texts_are_cut_with_a_mark_and_a_message_always_fits() {
        let long = |chars: usize| json!({"id": "p", "type": "tool", "state": {"status": "completed", "output": "ü".repeat(chars)}});
        let one = told(&json!([long(500_000)]));
        let output = one["parts"][0]["state"]["output"].as_str().unwrap();
        assert!(output.len() < 33_000 && output.ends_with("[cut: 1000000 bytes in all]"), "{}", output.len());
        for (count, chars) in [(40, 50_000), (2_000, 600)] {
            let all = told(&vec![long(chars); count].into());
            assert!(all.to_string().len() <= MAX_MESSAGE + 200, "{}", all.to_string().len());
        }
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_start_and_changes_with_the_content() {
        assert_eq!(fingerprint(&json!({"a": 1})), fingerprint(&json!({"a": 1})));
        assert_ne!(fingerprint(&json!({"a": 1})), fingerprint(&json!({"a": 2})));
        assert_eq!(fingerprint(&"x"), 0xba2d_f490_3a2c_14e8);
    }
}
