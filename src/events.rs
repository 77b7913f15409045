//! The hub: who waits for what, woken after a commit and never before.
//!
//! It carries no data. A woken waiter reads the store, so a slow one holds up nobody, misses nothing and costs no memory beside its
//! own channel. Interest is registered *before* the store is read, so that nothing slips in between.

mod watched;

pub use watched::{Changes, Watched};

use crate::sync::lock;
use muster_protocol::ids::{TaskId, WorkerId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What a commit changed, as far as somebody may wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A task's stream grew or its state changed.
    Task(TaskId),
    /// There may be something to do or to hear for a worker.
    Worker(WorkerId),
    /// There is a task that any worker may take.
    AnyWorker,
    /// A task got or lost a webhook.
    Webhooks(TaskId),
    /// A worker came, left, or is another than before.
    Registry,
}

/// A count that rises with every wake-up. Seen counts are passed over; `changed` waits for the next.
pub type Signal = watch::Receiver<u64>;

/// The meeting point of those who commit and those who wait.
#[derive(Debug)]
pub struct Hub {
    log: watch::Sender<u64>,
    tasks: Signals<TaskId>,
    workers: Signals<WorkerId>,
    watched: Watched,
    registry: AtomicU64,
    /// Rotates the workers to wake for a task that any may take.
    turn: Mutex<usize>,
}

/// How many waiting workers are woken for one task that any may take: enough that one of them fits, few enough not to stampede. The
/// others find it with their next pull.
const WOKEN_FOR_ANY: usize = 16;

impl Default for Hub {
    fn default() -> Self {
        let (tasks, workers) = (Signals::default(), Signals::default());
        let registry = AtomicU64::new(0);
        Self { log: watch::Sender::new(0), tasks, workers, watched: Watched::default(), registry, turn: Mutex::new(0) }
    }
}

impl Hub {
    /// Tells of a commit: `log_head` is the newest place of the event log.
    pub fn committed(&self, log_head: u64, wakes: &[Wake]) {
        for wake in wakes {
            match wake {
                Wake::Task(id) => {
                    self.tasks.raise(id);
                    self.watched.changed(id);
                }
                Wake::Worker(id) => self.workers.raise(id),
                Wake::AnyWorker => self.wake_some_workers(),
                Wake::Webhooks(id) => self.watched.webhooks(*id),
                Wake::Registry => self.registry_changed(),
            }
        }
        self.log.send_if_modified(|head| {
            let newer = log_head > *head;
            *head = log_head.max(*head);
            newer
        });
    }

    /// Signals of the event log; the value is its head.
    #[must_use]
    pub fn log(&self) -> Signal {
        self.log.subscribe()
    }

    /// Signals of a task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Signal {
        self.tasks.subscribe(id)
    }

    /// Signals of a worker.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Signal {
        self.workers.subscribe(id)
    }

    /// The tasks with webhooks.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// The version of the registry of workers: what is read after this call is not older. A change is counted before it is answered.
    #[must_use]
    pub fn registry(&self) -> u64 {
        self.registry.load(Ordering::Acquire)
    }

    fn registry_changed(&self) {
        self.registry.fetch_add(1, Ordering::AcqRel);
    }

    /// Wakes everybody, after a commit of which only the outcome is known, or not even that.
    pub fn wake_all(&self) {
        self.registry_changed();
        self.tasks.raise_all();
        self.workers.raise_all();
        self.watched.missed();
        self.log.send_modify(|_| ());
    }

    fn wake_some_workers(&self) {
        let mut turn = lock(&self.turn);
        *turn = self.workers.raise_some(*turn, WOKEN_FOR_ANY);
    }
}

/// Signals by key; a key lives as long as somebody listens.
#[derive(Debug)]
struct Signals<K>(Mutex<HashMap<K, watch::Sender<u64>>>);

impl<K> Default for Signals<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash> Signals<K> {
    fn subscribe(&self, key: K) -> Signal {
        let mut signals = lock(&self.0);
        // Whoever comes cleans up: the map stays within twice the number of listeners.
        if signals.len() >= 64 && signals.len() == signals.capacity() {
            signals.retain(|_, sender| sender.receiver_count() > 0);
        }
        signals.entry(key).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn raise(&self, key: &K) {
        let mut signals = lock(&self.0);
        if let Some(sender) = signals.get(key) {
            if sender.receiver_count() == 0 {
                signals.remove(key);
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
    }

    fn raise_all(&self) {
        for sender in lock(&self.0).values() {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Raises up to `most` listening keys from the `from`-th on, and says where to go on the next time.
    fn raise_some(&self, from: usize, most: usize) -> usize {
        let signals = lock(&self.0);
        if signals.is_empty() {
            return 0;
        }
        let start = from % signals.len();
        let listening = |sender: &&watch::Sender<u64>| sender.receiver_count() > 0;
        let rotated = signals.values().skip(start).chain(signals.values().take(start));
        for sender in rotated.filter(listening).take(most) {
            sender.send_modify(|count| *count += 1);
        }
        start + most
    }
}

#[cfg(test)]
mod tests {
    use super::{Hub, Wake};
    use muster_protocol::ids::{TaskId, WorkerId};
    use uuid::Uuid;

    #[test]
    fn a_wake_up_reaches_those_who_registered_before_it() {
        let hub = Hub::default();
        let (task, other) = (TaskId(Uuid::from_u128(1)), TaskId(Uuid::from_u128(2)));
        let (signal, silent) = (hub.task(task), hub.task(other));
        hub.committed(3, &[Wake::Task(task)]);
        assert!(signal.has_changed().unwrap());
        assert!(!silent.has_changed().unwrap());
        assert_eq!(*hub.log().borrow(), 3);
    }

    #[test]
    fn a_task_for_any_worker_wakes_a_few_and_the_next_one_wakes_others() {
        let hub = Hub::default();
        let signals: Vec<_> = (0..40).map(|n| hub.worker(WorkerId(n.to_string()))).collect();
        let woken = || signals.iter().filter(|signal| signal.has_changed().unwrap()).count();
        hub.committed(0, &[Wake::AnyWorker]);
        assert_eq!(woken(), 16);
        hub.committed(0, &[Wake::AnyWorker]);
        hub.committed(0, &[Wake::AnyWorker]);
        assert_eq!(woken(), 40);
    }

    #[test]
    fn signals_that_nobody_hears_are_forgotten() {
        let hub = Hub::default();
        for n in 0..10_000 {
            drop(hub.task(TaskId(Uuid::from_u128(n))));
        }
        assert!(hub.tasks.0.lock().unwrap().len() < 1_000);
    }
}
