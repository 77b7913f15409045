//! The states of a task, and what becomes of it if its worker is lost.

use crate::keyword::keywords;
use serde::{Deserialize, Serialize};

/// The states of a task: A2A's. The last four are terminal and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Accepted, durable, waiting for a worker.
    Submitted,
    /// A worker has it.
    Working,
    /// It waits for an answer.
    InputRequired,
    /// It waits for a credential.
    AuthRequired,
    /// It ended well.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was canceled.
    Canceled,
    /// It was not accepted.
    Rejected,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Submitted,
        Self::Working,
        Self::InputRequired,
        Self::AuthRequired,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];

    /// Whether the state never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// The word as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::InputRequired => "input-required",
            Self::AuthRequired => "auth-required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    /// The state of a word; `None` if there is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// How the `/v1/opencode` routes show the state.
    #[must_use]
    pub fn status(self) -> TaskStatus {
        match self {
            Self::Submitted => TaskStatus::Pending,
            Self::Working => TaskStatus::Running,
            Self::InputRequired | Self::AuthRequired => TaskStatus::Waiting,
            Self::Completed => TaskStatus::Completed,
            Self::Failed | Self::Rejected => TaskStatus::Failed,
            Self::Canceled => TaskStatus::Cancelled,
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

keywords! {
    /// A task's state as the `/v1/opencode` routes show it. As a filter, `assigned` means `running`.
    TaskStatus {
        /// Waiting for a worker.
        Pending = "pending",
        /// A worker has it.
        Running = "running",
        /// It waits for an answer or a credential.
        Waiting = "waiting",
        /// It ended well.
        Completed = "completed",
        /// It ended with an error, or was rejected.
        Failed = "failed",
        /// It was canceled.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// The states that show as this status; empty for an unknown word.
    #[must_use]
    pub fn states(&self) -> Vec<TaskState> {
        let wanted = if self.as_str() == "assigned" { &Self::Running } else { self };
        TaskState::ALL.into_iter().filter(|state| state.status() == *wanted).collect()
    }
}

/// What happens to a started attempt whose worker is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Nobody else gets the task; it waits for the worker and fails after `lost_after`.
    #[default]
    Wait,
    /// As `wait`; a worker that is back without the run continues the session with a new prompt.
    Resume,
    /// After the lease another worker may take it.
    Restart,
}

impl OnLost {
    /// The word as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }

    /// The policy of a word; `None` if there is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Wait, Self::Resume, Self::Restart].into_iter().find(|policy| policy.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::{TaskState, TaskStatus};

    #[test]
    fn every_state_is_found_by_its_word_and_shown_as_one_status() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_word(state.as_str()), Some(state));
            assert!(state.status().states().contains(&state));
        }
    }

    #[test]
    fn assigned_is_accepted_as_running() {
        assert_eq!(TaskStatus::from("assigned").states(), vec![TaskState::Working]);
        assert!(TaskStatus::from("nonsense").states().is_empty());
    }
}
