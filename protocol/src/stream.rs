//! The task stream: what a task says while it runs.

use crate::a2a::Artifact;
use crate::ids::{InstanceId, InteractionId, WorkerId};
use crate::keyword::keywords;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

keywords! {
    /// What an entry of a task stream tells. Beside each the shape of its `data`.
    EntryKind {
        /// A piece of the answer: [`Delta`].
        Text = "text",
        /// A piece of the model's reasoning: [`Delta`].
        Reasoning = "reasoning",
        /// A tool call in its newest state: [`ToolCall`].
        Tool = "tool",
        /// A changed file: [`FileChange`].
        File = "file",
        /// The list of things to do: [`Todos`].
        Todo = "todo",
        /// Tokens and cost so far: [`crate::task::Usage`].
        Usage = "usage",
        /// The task's or the run's state: [`StatusNote`].
        Status = "status",
        /// A permission request or question, and what became of it: [`InteractionNote`].
        Interaction = "interaction",
        /// A line of a plain worker: [`OutputLine`].
        Output = "output",
        /// A piece of what an agent of this server made: [`Made`].
        Artifact = "artifact",
    }
}

/// One entry as a worker sends it. `data` is kept byte for byte: it is counted and hashed at both ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Its place in the attempt, from 0, without gaps.
    pub seq: u64,
    /// When it happened, by the worker's clock.
    pub at: Timestamp,
    /// What it tells.
    pub kind: EntryKind,
    /// Its content, by kind.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data: Box<RawValue>,
}

impl Entry {
    /// An entry with `data` serialised; what cannot be serialised becomes `null`.
    #[must_use]
    pub fn new(seq: u64, at: Timestamp, kind: EntryKind, data: &impl Serialize) -> Self {
        let data = serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { seq, at, kind, data }
    }
}

/// An entry as the server keeps and shows it: `data` of a `GET .../tasks/{id}/stream` event, whose id is `task_seq`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamEntry {
    /// Its place in the task, rising over all attempts, without gaps, from 1.
    pub task_seq: u64,
    /// The attempt it belongs to; 0 before the first.
    pub attempt: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it tells.
    pub kind: EntryKind,
    /// Its content, by kind.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data: Box<RawValue>,
}

impl StreamEntry {
    /// Its content as `T`; `None` if it has another shape.
    #[must_use]
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.data.get()).ok()
    }
}

/// The SSE event name with which a task stream ends; its data is `{"status","state"}`.
pub const DONE_EVENT: &str = "done";

/// `POST /v1/opencode/tasks/{id}/stream`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppendEntries {
    /// Who sends.
    pub worker_id: WorkerId,
    /// Its start of the daemon.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// The attempt that the entries belong to.
    pub attempt: u64,
    /// `seq` of the first entry. Entries that are already there are skipped.
    pub first_seq: u64,
    /// In order, without gaps.
    pub entries: Vec<Entry>,
}

/// The answer to [`AppendEntries`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Appended {
    /// The `seq` that is expected next.
    pub next_seq: u64,
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The part that it belongs to; a new part is a new paragraph, or the same one begun again after a retry.
    pub part: String,
    /// What is added to the part.
    pub delta: String,
}

keywords! {
    /// How far a tool call is.
    ToolState {
        /// The model is still writing its input.
        Pending = "pending",
        /// It runs.
        Running = "running",
        /// It ended well.
        Completed = "completed",
        /// It ended with an error, or was refused.
        Error = "error",
    }
}

/// A tool call, whole, in its newest state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Which call, the same over its states.
    pub call: String,
    /// The tool: `bash`, `write`, ..
    pub tool: String,
    /// How far it is.
    pub state: ToolState,
    /// A short title, as OpenCode gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its input.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub input: serde_json::Value,
    /// Its output, possibly cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A file that the task changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileChange {
    /// Its path, relative to the codebase where it is inside.
    pub path: String,
    /// `added`, `modified`, `deleted`, or `edited` while the task still runs.
    pub change: String,
    /// Lines added.
    #[serde(default)]
    pub additions: u64,
    /// Lines removed.
    #[serde(default)]
    pub deletions: u64,
    /// The change as a unified diff, if known and not too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
}

/// The list of things to do that the model keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todos {
    /// In order.
    pub items: Vec<Todo>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// What.
    pub content: String,
    /// `pending`, `in_progress`, `completed`, `cancelled`.
    #[serde(default)]
    pub status: String,
    /// `high`, `medium`, `low`.
    #[serde(default)]
    pub priority: String,
}

/// The state of the task (told by the server: a [`crate::task::TaskState`] word, or `disconnected`, `reconnected`, `cancel-requested`) or of the
/// run (told by the worker: `starting`, `busy`, `retry`, `compacted`, `stopping`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusNote {
    /// The state, one word.
    pub state: String,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The stable code of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// With `retry`: which try of the provider request this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
    /// With `retry`: when the next one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// Which worker, where the state changes hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Which OpenCode session, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// With `retry`: the parts of text and reasoning that were broken off. What they said does not count; it is said again in new parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discards: Vec<String>,
}

/// A permission request or a question of a run, as it is told in the stream: once when it is asked, and once more when it is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InteractionNote {
    /// The interaction that people can answer; none where the worker refuses by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InteractionId>,
    /// OpenCode's id of the request.
    pub request: String,
    /// `permission` or `question`.
    pub kind: String,
    /// What is asked for, in a line: the permission with its patterns, or the question.
    pub title: String,
    /// What became of it: an [`crate::interaction::InteractionState`] word, or `rejected` where nobody was asked.
    pub outcome: String,
    /// Why, or what was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The directory in which it would happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// When the worker refuses it if nobody has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The request as OpenCode gave it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// What an agent of this server made, or a further piece of it: text, data, a file, or where one is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// With its id, and the parts that are told here.
    pub artifact: Artifact,
    /// Whether the parts are added to those that were told of it before.
    #[serde(default)]
    pub append: bool,
    /// Whether this is all of it.
    #[serde(default)]
    pub last: bool,
}

/// A line that a plain worker reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLine {
    /// The line.
    pub line: String,
}
