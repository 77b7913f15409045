//! Tasks, messages, artifacts and events of 0.3: told apart by `kind`.

use crate::a2a::Metadata;
use crate::a2a::proto::{decode, encode};
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// The state of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "as in 1.0")]
pub enum State {
    Submitted,
    Working,
    InputRequired,
    Completed,
    Canceled,
    Failed,
    Rejected,
    AuthRequired,
    #[default]
    Unknown,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The client.
    #[default]
    User,
    /// The agent.
    Agent,
}

/// The bytes of a file, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// `bytes`, in base64 on the wire.
    Bytes(Vec<u8>),
    /// `uri`.
    Uri(String),
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its bytes, or where it is.
    pub content: FileContent,
    /// Its name.
    pub name: Option<String>,
    /// Its media type.
    pub mime_type: Option<String>,
}

/// A file on the wire.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (bytes, uri) = match &self.content {
            FileContent::Bytes(bytes) => (Some(encode(bytes)), None),
            FileContent::Uri(uri) => (None, Some(uri.clone())),
        };
        WireFile { bytes, uri, name: self.name.clone(), mime_type: self.mime_type.clone() }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let WireFile { bytes, uri, name, mime_type } = WireFile::deserialize(d)?;
        let content = match (bytes, uri) {
            (Some(bytes), None) => FileContent::Bytes(decode(&bytes).map_err(|e| de::Error::custom(format!("`bytes` {e}")))?),
            (None, Some(uri)) => FileContent::Uri(uri),
            _ => return Err(de::Error::custom("must hold either bytes or uri")),
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self { content, name: some(name), mime_type: some(mime_type) })
    }
}

/// A piece of a message or an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Part {
    /// Words.
    Text {
        /// They.
        text: String,
        /// Anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    /// A file.
    File {
        /// It.
        file: File,
        /// Anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    /// An object. A list, which the definition does not know and clients send, is read too.
    Data {
        /// It.
        #[serde(deserialize_with = "object_or_list")]
        data: Value,
        /// Anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
}

fn object_or_list<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
    let data = Value::deserialize(d)?;
    if data.is_object() || data.is_array() { Ok(data) } else { Err(de::Error::custom("`data` must be an object")) }
}

/// The constant `kind` of an object; others are refused.
macro_rules! kinds {
    ($($name:ident = $word:literal),+ $(,)?) => {$(
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(super) struct $name;

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str($word)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = String::deserialize(d)?;
                if word == $word { Ok(Self) } else { Err(de::Error::custom(concat!("must be `", $word, "`"))) }
            }
        }
    )+};
}

kinds! { IsMessage = "message", IsTask = "task", IsStatus = "status-update", IsArtifact = "artifact-update" }

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct Message {
    #[serde(default)]
    pub(super) kind: IsMessage,
    pub message_id: String,
    pub role: Role,
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_task_ids: Option<Vec<String>>,
}

/// What a task made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct Artifact {
    pub artifact_id: String,
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct TaskStatus {
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct Task {
    #[serde(default)]
    pub(super) kind: IsTask,
    pub id: String,
    pub context_id: String,
    pub status: TaskStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<Artifact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Message>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// A task's status changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct TaskStatusUpdateEvent {
    pub(super) kind: IsStatus,
    pub task_id: String,
    pub context_id: String,
    pub status: TaskStatus,
    /// Whether nothing follows before the client says something.
    #[serde(rename = "final")]
    pub is_final: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// A task made something, or more of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct TaskArtifactUpdateEvent {
    pub(super) kind: IsArtifact,
    pub task_id: String,
    pub context_id: String,
    pub artifact: Artifact,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_chunk: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// One event of a stream; `kind` says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "as in 1.0")]
pub enum Event {
    StatusUpdate(TaskStatusUpdateEvent),
    ArtifactUpdate(TaskArtifactUpdateEvent),
    Task(Task),
    Message(Message),
}

/// The answer to a message; `kind` says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "as in 1.0")]
pub enum SendResult {
    Task(Task),
    Message(Message),
}
