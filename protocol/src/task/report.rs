//! What a worker gets and what it says of it.

use super::{Task, Usage};
use crate::codebase::Codebase;
use crate::ids::{InstanceId, SessionId, WorkerId};
use crate::keyword::keywords;
use crate::stream::FileChange;
use serde::{Deserialize, Serialize};

keywords! {
    /// What a worker says of an attempt with `PUT /v1/opencode/tasks/{id}/status`.
    ReportedStatus {
        /// It is started; from a plain worker this is the claim.
        Running = "running",
        /// It ended well.
        Completed = "completed",
        /// It ended with an error.
        Failed = "failed",
        /// The cancel was carried out: the run is aborted, its processes are gone.
        Cancelled = "cancelled",
        /// It was not started and is handed back.
        Pending = "pending",
        /// It was started and the run is gone, for example after a crash; the task's `on_lost` decides.
        Interrupted = "interrupted",
    }
}

/// `PUT /v1/opencode/tasks/{id}/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportStatus {
    /// What happened.
    pub status: ReportedStatus,
    /// Who says so.
    pub worker_id: WorkerId,
    /// Its start of the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The attempt; the holder's current one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The stable code of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The OpenCode session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Tokens and cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The files it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FileChange>,
    /// How many entries the attempt has; if the server has fewer it answers 409 `gap` and nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// [`crate::digest::OutputDigest::bytes`] of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// [`crate::digest::OutputDigest::hash`] of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl ReportStatus {
    /// A report that says nothing but what happened.
    #[must_use]
    pub fn new(status: ReportedStatus, worker_id: WorkerId, attempt: u64) -> Self {
        Self {
            status,
            worker_id,
            instance: None,
            attempt: Some(attempt),
            result: None,
            error: None,
            error_code: None,
            session_id: None,
            usage: None,
            changes: Vec::new(),
            entries: None,
            bytes: None,
            hash: None,
        }
    }
}

/// The answer to [`ReportStatus`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusReported {
    /// Always true.
    pub success: bool,
    /// The task as it is now.
    pub task: Task,
}

/// An attempt given to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// The number that every write under this attempt names.
    pub attempt: u64,
    /// Where to run it. Absent where the mode needs no codebase.
    pub codebase: Option<Codebase>,
    /// The session to continue; a new one if absent.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// Whether to continue a copy of that session (OpenCode's fork) instead; the copy is the session of the run from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fork: bool,
    /// The session holds an interrupted run of this task: continue it instead of giving the prompt again.
    #[serde(default)]
    pub continuation: bool,
    /// The run must have been stopped when no renewal was answered for this long; no such limit if absent.
    #[serde(default)]
    pub stop_after_ms: Option<u64>,
}
