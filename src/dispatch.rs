//! A worker's pull: heartbeat, lease renewal, claim and control channel in one long poll.

use crate::app::App;
use crate::domain::lease::{Phase, Renewal};
use crate::store::StoreError;
use crate::store::attempts::MarkReconnected;
use crate::store::claim::{Glance, LaneAt, Look, PullOutcome, PullTasks, Told};
use crate::sync::lock;
use muster_protocol::ids::{InstanceId, WorkerId};
use muster_protocol::worker::{Pull, Pulled, RunningAttempt};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Why a pull is refused.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// There is no such worker, or it left.
    #[error("the worker is not registered; register first")]
    NotRegistered,
    /// A newer instance has registered.
    #[error("a newer instance of this worker has registered; this one must stop")]
    Superseded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The newest pull of each worker. A higher `pull_seq` ends the older one empty.
#[derive(Debug, Default)]
pub struct Pulls(Mutex<HashMap<WorkerId, Newest>>);

#[derive(Debug)]
struct Newest {
    instance: InstanceId,
    seq: watch::Sender<u64>,
    /// How far its worker's queue was looked through; nothing if to its end.
    looked: Option<LaneAt>,
}

impl Pulls {
    /// Enters a pull; what is answered tells when a newer one has come.
    fn enter(&self, worker: &WorkerId, instance: InstanceId, seq: u64) -> watch::Receiver<u64> {
        let mut pulls = lock(&self.0);
        if let Some(newest) = pulls.get(worker).filter(|newest| newest.instance == instance) {
            newest.seq.send_if_modified(|current| {
                let newer = seq > *current;
                *current = seq.max(*current);
                newer
            });
            return newest.seq.subscribe();
        }
        let newest = Newest { instance, seq: watch::Sender::new(seq), looked: None };
        let receiver = newest.seq.subscribe();
        // The channel of an older instance closes, which ends its pull.
        pulls.insert(worker.clone(), newest);
        receiver
    }

    fn looked(&self, worker: &WorkerId) -> Option<LaneAt> {
        lock(&self.0).get(worker).and_then(|newest| newest.looked.clone())
    }

    fn look_on_from(&self, worker: &WorkerId, place: Option<LaneAt>) {
        if let Some(newest) = lock(&self.0).get_mut(worker) {
            newest.looked = place;
        }
    }
}

impl App {
    /// Answers a pull, as soon as there is something to tell, or empty after its wait.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(&self, worker: &WorkerId, pull: Pull) -> Result<Pulled, PullError> {
        let mut signal = self.store.hub().worker(worker.clone());
        signal.mark_unchanged();
        // Nothing is kept of whoever is not registered.
        let mut finds = self.glance(worker, &pull).await?;
        self.heard_of(worker);
        let mut newest = self.pulls.enter(worker, pull.instance, pull.pull_seq);
        self.renew(worker, &pull.running).await?;
        let longest = self.config.leases.wait;
        let wait = pull.wait_ms.map_or(longest, Duration::from_millis).min(longest);
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        let mut tell_drops = true;
        loop {
            // Before anything is given out: what an older pull takes, nobody may read.
            if *newest.borrow() > pull.pull_seq {
                return Ok(self.answer(worker, Told::default()));
            }
            let told = if finds { self.look(worker, &pull, tell_drops).await? } else { None };
            tell_drops = false;
            if let Some(told) = told {
                return Ok(self.answer(worker, told));
            }
            tokio::select! {
                () = &mut end => return Ok(self.answer(worker, Told::default())),
                () = self.life.stopping() => return Ok(self.answer(worker, Told::default())),
                _ = newest.changed() => return Ok(self.answer(worker, Told::default())),
                _ = signal.changed() => {}
            }
            signal.mark_unchanged();
            finds = self.glance(worker, &pull).await?;
        }
    }

    /// Whether there may be something to tell. A read, so that a pull is a write only if so.
    async fn glance(&self, worker: &WorkerId, pull: &Pull) -> Result<bool, PullError> {
        match self.store.glance(worker, pull, self.now()).await? {
            Glance::NotRegistered => Err(PullError::NotRegistered),
            Glance::Superseded => Err(PullError::Superseded),
            Glance::Something => Ok(true),
            Glance::Nothing => Ok(false),
        }
    }

    /// Looks for what there is to tell.
    async fn look(&self, worker: &WorkerId, pull: &Pull, tell_drops: bool) -> Result<Option<Told>, PullError> {
        // A long queue is looked through in pieces, once around, from where the last look ended: no part of it hides another.
        let mut after = self.pulls.looked(worker);
        let mut ends_to_reach = 1 + u8::from(after.is_some());
        while ends_to_reach > 0 {
            let told = self.look_after(worker, pull, tell_drops, after).await?;
            if told.looked {
                self.pulls.look_on_from(worker, told.more.clone());
            }
            if !told.is_empty() || !told.looked {
                return Ok((!told.is_empty()).then_some(told));
            }
            after = told.more;
            ends_to_reach -= u8::from(after.is_none());
        }
        Ok(None)
    }

    async fn look_after(&self, worker: &WorkerId, pull: &Pull, tell_drops: bool, after: Option<LaneAt>) -> Result<Told, PullError> {
        let write = PullTasks {
            look: Look { worker: worker.clone(), instance: pull.instance, registration: pull.registration, after, now: self.now() },
            running: pull.running.clone(),
            tell_drops,
            stop_after_ms: stop_after(self.config.leases.lease),
        };
        match self.store.write(write).await? {
            PullOutcome::NotRegistered => Err(PullError::NotRegistered),
            PullOutcome::Superseded => Err(PullError::Superseded),
            PullOutcome::Told(told) => Ok(told),
        }
    }

    fn answer(&self, worker: &WorkerId, told: Told) -> Pulled {
        let lease = self.config.leases.lease;
        let deadline = self.clock.uptime() + lease;
        let mut leases = lock(&self.leases);
        for assignment in &told.assign {
            leases.grant(assignment.task.id, assignment.attempt, worker.clone(), deadline, Phase::Held);
        }
        Pulled { lease_ms: millis(lease), assign: told.assign, cancel: told.cancel, answers: told.answers, drop: told.drop }
    }

    /// Renews the leases of what a worker has; one that was lost with it is back. What cannot be written of that now, the comparison of a later
    /// pull repairs.
    async fn renew(&self, worker: &WorkerId, running: &[RunningAttempt]) -> Result<(), StoreError> {
        let deadline = self.clock.uptime() + self.config.leases.lease;
        let back: Vec<_> = {
            let mut leases = lock(&self.leases);
            let renewed = running.iter().map(|r| (r, leases.renew(r.task_id, r.attempt, worker, deadline)));
            renewed.filter(|(_, renewal)| *renewal == Renewal::Reconnected).map(|(r, _)| (r.task_id, r.attempt)).collect()
        };
        for (task, attempt) in back {
            self.store.write(MarkReconnected { task, attempt, now: self.now() }).await?;
        }
        Ok(())
    }
}

/// When a `restart` attempt must have been stopped: well before the lease ends at the server, which dates it from later than the worker.
fn stop_after(lease: Duration) -> u64 {
    millis(lease * 2 / 3)
}

/// Milliseconds as they go over the wire.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
