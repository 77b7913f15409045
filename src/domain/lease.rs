//! Leases: a worker's time-bounded right to an attempt. Deadlines live in memory only; after a start every held attempt gets one full lease.

use muster_protocol::ids::{TaskId, WorkerId};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its worker is to be heard of until then.
    Held,
    /// Shown to a plain worker, which has not claimed it. Only showing it again dates it anew.
    Reserved,
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
    /// When a reservation was shown first.
    since: Duration,
}

impl Lease {
    /// Whether it is a worker's, and more than a reservation.
    fn is_begun_by(&self, worker: &WorkerId) -> bool {
        self.holder == *worker && self.phase != Phase::Reserved
    }

    /// It never gets shorter; only a lost worker that is back begins anew.
    fn renew(&mut self, deadline: Duration) -> Renewal {
        if self.phase == Phase::Disconnected {
            (self.phase, self.deadline) = (Phase::Held, deadline);
            return Renewal::Reconnected;
        }
        self.deadline = self.deadline.max(deadline);
        Renewal::Renewed
    }
}

/// The deadlines of all held attempts, in the server's uptime (which counts suspend and never jumps).
#[derive(Debug, Default)]
pub struct Leases {
    leases: HashMap<(TaskId, u64), Lease>,
    /// Those whose worker, a plain one, has registered since it was heard of under the attempt.
    doubted: HashSet<(TaskId, u64)>,
}

impl Leases {
    /// Gives a lease, or sets another deadline.
    pub fn grant(&mut self, task: TaskId, attempt: u64, holder: WorkerId, deadline: Duration, phase: Phase) {
        if phase != Phase::Disconnected {
            self.doubted.remove(&(task, attempt));
        }
        self.leases.insert((task, attempt), Lease { holder, deadline, phase, since: Duration::ZERO });
    }

    /// Reserves a task for the plain worker that it is shown to now, for `lasts` from this showing.
    pub fn reserve(&mut self, task: TaskId, attempt: u64, holder: WorkerId, now: Duration, lasts: Duration) {
        let lease = Lease { holder, deadline: now + lasts, phase: Phase::Reserved, since: now };
        self.leases.insert((task, attempt), lease);
    }

    /// Whether a reserved task may be shown to its worker again; if so, the reservation lasts from now on.
    ///
    /// A plain worker runs a snapshot whatever its claim is answered, so a task may go to another one only when the last snapshot is old: each
    /// showing is good for all of `lasts`. A worker that is shown a task over and over takes it not (it polls between two tasks, never with a
    /// snapshot in hand), and it must not keep it from others for ever: it is shown during the first `lasts` only, and free after twice that.
    pub fn show_again(&mut self, task: TaskId, attempt: u64, holder: &WorkerId, now: Duration, lasts: Duration) -> bool {
        let lease = self.leases.get_mut(&(task, attempt)).filter(|lease| lease.holder == *holder && lease.phase == Phase::Reserved);
        // One whose reservation is being taken back, or is not known yet, is not shown.
        let Some(lease) = lease.filter(|lease| now < lease.since + lasts) else { return false };
        lease.deadline = now + lasts;
        true
    }

    /// Renews the lease of the worker that holds it. A lease never gets shorter.
    pub fn renew(&mut self, task: TaskId, attempt: u64, holder: &WorkerId, deadline: Duration) -> Renewal {
        let Some(lease) = self.leases.get_mut(&(task, attempt)).filter(|lease| lease.holder == *holder) else {
            return Renewal::Unknown;
        };
        self.doubted.remove(&(task, attempt));
        lease.renew(deadline)
    }

    /// Renews every lease of a worker that does not name its attempts (a plain one), and answers those that were lost and are back. A reservation is
    /// not renewed: the worker has not taken it. Nor is an attempt that is doubted.
    pub fn renew_all(&mut self, holder: &WorkerId, deadline: Duration) -> Vec<(TaskId, u64)> {
        let doubted = &self.doubted;
        let own = self.leases.iter_mut().filter(|(key, lease)| lease.is_begun_by(holder) && !doubted.contains(key));
        own.filter_map(|(key, lease)| (lease.renew(deadline) == Renewal::Reconnected).then_some(*key)).collect()
    }

    /// A plain worker has registered, which it does when it starts and when it is idle: only a call under an attempt says from now on that it still
    /// runs it. Without this, one that was killed and started again would keep alive what nobody runs.
    pub fn doubt(&mut self, holder: &WorkerId) {
        self.doubted.extend(self.leases.iter().filter(|(_, lease)| lease.is_begun_by(holder)).map(|(key, _)| *key));
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
        self.doubted.remove(&(task, attempt));
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

    #[test]
    fn a_reservation_lasts_from_each_showing_and_is_shown_during_the_first_only() {
        let (mut leases, w, lasts) = (Leases::default(), WorkerId::from("w"), seconds(60));
        leases.reserve(TASK, 1, w.clone(), seconds(100), lasts);
        assert!(leases.renew_all(&w, seconds(1_000)).is_empty());
        assert!(leases.show_again(TASK, 1, &w, seconds(159), lasts));
        assert!(!leases.show_again(TASK, 1, &WorkerId::from("stranger"), seconds(159), lasts));
        assert!(!leases.show_again(TASK, 1, &w, seconds(160), lasts));
        assert!(leases.take_expired(seconds(218)).is_empty());
        assert_eq!(leases.take_expired(seconds(219)), vec![(TASK, 1, w.clone(), Phase::Reserved)]);
        assert!(!leases.show_again(TASK, 1, &w, seconds(219), lasts), "it is shown while it is taken back");
    }

    #[test]
    fn any_call_of_a_plain_worker_brings_back_what_was_lost_with_it() {
        let (mut leases, w) = (leases(10), WorkerId::from("w"));
        leases.grant(TASK, 2, w.clone(), seconds(3_600), Phase::Disconnected);
        assert_eq!(leases.renew_all(&w, seconds(70)), vec![(TASK, 2)]);
        assert!(leases.renew_all(&w, seconds(70)).is_empty());
        assert_eq!(leases.take_expired(seconds(70)).len(), 2);
    }

    #[test]
    fn a_plain_worker_that_registers_runs_nothing_until_it_says_so() {
        let (mut leases, w) = (leases(10), WorkerId::from("w"));
        leases.doubt(&w);
        leases.renew_all(&w, seconds(99));
        assert_eq!(leases.take_expired(seconds(10)).len(), 1, "a poll renewed it");
        leases.grant(TASK, 1, w.clone(), seconds(10), Phase::Held);
        leases.doubt(&w);
        assert_eq!(leases.renew(TASK, 1, &w, seconds(20)), Renewal::Renewed);
        leases.renew_all(&w, seconds(30));
        assert!(leases.take_expired(seconds(29)).is_empty(), "its own call does not count");
    }
}
