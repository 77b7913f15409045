//! An attempt that this worker has, and the table of all of them.

use crate::clock::BootTime;
use crate::lease::Lease;
use crate::spool::{Journal, attempt_ref};
use muster_protocol::ids::InteractionId;
use muster_protocol::task::Task;
use muster_protocol::worker::{AttemptRef, AttemptState, InteractionAnswer, RunningAttempt};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How many ended attempts are remembered, so that a late answer cannot start one again.
const REMEMBERED: usize = 4096;

/// Why an attempt has to stop. A later reason counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The worker ends.
    Shutdown,
    /// No renewal came for as long as the task allows.
    LeaseLost,
    /// Somebody cancelled the task.
    Cancel,
    /// The attempt is not this worker's any more.
    Drop,
}

/// An attempt that this worker has.
#[derive(Debug)]
pub struct Attempt {
    /// Its names.
    pub id: AttemptRef,
    /// What is written down of it.
    pub journal: Journal,
    /// Woken when there is something to report.
    pub wake: Notify,
    /// Whether the server knows that it is begun.
    pub begun_known: watch::Sender<bool>,
    lease: Mutex<Lease>,
    state: Mutex<AttemptState>,
    stop: watch::Sender<Option<Stop>>,
    answers: Answers,
    closed: CancellationToken,
}

impl Attempt {
    /// An attempt from its journal. The lease counts from `sent`, when the request was sent whose answer assigned it.
    #[must_use]
    pub fn new(journal: Journal, sent: BootTime) -> Arc<Self> {
        let state = match (journal.end_report().is_some(), journal.is_started()) {
            (true, _) => AttemptState::Finishing,
            (false, true) => AttemptState::Started,
            (false, false) => AttemptState::Assigned,
        };
        let stop_after = journal.assignment().stop_after_ms.map(Duration::from_millis);
        Arc::new(Self {
            id: attempt_ref(journal.assignment()),
            journal,
            wake: Notify::new(),
            begun_known: watch::Sender::new(false),
            lease: Mutex::new(Lease::new(sent, stop_after)),
            state: Mutex::new(state),
            stop: watch::Sender::new(None),
            answers: Answers::default(),
            closed: CancellationToken::new(),
        })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.journal.assignment().task
    }

    /// Its names for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let title = &self.task().title;
        let short: String = title.chars().take(40).filter(|c| !c.is_control()).collect();
        format!("task {} (attempt {}, \"{short}\")", self.id.task_id, self.id.attempt)
    }

    /// Asks it to stop; gives whether that is news.
    pub fn stop(&self, why: Stop) -> bool {
        self.stop.send_if_modified(|current| {
            let stronger = current.is_none_or(|current| why > current);
            if stronger {
                *current = Some(why);
            }
            stronger
        })
    }

    /// Why it has to stop, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits until it has to stop.
    pub async fn stopping(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        match stop.wait_for(Option::is_some).await.map(|stop| *stop) {
            Ok(Some(why)) => why,
            // The sender lives in `self`.
            _ => std::future::pending().await,
        }
    }

    /// Takes in somebody's answer to what the run asks; gives whether it is news.
    pub fn answer(&self, answer: InteractionAnswer) -> bool {
        self.answers.put(answer)
    }

    /// Waits for the next answer.
    pub async fn answered(&self) -> InteractionAnswer {
        self.answers.next().await
    }

    /// Notes that a request under this attempt, sent at `sent`, was answered.
    pub fn renew(&self, sent: BootTime) {
        lock(&self.lease).renew(sent);
    }

    /// Asks the run to stop when its lease passes; never ends.
    pub async fn watch_lease(&self) {
        loop {
            let stop_at = lock(&self.lease).stop_at();
            let Some(stop_at) = stop_at else { return std::future::pending().await };
            let now = BootTime::now();
            if now >= stop_at {
                self.stop(Stop::LeaseLost);
                return std::future::pending().await;
            }
            // A timer does not count suspend: look again soon after the machine wakes up.
            tokio::time::sleep(stop_at.since(now).min(Duration::from_secs(1))).await;
        }
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> AttemptState {
        lock(&self.state).clone()
    }

    /// Notes how far it is.
    pub fn set_state(&self, state: AttemptState) {
        *lock(&self.state) = state;
    }

    /// Nothing is to be done or reported any more.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Waits for [`Self::close`].
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// Answers on their way to the run. The server repeats each until the run has told what became of it; here it counts once.
#[derive(Debug, Default)]
struct Answers {
    inner: Mutex<(HashSet<InteractionId>, VecDeque<InteractionAnswer>)>,
    news: Notify,
}

impl Answers {
    fn put(&self, answer: InteractionAnswer) -> bool {
        let (seen, waiting) = &mut *lock(&self.inner);
        let first = seen.insert(answer.interaction_id);
        if first {
            waiting.push_back(answer);
            self.news.notify_one();
        }
        first
    }

    async fn next(&self) -> InteractionAnswer {
        loop {
            if let Some(answer) = lock(&self.inner).1.pop_front() {
                return answer;
            }
            self.news.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All attempts that this worker has. Its word counts in every pull.
#[derive(Debug, Default)]
pub struct Table {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<AttemptRef, Arc<Attempt>>,
    ended: VecDeque<AttemptRef>,
}

impl Table {
    /// Whether it is or was here.
    #[must_use]
    pub fn knows(&self, id: AttemptRef) -> bool {
        let inner = lock(&self.inner);
        inner.held.contains_key(&id) || inner.ended.contains(&id)
    }

    /// An attempt that is here.
    #[must_use]
    pub fn get(&self, id: AttemptRef) -> Option<Arc<Attempt>> {
        lock(&self.inner).held.get(&id).cloned()
    }

    /// Takes an attempt in.
    pub fn insert(&self, attempt: Arc<Attempt>) {
        lock(&self.inner).held.insert(attempt.id, attempt);
    }

    /// Lets an attempt go.
    pub fn remove(&self, id: AttemptRef) {
        let mut inner = lock(&self.inner);
        if inner.held.remove(&id).is_some() {
            if inner.ended.len() == REMEMBERED {
                inner.ended.pop_front();
            }
            inner.ended.push_back(id);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// All that are here.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Attempt>> {
        lock(&self.inner).held.values().cloned().collect()
    }

    /// As the pull names them.
    #[must_use]
    pub fn running(&self) -> Vec<RunningAttempt> {
        let entry = |attempt: Arc<Attempt>| RunningAttempt {
            task_id: attempt.id.task_id,
            attempt: attempt.id.attempt,
            state: attempt.state(),
            next_seq: attempt.journal.next_seq(),
            stopping: attempt.stopped().is_some_and(|why| why >= Stop::Cancel),
        };
        self.all().into_iter().map(entry).collect()
    }

    /// Waits until none is here.
    pub async fn empty(&self) {
        self.wait_until(|inner| inner.held.is_empty()).await;
    }

    /// Stops the earlier attempts of the same task and waits until they are gone: a task is not run twice at once.
    pub async fn alone(&self, id: AttemptRef) {
        let earlier = |other: &AttemptRef| other.task_id == id.task_id && other.attempt < id.attempt;
        for attempt in self.all().into_iter().filter(|attempt| earlier(&attempt.id)) {
            attempt.stop(Stop::Drop);
        }
        self.wait_until(|inner| !inner.held.keys().any(earlier)).await;
    }

    async fn wait_until(&self, wanted: impl Fn(&Inner) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if wanted(&lock(&self.inner)) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Stop, Table};
    use crate::clock::BootTime;
    use crate::spool::Spool;
    use crate::spool::tests::assignment;
    use std::time::Duration;

    #[tokio::test]
    async fn a_stronger_reason_to_stop_replaces_a_weaker_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = Attempt::new(Spool::open(dir.path(), 1 << 20).unwrap().0.create(assignment(1)).unwrap(), BootTime::now());
        attempt.stop(Stop::Cancel);
        attempt.stop(Stop::Shutdown);
        assert_eq!(attempt.stopping().await, Stop::Cancel);
        attempt.stop(Stop::Drop);
        assert_eq!(attempt.stopped(), Some(Stop::Drop));
    }

    #[tokio::test]
    async fn an_attempt_that_has_ended_is_still_known() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = Attempt::new(Spool::open(dir.path(), 1 << 20).unwrap().0.create(assignment(1)).unwrap(), BootTime::now());
        let table = Table::default();
        assert!(!table.knows(attempt.id));
        table.insert(attempt.clone());
        assert_eq!(table.running().len(), 1);
        table.remove(attempt.id);
        table.empty().await;
        assert!(table.knows(attempt.id) && table.running().is_empty());
    }

    #[tokio::test]
    async fn a_newer_attempt_waits_until_the_earlier_one_of_its_task_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), 1 << 20).unwrap().0;
        let [first, second] = [1, 2].map(|number| Attempt::new(spool.create(assignment(number)).unwrap(), BootTime::now()));
        let table = Table::default();
        table.insert(first.clone());
        table.insert(second.clone());
        tokio::join!(table.alone(second.id), async {
            assert_eq!(first.stopping().await, Stop::Drop);
            table.remove(first.id);
        });
        assert_eq!(second.stopped(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_asked_to_stop_when_its_lease_has_passed() {
        let dir = tempfile::tempdir().unwrap();
        let mut assigned = assignment(1);
        assigned.stop_after_ms = Some(1_000);
        let past = BootTime(BootTime::now().0.saturating_sub(Duration::from_secs(2)));
        let attempt = Attempt::new(Spool::open(dir.path(), 1 << 20).unwrap().0.create(assigned).unwrap(), past);
        tokio::select! {
            () = attempt.watch_lease() => unreachable!("it never ends"),
            stop = attempt.stopping() => assert_eq!(stop, Stop::LeaseLost),
        }
    }
}
