//! The events of `GET /global/event`, typed as far as a run needs them. Unknown ones are kept as [`Event::Other`].

use crate::clock;
use muster_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event and the session it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvent {
    /// The session; a subagent's has its own.
    pub session: String,
    /// The directory, which answers to permissions and questions must name.
    pub directory: String,
    /// What happened.
    pub event: Event,
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It was made, perhaps by another session.
    Created {
        /// The session that made it.
        parent: Option<String>,
    },
    /// It works.
    Busy,
    /// It waits to repeat a provider request.
    Retry {
        /// Which try failed.
        attempt: u64,
        /// Why.
        message: String,
        /// When the next one is made, in milliseconds since 1970.
        next: i64,
        /// How long that is from when this was read, in milliseconds.
        wait: u64,
    },
    /// It does nothing. Comes twice after an error or an abort.
    Idle,
    /// Something went wrong; the error as OpenCode gave it.
    Error(Value),
    /// The conversation was compacted.
    Compacted,
    /// A message is new or changed.
    Message(Box<MessageInfo>),
    /// A part of a message is new or changed.
    Part(Box<Part>),
    /// A part of a message has grown.
    Delta {
        /// The message.
        message: String,
        /// The part.
        part: String,
        /// What is added.
        delta: String,
    },
    /// A permission is asked for.
    Permission(Box<PermissionRequest>),
    /// A question is asked.
    Question(Box<QuestionRequest>),
    /// A permission request or a question does not wait for an answer any more.
    Settled {
        /// Its id.
        request: String,
    },
    /// The list of things to do.
    Todos(Vec<Value>),
    /// Some events are missing before this one: the connection was lost, or the reader was too slow.
    Gap,
    /// Anything else.
    Other,
}

/// `info` of a message.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageInfo {
    /// Its id.
    pub id: String,
    /// `user` or `assistant`.
    #[serde(default)]
    pub role: String,
    /// The session.
    #[serde(default, rename = "sessionID")]
    pub session_id: String,
    /// Of an answer: the message that it answers.
    #[serde(default, rename = "parentID")]
    pub parent_id: Option<String>,
    /// When it was made and completed.
    #[serde(default)]
    pub time: MessageTime,
    /// Why the model stopped.
    #[serde(default)]
    pub finish: Option<String>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<Value>,
    /// US dollars.
    #[serde(default)]
    pub cost: f64,
    /// Tokens.
    #[serde(default)]
    pub tokens: Tokens,
    /// On an assistant's message: it is the summary made by a compaction.
    #[serde(default)]
    pub summary: Value,
    /// On an assistant's message: where it worked.
    #[serde(default)]
    pub path: MessagePath,
}

impl MessageInfo {
    /// Whether it is an answer of the model.
    #[must_use]
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    /// Whether it is the summary made by a compaction.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        self.summary == Value::Bool(true)
    }

    /// Whether nothing is added to it any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.time.completed.is_some()
    }
}

/// Where a message's run works.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MessagePath {
    /// The session's directory.
    pub cwd: String,
    /// The root of the work tree; diffs are relative to it.
    pub root: String,
}

/// When a message was made and completed, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct MessageTime {
    /// Made.
    #[serde(default)]
    pub created: f64,
    /// Completed.
    #[serde(default)]
    pub completed: Option<f64>,
}

/// Tokens of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Spent on reasoning.
    pub reasoning: f64,
    /// By the provider's cache.
    pub cache: CacheTokens,
}

/// Tokens of the provider's cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CacheTokens {
    /// Read from it.
    pub read: f64,
    /// Written to it.
    pub write: f64,
}

/// A part of a message.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Part {
    /// Its id.
    pub id: String,
    /// The message.
    #[serde(default, rename = "messageID")]
    pub message_id: String,
    /// `text`, `reasoning`, `tool`, `patch`, `step-start`, `step-finish`, ..
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Of text and reasoning, whole.
    #[serde(default)]
    pub text: String,
    /// Not written by the model.
    #[serde(default)]
    pub synthetic: bool,
    /// Of text and reasoning: `end` is there once it is whole.
    #[serde(default)]
    pub time: Value,
    /// Of a tool call.
    #[serde(default)]
    pub tool: String,
    /// Of a tool call.
    #[serde(default, rename = "callID")]
    pub call_id: String,
    /// Of a tool call: `{status, input, output, title, error, metadata}`.
    #[serde(default)]
    pub state: Value,
    /// Of a patch: the changed files.
    #[serde(default)]
    pub files: Vec<String>,
}

/// `permission.asked`, and an item of `GET /permission`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PermissionRequest {
    /// Its id.
    pub id: String,
    /// The session that asks.
    #[serde(default, rename = "sessionID")]
    pub session_id: String,
    /// What is asked for: `bash`, `edit`, ..
    #[serde(default)]
    pub permission: String,
    /// For what.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// More, by permission.
    #[serde(default)]
    pub metadata: Value,
}

/// `question.asked`, and an item of `GET /question`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct QuestionRequest {
    /// Its id.
    pub id: String,
    /// The session that asks.
    #[serde(default, rename = "sessionID")]
    pub session_id: String,
    /// `[{question, header, options, multiple}]`.
    #[serde(default)]
    pub questions: Vec<Value>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    directory: Option<String>,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

/// What one message of the stream is.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// An event of a session.
    Session(Box<SessionEvent>),
    /// What was sent before is not part of this stream: it has just begun, or the state of a directory was given up, with its runs.
    Gap,
    /// A sign of life, or something that does not matter here.
    Alive,
}

/// Reads the data of one message of `GET /global/event`; `None` if it is none that can be read.
#[must_use]
pub fn parse(data: &str) -> Option<Incoming> {
    let envelope: Envelope = serde_json::from_str(data).ok()?;
    let kind = envelope.payload.kind;
    if ["server.connected", "server.instance.disposed", "global.disposed"].contains(&&*kind) {
        return Some(Incoming::Gap);
    }
    let Some(properties) = envelope.payload.properties else { return Some(Incoming::Alive) };
    // Most events are of no interest, and some repeat whole objects: look at the kind first.
    if !INTERESTING.contains(&&*kind) {
        return Some(Incoming::Alive);
    }
    let properties: Value = serde_json::from_str(properties.get()).ok()?;
    let directory = envelope.directory.unwrap_or_default();
    Some(session_event(&kind, properties, directory).map_or(Incoming::Alive, |event| Incoming::Session(Box::new(event))))
}

const INTERESTING: [&str; 14] = [
    "session.created",
    "session.status",
    "session.idle",
    "session.error",
    "session.compacted",
    "message.updated",
    "message.part.updated",
    "message.part.delta",
    "permission.asked",
    "question.asked",
    "permission.replied",
    "question.replied",
    "question.rejected",
    "todo.updated",
];

/// Reads the `properties` of an event.
fn session_event(kind: &str, mut properties: Value, directory: String) -> Option<SessionEvent> {
    let info_session = if kind == "session.created" { properties["info"]["id"].as_str() } else { None };
    let session = properties["sessionID"].as_str().or(info_session)?.to_owned();
    let event = match kind {
        "session.created" => Event::Created { parent: properties["info"]["parentID"].as_str().map(str::to_owned) },
        "session.status" => status(&properties["status"], clock::now()),
        "session.idle" => Event::Idle,
        "session.error" => Event::Error(properties["error"].take()),
        "session.compacted" => Event::Compacted,
        "message.updated" => Event::Message(serde_json::from_value(properties["info"].take()).ok()?),
        "message.part.updated" => Event::Part(serde_json::from_value(properties["part"].take()).ok()?),
        "message.part.delta" if properties["field"] == "text" => Event::Delta {
            message: properties["messageID"].as_str()?.to_owned(),
            part: properties["partID"].as_str()?.to_owned(),
            delta: properties["delta"].as_str()?.to_owned(),
        },
        "permission.asked" => Event::Permission(serde_json::from_value(properties).ok()?),
        "question.asked" => Event::Question(serde_json::from_value(properties).ok()?),
        "permission.replied" | "question.replied" | "question.rejected" => {
            Event::Settled { request: properties["requestID"].as_str()?.to_owned() }
        }
        "todo.updated" => Event::Todos(properties["todos"].as_array().cloned().unwrap_or_default()),
        _ => Event::Other,
    };
    Some(SessionEvent { session, directory, event })
}

/// Reads a status at this time: of `session.status`, and a value of `GET /session/status`.
#[must_use]
pub fn status(status: &Value, now: Timestamp) -> Event {
    match status["type"].as_str() {
        Some("busy") => Event::Busy,
        Some("retry") => Event::Retry {
            attempt: status["attempt"].as_u64().unwrap_or(0),
            message: status["message"].as_str().unwrap_or_default().to_owned(),
            next: millis(&status["next"]),
            wait: Timestamp(millis(&status["next"])).since(now),
        },
        // `session.idle` follows, and that one counts.
        _ => Event::Other,
    }
}

/// A number of milliseconds, which may have a fraction.
fn millis(value: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds; what is out of range saturates")]
    value.as_i64().or_else(|| value.as_f64().map(|ms| ms as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Event, Incoming, parse};

    fn session(data: &str) -> Event {
        match parse(data) {
            Some(Incoming::Session(event)) => event.event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heartbeats_and_unknown_events_are_signs_of_life() {
        assert_eq!(parse(r#"{"payload":{"type":"server.heartbeat","properties":{}}}"#), Some(Incoming::Alive));
        assert_eq!(parse(r#"{"directory":"/a","payload":{"type":"of.the.future","properties":{"sessionID":"s"}}}"#), Some(Incoming::Alive));
        assert_eq!(parse(r#"{"payload":{"type":"sync","syncEvent":{"type":"message.updated.1"}}}"#), Some(Incoming::Alive));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_beginning_of_a_stream_and_the_end_of_a_directory_are_gaps() {
        for kind in ["server.connected", "server.instance.disposed", "global.disposed"] {
            assert_eq!(parse(&format!(r#"{{"payload":{{"type":"{kind}","properties":{{}}}}}}"#)), Some(Incoming::Gap));
        }
    }

    #[test]
    fn a_retry_tells_which_try_failed_and_when_the_next_is_made() {
        let data = r#"{"directory":"/a","payload":{"type":"session.status","properties":{"sessionID":"s","status":{"type":"retry","attempt":2,"message":"m","next":17.5}}}}"#;
        assert_eq!(session(data), Event::Retry { attempt: 2, message: "m".to_owned(), next: 17, wait: 0 });
    }

    #[test]
    fn a_new_session_names_its_parent() {
        let data = r#"{"directory":"/a","payload":{"type":"session.created","properties":{"info":{"id":"ses_b","parentID":"ses_a"}}}}"#;
        assert_eq!(session(data), Event::Created { parent: Some("ses_a".to_owned()) });
    }
}
