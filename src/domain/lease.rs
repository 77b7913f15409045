//! Leases: a worker's time-bounded right to an attempt. Deadlines live in memory only; after a start every held attempt gets one full lease.

use muster_protocol::ids::{TaskId, WorkerId};
use std::collections::HashMap;
use std::time::Duration;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its worker is to be heard of until then.
    Held,
    /// Its worker is lost; until then it is waited for.
    Disconnected,
}

/// What a renewal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The worker does not hold this attempt.
    Unknown,
    /// The lease is renewed.
    Renewed,
    /// The worker was lost and is back.
    Reconnected,
}

#[derive(Debug)]
struct Lease {
    holder: WorkerId,
    deadline: Duration,
    phase: Phase,
}

/// The deadlines of all held attempts, in the server's uptime (which counts suspend and never jumps).
#[derive(Debug, Default)]
pub struct Leases {
    leases: HashMap<(TaskId, u64), Lease>,
}

impl Leases {
    /// Gives a lease, or sets another deadline.
    pub fn grant(&mut self, task: TaskId, attempt: u64, holder: WorkerId, deadline: Duration, phase: Phase) {
        self.leases.insert((task, attempt), Lease { holder, deadline, phase });
    }

    /// Renews the lease of the worker that holds it. A lease never gets shorter.
    pub fn renew(&mut self, task: TaskId, attempt: u64, holder: &WorkerId, deadline: Duration) -> Renewal {
        let Some(lease) = self.leases.get_mut(&(task, attempt)).filter(|lease| lease.holder == *holder) else {
            return Renewal::Unknown;
        };
        if lease.phase == Phase::Disconnected {
            (lease.phase, lease.deadline) = (Phase::Held, deadline);
            return Renewal::Reconnected;
        }
        lease.deadline = lease.deadline.max(deadline);
        Renewal::Renewed
    }

    /// Renews every lease of a worker that does not name its attempts (a plain one).
    pub fn renew_all(&mut self, holder: &WorkerId, deadline: Duration) {
        for lease in self.leases.values_mut().filter(|lease| lease.holder == *holder && lease.phase == Phase::Held) {
            lease.deadline = lease.deadline.max(deadline);
        }
    }

    /// Whether an attempt has a lease.
    #[must_use]
    pub fn has(&self, task: TaskId, attempt: u64) -> bool {
        self.leases.contains_key(&(task, attempt))
    }

    /// Brings a deadline nearer.
    pub fn shorten(&mut self, task: TaskId, attempt: u64, holder: &WorkerId, deadline: Duration) {
        if let Some(lease) = self.leases.get_mut(&(task, attempt)).filter(|lease| lease.holder == *holder) {
            lease.deadline = lease.deadline.min(deadline);
        }
    }

    /// Ends a lease: the attempt ended.
    pub fn end(&mut self, task: TaskId, attempt: u64) {
        self.leases.remove(&(task, attempt));
    }

    /// Takes out and answers the attempts whose deadline has passed.
    pub fn take_expired(&mut self, now: Duration) -> Vec<(TaskId, u64, WorkerId, Phase)> {
        let expired: Vec<_> = self.leases.iter().filter(|(_, lease)| lease.deadline <= now).map(|(key, _)| *key).collect();
        let taken = expired.into_iter().filter_map(|key| Some((key, self.leases.remove(&key)?)));
        taken.map(|((task, attempt), lease)| (task, attempt, lease.holder, lease.phase)).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Leases, Phase, Renewal};
    use muster_protocol::ids::{TaskId, WorkerId};
    use std::time::Duration;
    use uuid::Uuid;

    const TASK: TaskId = TaskId(Uuid::from_u128(7));

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn leases(deadline: u64) -> Leases {
        let mut leases = Leases::default();
        leases.grant(TASK, 1, WorkerId::from("w"), seconds(deadline), Phase::Held);
        leases
    }

    #[test]
    fn a_lease_expires_once_and_only_after_its_deadline() {
        let mut leases = leases(10);
        assert_eq!(leases.renew(TASK, 1, &WorkerId::from("w"), seconds(5)), Renewal::Renewed);
        assert!(leases.take_expired(seconds(9)).is_empty());
        assert_eq!(leases.take_expired(seconds(10)), vec![(TASK, 1, WorkerId::from("w"), Phase::Held)]);
        assert!(leases.take_expired(seconds(99)).is_empty());
    }

    #[test]
    fn only_the_holder_of_an_attempt_renews_it() {
        let mut leases = leases(10);
        assert_eq!(leases.renew(TASK, 1, &WorkerId::from("stranger"), seconds(50)), Renewal::Unknown);
        assert_eq!(leases.renew(TASK, 2, &WorkerId::from("w"), seconds(50)), Renewal::Unknown);
        assert_eq!(leases.take_expired(seconds(10)).len(), 1);
    }

    #[test]
    fn a_lost_worker_that_is_back_has_its_lease_again() {
        let mut leases = leases(10);
        leases.grant(TASK, 1, WorkerId::from("w"), seconds(3_600), Phase::Disconnected);
        assert_eq!(leases.renew(TASK, 1, &WorkerId::from("w"), seconds(70)), Renewal::Reconnected);
        assert_eq!(leases.take_expired(seconds(70)).len(), 1);
    }
}
