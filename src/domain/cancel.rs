//! What a cancel means for a task.

use muster_protocol::task::TaskState;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelDecision {
    /// Nobody has it: it is canceled at once.
    AtOnce,
    /// A worker has it and must stop it first.
    AskWorker,
    /// The worker has been asked already.
    AlreadyAsked,
    /// The worker is not there to be asked, and a cancel has waited a lease for it: it is canceled, unconfirmed.
    GiveUp,
    /// It has ended.
    Refuse,
}

/// Decides what a cancel of a task does: `held` is whether a worker has an attempt, `asked_ms` for how long the worker has been asked,
/// `disconnected` whether the worker has not been heard of for a lease.
#[must_use]
pub fn decide(state: TaskState, held: bool, asked_ms: Option<u64>, disconnected: bool, lease_ms: u64) -> CancelDecision {
    match asked_ms {
        _ if state.is_terminal() => CancelDecision::Refuse,
        _ if !held => CancelDecision::AtOnce,
        None => CancelDecision::AskWorker,
        Some(asked) if disconnected && asked >= lease_ms => CancelDecision::GiveUp,
        Some(_) => CancelDecision::AlreadyAsked,
    }
}

#[cfg(test)]
mod tests {
    use super::{CancelDecision, decide};
    use muster_protocol::task::TaskState;

    #[test]
    fn a_task_that_nobody_has_is_canceled_at_once() {
        assert_eq!(decide(TaskState::Submitted, false, None, false, 45_000), CancelDecision::AtOnce);
    }

    #[test]
    fn a_held_task_is_canceled_by_its_worker() {
        assert_eq!(decide(TaskState::Working, true, None, false, 45_000), CancelDecision::AskWorker);
        assert_eq!(decide(TaskState::Working, true, Some(90_000), false, 45_000), CancelDecision::AlreadyAsked);
    }

    #[test]
    fn a_cancel_waits_one_lease_for_a_lost_worker() {
        assert_eq!(decide(TaskState::Working, true, Some(44_999), true, 45_000), CancelDecision::AlreadyAsked);
        assert_eq!(decide(TaskState::Working, true, Some(45_000), true, 45_000), CancelDecision::GiveUp);
    }

    #[test]
    fn a_terminal_state_never_changes() {
        for state in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
            assert_eq!(decide(state, false, None, false, 45_000), CancelDecision::Refuse);
        }
    }
}
