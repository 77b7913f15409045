//! Whether a worker is there.

use muster_protocol::worker::WorkerStatus;
use std::time::Duration;

/// Computes a worker's status from how long ago it was heard of. `lease` is the one that holds for it (a plain worker's is longer).
#[must_use]
pub fn status(gone: bool, draining: bool, silent: Duration, lease: Duration, offline_after: Duration) -> WorkerStatus {
    if gone || silent >= offline_after.max(lease) {
        WorkerStatus::Offline
    } else if silent >= lease {
        WorkerStatus::Stale
    } else if draining {
        WorkerStatus::Draining
    } else {
        WorkerStatus::Active
    }
}

#[cfg(test)]
mod tests {
    use super::status;
    use muster_protocol::worker::WorkerStatus;
    use std::time::Duration;

    #[test]
    fn a_worker_goes_from_active_over_stale_to_offline() {
        let at = |silent| status(false, false, Duration::from_secs(silent), Duration::from_secs(45), Duration::from_mins(5));
        assert_eq!(at(44), WorkerStatus::Active);
        assert_eq!(at(45), WorkerStatus::Stale);
        assert_eq!(at(300), WorkerStatus::Offline);
    }

    #[test]
    fn a_worker_that_left_is_offline_at_once() {
        assert_eq!(status(true, true, Duration::ZERO, Duration::from_secs(45), Duration::from_mins(5)), WorkerStatus::Offline);
    }
}
