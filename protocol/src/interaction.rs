//! Interactions: what a running task asks a human.

use crate::ids::{InteractionId, PrincipalId, TaskId, WorkerId};
use crate::keyword::keywords;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kind of a permission request.
pub const PERMISSION: &str = "permission";
/// The kind of a question.
pub const QUESTION: &str = "question";

keywords! {
    /// The life of an interaction.
    InteractionState {
        /// Nobody has answered.
        Open = "open",
        /// Answered; on its way to the worker.
        Answered = "answered",
        /// The run has the answer.
        Applied = "applied",
        /// The deadline passed; the default was applied.
        Expired = "expired",
        /// The attempt or the OpenCode process ended first.
        Void = "void",
    }
}

impl InteractionState {
    /// Whether the run still waits for it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Open | Self::Answered)
    }
}

/// A permission request or a question of a running task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interaction {
    /// Its id.
    pub id: InteractionId,
    /// The task that asks.
    pub task_id: TaskId,
    /// The title of that task.
    #[serde(default)]
    pub task_title: String,
    /// The attempt that asks.
    pub attempt: u64,
    /// The worker that runs it.
    pub worker_id: WorkerId,
    /// The name of that worker.
    #[serde(default)]
    pub worker_name: Option<String>,
    /// Its machine.
    #[serde(default)]
    pub hostname: Option<String>,
    /// [`PERMISSION`] or [`QUESTION`].
    pub kind: String,
    /// How far it is.
    pub state: InteractionState,
    /// What is asked for, in a line.
    pub title: String,
    /// The directory in which it would happen.
    #[serde(default)]
    pub directory: Option<String>,
    /// The exact request as OpenCode gave it.
    pub request: Value,
    /// The answer, once there is one.
    #[serde(default)]
    pub reply: Option<ReplyInteraction>,
    /// Who answered.
    #[serde(default)]
    pub replied_by: Option<PrincipalId>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When the default (no) is applied.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// When it was over.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
}

keywords! {
    /// What is answered.
    Reply {
        /// Permitted, this once.
        Once = "once",
        /// Permitted, and whatever OpenCode counts as the same, until its server ends.
        Always = "always",
        /// Refused.
        Reject = "reject",
    }
}

/// `POST /v1/interactions/{id}/reply`. A permission request wants `reply`; a question wants `answers`, or `reply: "reject"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplyInteraction {
    /// Yes or no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// For each question the chosen labels, or words of one's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Vec<String>>,
    /// With a refusal: what the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The answer to [`ReplyInteraction`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InteractionReplied {
    /// Always true.
    pub success: bool,
    /// What happens now, for people.
    pub message: String,
    /// The interaction as it is now.
    pub interaction: Interaction,
}
