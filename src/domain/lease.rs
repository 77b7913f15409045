//! Leases: a worker's time-bounded right to an attempt. Deadlines live in memory only; after a start every held attempt gets one full lease.

use muster_protocol::ids::TaskId;
use std::collections::HashMap;
use std::time::Duration;

/// The deadlines of all held attempts, in the server's uptime (which counts suspend and never jumps).
#[derive(Debug, Default)]
pub struct Leases {
    deadlines: HashMap<(TaskId, u64), Duration>,
}

impl Leases {
    /// Gives or renews a lease until `deadline`. A lease never gets shorter.
    pub fn renew(&mut self, task: TaskId, attempt: u64, deadline: Duration) {
        let current = self.deadlines.entry((task, attempt)).or_insert(deadline);
        *current = deadline.max(*current);
    }

    /// Sets a lease, also to less than it was.
    pub fn set(&mut self, task: TaskId, attempt: u64, deadline: Duration) {
        self.deadlines.insert((task, attempt), deadline);
    }

    /// Ends a lease: the attempt ended.
    pub fn end(&mut self, task: TaskId, attempt: u64) {
        self.deadlines.remove(&(task, attempt));
    }

    /// Takes out and answers the attempts whose deadline has passed.
    pub fn take_expired(&mut self, now: Duration) -> Vec<(TaskId, u64)> {
        let expired: Vec<_> = self.deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(key, _)| *key).collect();
        for key in &expired {
            self.deadlines.remove(key);
        }
        expired
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Leases;
    use muster_protocol::ids::TaskId;
    use std::time::Duration;
    use uuid::Uuid;

    #[test]
    fn a_lease_expires_once_and_only_after_its_deadline() {
        let mut leases = Leases::default();
        let task = TaskId(Uuid::from_u128(7));
        leases.renew(task, 1, Duration::from_secs(10));
        leases.renew(task, 1, Duration::from_secs(5));
        assert!(leases.take_expired(Duration::from_secs(9)).is_empty());
        assert_eq!(leases.take_expired(Duration::from_secs(10)), vec![(task, 1)]);
        assert!(leases.take_expired(Duration::from_secs(99)).is_empty());
    }
}
