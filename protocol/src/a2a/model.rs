//! Tasks, messages, artifacts, and the events of a stream.

use super::part::Part;
use super::proto::{is_off, or_default};
use crate::task::TaskState;
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// A `google.protobuf.Struct`; one that is empty is left out.
pub type Metadata = Map<String, Value>;

/// Declares an enum as `ProtoJSON` spells it: written as its name, read from its name or its number.
macro_rules! proto_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as it goes over the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value of a name.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }

            /// The number as Protocol Buffers write it.
            #[cfg(feature = "grpc")]
            pub(super) fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)+
                }
            }

            /// The value of a number.
            pub(super) fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let found = match Value::deserialize(d)? {
                    Value::String(word) => Self::from_word(&word),
                    Value::Number(number) => number.as_i64().and_then(Self::from_number),
                    Value::Null => Some(Self::default()),
                    _ => None,
                };
                let words = || Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", ");
                found.ok_or_else(|| de::Error::custom(format!("must be one of {}", words())))
            }
        }
    };
}

proto_enum! {
    /// The state of a task, as A2A spells it.
    State {
        /// None, or one that this side does not know.
        #[default]
        Unspecified = 0 "TASK_STATE_UNSPECIFIED",
        /// Accepted.
        Submitted = 1 "TASK_STATE_SUBMITTED",
        /// Under way.
        Working = 2 "TASK_STATE_WORKING",
        /// Ended well.
        Completed = 3 "TASK_STATE_COMPLETED",
        /// Ended with an error.
        Failed = 4 "TASK_STATE_FAILED",
        /// Was canceled.
        Canceled = 5 "TASK_STATE_CANCELED",
        /// Waits for an answer.
        InputRequired = 6 "TASK_STATE_INPUT_REQUIRED",
        /// Was not accepted.
        Rejected = 7 "TASK_STATE_REJECTED",
        /// Waits for a credential.
        AuthRequired = 8 "TASK_STATE_AUTH_REQUIRED",
    }
}

proto_enum! {
    /// Who speaks.
    Role {
        /// Nobody said.
        #[default]
        Unspecified = 0 "ROLE_UNSPECIFIED",
        /// The client.
        User = 1 "ROLE_USER",
        /// The agent.
        Agent = 2 "ROLE_AGENT",
    }
}

impl From<TaskState> for State {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Submitted => Self::Submitted,
            TaskState::Working => Self::Working,
            TaskState::InputRequired => Self::InputRequired,
            TaskState::AuthRequired => Self::AuthRequired,
            TaskState::Completed => Self::Completed,
            TaskState::Failed => Self::Failed,
            TaskState::Canceled => Self::Canceled,
            TaskState::Rejected => Self::Rejected,
        }
    }
}

impl State {
    /// The state of a task of this server; none for `Unspecified`.
    #[must_use]
    pub fn known(self) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|state| Self::from(*state) == self)
    }

    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.known().is_some_and(TaskState::is_terminal)
    }

    /// Whether the agent waits for the client.
    #[must_use]
    pub fn is_interrupted(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id, which its sender makes.
    pub message_id: String,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The task that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// What it says.
    pub parts: Vec<Part>,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
    /// The extensions that it uses.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Tasks that it refers to.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub reference_task_ids: Vec<String>,
}

/// What a task made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Its id, unique in its task.
    pub artifact_id: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it holds; at least one part.
    pub parts: Vec<Part>,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
    /// The extensions that it uses.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The state.
    pub state: State,
    /// What the agent says with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<Message>>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its id, which the server makes.
    pub id: String,
    /// The conversation.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub context_id: String,
    /// How far it is.
    pub status: TaskStatus,
    /// What it made; none where artifacts were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<Artifact>>,
    /// What was said.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Message>,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
}

/// A task's status changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatusUpdateEvent {
    /// The task.
    pub task_id: String,
    /// The conversation.
    pub context_id: String,
    /// The status now.
    pub status: TaskStatus,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
}

/// A task made something, or more of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskArtifactUpdateEvent {
    /// The task.
    pub task_id: String,
    /// The conversation.
    pub context_id: String,
    /// The artifact, or what is added to it.
    pub artifact: Artifact,
    /// Whether it is added to the artifact of the same id.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_off")]
    pub append: bool,
    /// Whether it is the last piece.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_off")]
    pub last_chunk: bool,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
}

/// One event of a stream: `{"task":..}`, `{"message":..}`, `{"statusUpdate":..}` or `{"artifactUpdate":..}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamResponse {
    /// The task as it is.
    Task(Task),
    /// An answer without a task.
    Message(Message),
    /// The status changed.
    StatusUpdate(TaskStatusUpdateEvent),
    /// Something was made.
    ArtifactUpdate(TaskArtifactUpdateEvent),
}

/// The answer to a message: `{"task":..}` or `{"message":..}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SendMessageResponse {
    /// The task that it became.
    Task(Task),
    /// An answer without a task.
    Message(Message),
}

#[cfg(test)]
mod tests {
    use super::{Message, Role, State, StreamResponse, Task};
    use serde_json::json;

    #[test]
    fn a_task_is_written_as_the_specification_spells_it() {
        let wire = json!({
            "id": "t", "contextId": "c", "status": { "state": "TASK_STATE_INPUT_REQUIRED", "timestamp": "2026-11-22T12:00:00.120Z",
            "message": { "messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": "which?" }], "taskId": "t" } },
            "artifacts": [{ "artifactId": "a", "parts": [{ "url": "https://x", "filename": "f", "mediaType": "text/plain" }] }],
            "history": [{ "messageId": "u", "role": "ROLE_USER", "parts": [{ "data": { "a": 1 } }], "referenceTaskIds": ["r"] }],
            "metadata": { "k": [1, null] }
        });
        let task: Task = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(&task).unwrap(), wire);
        let event = serde_json::to_value(StreamResponse::Task(task)).unwrap();
        assert_eq!(event, json!({ "task": wire }));
    }

    #[test]
    fn null_is_absent_and_numbers_name_enum_values() {
        let message: Message = serde_json::from_value(json!({
            "messageId": "m", "role": 1, "parts": [], "metadata": null, "extensions": null, "contextId": null, "unknown": {}
        }))
        .unwrap();
        assert_eq!(message, Message { message_id: "m".into(), role: Role::User, ..Message::default() });
        assert!(serde_json::from_value::<Role>(json!("user")).is_err());
        assert!(serde_json::from_value::<State>(json!(9)).is_err());
    }

    #[test]
    fn every_state_of_a_task_has_its_name() {
        for state in crate::task::TaskState::ALL {
            assert_eq!(State::from(state).known(), Some(state));
            assert_eq!(State::from(state).is_terminal(), state.is_terminal());
        }
    }
}
