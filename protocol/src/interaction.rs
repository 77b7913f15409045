//! Interactions: what a running task asks a human.

use crate::ids::{InteractionId, TaskId};
use crate::keyword::keywords;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// A permission request or a question of a running task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interaction {
    /// Its id.
    pub id: InteractionId,
    /// The task that asks.
    pub task_id: TaskId,
    /// The attempt that asks.
    pub attempt: u64,
    /// `permission` or `question`.
    pub kind: String,
    /// How far it is.
    pub state: InteractionState,
    /// The exact request.
    pub request: Value,
    /// The answer, once there is one.
    #[serde(default)]
    pub reply: Option<Value>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When the default is applied.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
}
