//! What becomes of a task whose attempt ended without a result.

use muster_protocol::task::OnLost;

/// How an attempt was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its lease expired: the worker has not been heard of.
    Expired,
    /// It was reserved for a plain worker, which has not claimed it.
    Untaken,
    /// It has not been heard of for `lost_after`.
    GaveUp,
    /// The worker is there and says that the run is gone, or does not know of it.
    Interrupted,
    /// The worker left: nothing of it runs any more.
    Left,
    /// The worker was taken off the list, or another start of it has taken over: what it ran may still go on until it hears of that.
    Removed,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLoss {
    /// It waits for any fitting worker again.
    Requeue,
    /// It waits for the same worker, which continues the session.
    Continue,
    /// The attempt stays with its worker, shown as disconnected.
    Wait,
    /// It fails with the code `worker_lost`.
    Fail,
}

/// Decides. `started`: whether the worker had begun; `losses`: how many started attempts were lost, this one included.
#[must_use]
pub fn decide(loss: Loss, started: bool, on_lost: OnLost, losses: u32, max_attempts: u32) -> AfterLoss {
    if !started {
        return AfterLoss::Requeue;
    }
    let may_try_again = losses < max_attempts;
    match (loss, on_lost) {
        // What was only removed has stopped by the end of its lease: not before then another worker may begin.
        (Loss::Expired, OnLost::Wait | OnLost::Resume) | (Loss::Removed, OnLost::Restart) => AfterLoss::Wait,
        (_, OnLost::Restart) if may_try_again => AfterLoss::Requeue,
        (Loss::Interrupted, OnLost::Resume) if may_try_again => AfterLoss::Continue,
        _ => AfterLoss::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::{AfterLoss, Loss, decide};
    use muster_protocol::task::OnLost;
    use proptest::prelude::*;

    fn losses() -> impl Strategy<Value = Loss> {
        prop_oneof![
            Just(Loss::Expired),
            Just(Loss::Untaken),
            Just(Loss::GaveUp),
            Just(Loss::Interrupted),
            Just(Loss::Left),
            Just(Loss::Removed)
        ]
    }

    fn policies() -> impl Strategy<Value = OnLost> {
        prop_oneof![Just(OnLost::Wait), Just(OnLost::Resume), Just(OnLost::Restart)]
    }

    proptest! {
        #[test]
        fn an_attempt_that_was_not_started_is_always_queued_again(loss in losses(), policy in policies(), n in 0..9_u32) {
            prop_assert_eq!(decide(loss, false, policy, n, 3), AfterLoss::Requeue);
        }

        #[test]
        fn a_started_prompt_runs_again_only_where_its_policy_says_so(loss in losses(), policy in policies(), n in 1..9_u32) {
            let after = decide(loss, true, policy, n, 3);
            if after == AfterLoss::Requeue {
                prop_assert_eq!(policy, OnLost::Restart);
            }
            if matches!(after, AfterLoss::Requeue | AfterLoss::Continue) {
                prop_assert!(n < 3);
            }
        }
    }

    #[test]
    fn a_run_that_may_still_go_on_is_begun_elsewhere_only_after_its_lease() {
        assert_eq!(decide(Loss::Removed, true, OnLost::Restart, 1, 3), AfterLoss::Wait);
        assert_eq!(decide(Loss::Expired, true, OnLost::Restart, 1, 3), AfterLoss::Requeue);
        assert_eq!(decide(Loss::Left, true, OnLost::Restart, 1, 3), AfterLoss::Requeue);
        assert_eq!(decide(Loss::Removed, true, OnLost::Wait, 1, 3), AfterLoss::Fail);
    }

    #[test]
    fn a_silent_worker_is_waited_for_and_then_given_up() {
        assert_eq!(decide(Loss::Expired, true, OnLost::Wait, 1, 3), AfterLoss::Wait);
        assert_eq!(decide(Loss::GaveUp, true, OnLost::Wait, 1, 3), AfterLoss::Fail);
        assert_eq!(decide(Loss::Interrupted, true, OnLost::Resume, 1, 3), AfterLoss::Continue);
        assert_eq!(decide(Loss::Interrupted, true, OnLost::Wait, 1, 3), AfterLoss::Fail);
    }
}
