//! OpenCode sessions: what a worker tells of those on its machine, and how the server shows them.
//!
//! The shapes are those of the earlier system (camel-cased `messageCount` included), with fields added.

use crate::ids::{CodebaseId, ContextId, SessionId, TaskId, WorkerId};
use crate::task::Task;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A session as its worker tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionReport {
    /// Its id.
    pub id: SessionId,
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// The directory it works in.
    #[serde(default)]
    pub directory: Option<String>,
    /// OpenCode's id of the project.
    #[serde(default)]
    pub project_id: Option<String>,
    /// When it was begun.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// When it changed last.
    #[serde(default)]
    pub updated: Option<Timestamp>,
    /// How many messages it has, as far as the worker knows.
    #[serde(default, rename = "messageCount")]
    pub message_count: Option<u64>,
    /// OpenCode's summary of its changes.
    #[serde(default)]
    pub summary: Value,
    /// The version of OpenCode that began it.
    #[serde(default)]
    pub version: Option<String>,
    /// The session that this one is a part of (a subagent's), or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<SessionId>,
}

/// `POST /v1/opencode/codebases/{id}/sessions/sync`: sessions that are new or have changed. Those not named stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncSessions {
    /// Whose they are.
    pub worker_id: WorkerId,
    /// The sessions.
    pub sessions: Vec<SessionReport>,
    /// Sessions of this worker that were deleted on its machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<SessionId>,
}

/// The answer to [`SyncSessions`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionsSynced {
    /// Always true.
    pub success: bool,
    /// How many were taken.
    pub sessions_count: usize,
}

/// A message of a session. Whatever else OpenCode says of it is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionMessage {
    /// Its id.
    pub id: String,
    /// `user` or `assistant`.
    #[serde(default)]
    pub role: Option<String>,
    /// When it was begun: a time, or OpenCode's `{created, completed}` in milliseconds.
    #[serde(default)]
    pub time: Value,
    /// The mode.
    #[serde(default)]
    pub agent: Option<String>,
    /// The model: `provider/model`, or OpenCode's object.
    #[serde(default)]
    pub model: Value,
    /// US dollars.
    #[serde(default)]
    pub cost: Option<f64>,
    /// OpenCode's counts of tokens.
    #[serde(default)]
    pub tokens: Value,
    /// Its parts as OpenCode has them; long tool output may be cut.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub parts: Vec<Value>,
}

/// `POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync`: messages that are new or have changed, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncMessages {
    /// Whose they are.
    pub worker_id: WorkerId,
    /// The messages.
    pub messages: Vec<SessionMessage>,
    /// Messages that are no longer in the session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<String>,
}

/// The answer to [`SyncMessages`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagesSynced {
    /// Always true.
    pub success: bool,
    /// How many were taken.
    pub messages_count: usize,
}

/// A session as the server shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// What its worker told.
    #[serde(flatten)]
    pub report: SessionReport,
    /// Whose it is.
    pub worker_id: WorkerId,
    /// The name of that worker.
    #[serde(default)]
    pub worker_name: Option<String>,
    /// The codebase it belongs to.
    pub codebase_id: Option<CodebaseId>,
    /// The name of that codebase.
    #[serde(default)]
    pub codebase_name: Option<String>,
    /// The conversation that it is the session of, if Muster has run a task in it.
    #[serde(default)]
    pub context_id: Option<ContextId>,
}

/// Where a list of sessions or messages comes from: always the server's own database, which workers keep up to date.
pub const SOURCE: &str = "database";

/// `GET /v1/opencode/codebases/{id}/sessions`, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// [`SOURCE`].
    pub source: String,
}

/// `GET /v1/opencode/codebases/{id}/sessions/{sid}/messages`: the last ones, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageList {
    /// The messages.
    pub messages: Vec<SessionMessage>,
    /// The session.
    pub session_id: SessionId,
    /// [`SOURCE`].
    pub source: String,
}

/// `POST /v1/opencode/codebases/{id}/sessions/{sid}/resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResumeSession {
    /// What to do next.
    pub prompt: String,
    /// The mode.
    #[serde(default, alias = "mode", alias = "agent_type", skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model; the session's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Continue a copy, and leave the session as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fork: bool,
}

/// The answer to [`ResumeSession`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionResumed {
    /// Always true.
    pub success: bool,
    /// The task that continues it.
    pub task_id: TaskId,
    /// The session; with `fork`, the one that is copied.
    pub session_id: SessionId,
    /// What happens now, for people.
    pub message: String,
    /// Where it runs.
    pub codebase_id: CodebaseId,
    /// The mode.
    pub agent: String,
    /// Always none; refusals have their own status.
    pub error: Option<String>,
    /// The whole task.
    pub task: Task,
}
