//! How long an attempt is still ours, as far as this machine can know.

use crate::clock::BootTime;
use std::time::Duration;

/// The lease of one attempt. A renewal counts from the *sending* of the request that was answered: the server counts
/// from receiving it, so this side always ends first.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    renewed: BootTime,
    stop_after: Option<Duration>,
}

impl Lease {
    /// A lease given by the answer to a request that was sent at `sent`.
    #[must_use]
    pub fn new(sent: BootTime, stop_after: Option<Duration>) -> Self {
        Self { renewed: sent, stop_after }
    }

    /// Notes that a request sent at `sent` was answered.
    pub fn renew(&mut self, sent: BootTime) {
        self.renewed = self.renewed.max(sent);
    }

    /// When the run has to be stopped; `None` if it may go on without the server.
    /// Stopping takes time: it begins a quarter of the time (at most ten seconds) early.
    #[must_use]
    pub fn stop_at(&self) -> Option<BootTime> {
        let stop_after = self.stop_after?;
        let margin = (stop_after / 4).min(Duration::from_secs(10));
        Some(BootTime(self.renewed.0 + stop_after.saturating_sub(margin)))
    }
}

#[cfg(test)]
mod tests {
    use super::Lease;
    use crate::clock::BootTime;
    use std::time::Duration;

    const fn at(s: u64) -> BootTime {
        BootTime(Duration::from_secs(s))
    }

    #[test]
    fn a_run_is_stopped_before_its_time_passes_counted_from_the_last_answered_request() {
        let mut lease = Lease::new(at(100), Some(Duration::from_mins(1)));
        assert_eq!(lease.stop_at(), Some(at(150)));
        lease.renew(at(120));
        lease.renew(at(110));
        assert_eq!(lease.stop_at(), Some(at(170)));
    }

    #[test]
    fn without_a_stop_time_a_run_goes_on_while_the_server_is_away() {
        assert_eq!(Lease::new(at(1), None).stop_at(), None);
    }
}
