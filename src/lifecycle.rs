//! Start to end of the process: signals, the two steps of a stop, and every task that was spawned.
//!
//! ```text
//! running --stop()--> stopping (soft: accept nothing new, end long polls and streams)
//!                        --deadline--> cut (hard: drop what is left)
//! ```
//! A second signal ends the process at once. A tracked task that panics, or [`Lifecycle::fail`], stops the server and makes
//! it exit non-zero.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use futures_util::FutureExt;

/// The exit code after a second signal, as a shell would see a process ended by SIGINT.
const EXIT_AT_ONCE: i32 = 130;

/// The life of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

impl Lifecycle {
    /// A process that runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires when nothing new is to be begun: listeners close, long polls and streams end.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Fires when what is left is to be dropped.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Completes when the stop begins.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.soft.cancelled()
    }

    /// Begins the stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Begins the stop, and makes the process exit non-zero. The first reason is kept.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!("stopping: {reason}");
        drop(self.failure.set(reason));
        self.stop();
    }

    /// Why the process must exit non-zero, if it must.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Spawns a task that is waited for at the end. If it panics, the server stops.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        self.tracker.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                life.fail(format!("the task `{name}` panicked: {}", panic_message(panic.as_ref())));
            }
        });
    }

    /// Spawns a task that is waited for at the end and harms only itself if it panics: what a connection does must not end the server.
    pub fn spawn_isolated<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!("a task `{name}` panicked: {}", panic_message(panic.as_ref()));
            }
        });
    }

    /// Waits until the stop begins and all tasks have ended; those that have not within `grace` of the beginning are told by the
    /// hard token and given `grace` once more at most.
    ///
    /// # Errors
    /// The reason why the process must exit non-zero.
    pub async fn finished(&self, grace: Duration) -> Result<(), String> {
        self.stopping().await;
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::warn!("{} tasks did not end within {grace:?}; dropping them", self.tracker.len());
            self.hard.cancel();
            drop(tokio::time::timeout(grace, self.tracker.wait()).await);
        }
        self.hard.cancel();
        self.failure().map_or(Ok(()), |reason| Err(reason.to_owned()))
    }

    /// Turns SIGINT and SIGTERM into [`Lifecycle::stop`]; the second one ends the process at once.
    ///
    /// # Errors
    /// If the system does not let signals be caught.
    pub fn catch_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let life = self.clone();
        // Not tracked: it must outlive the stop, to hear the second signal.
        tokio::spawn(async move {
            for times in 1.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if times > 1 {
                    std::process::exit(EXIT_AT_ONCE);
                }
                tracing::info!("stopping; a second signal ends the process at once");
                life.stop();
            }
        });
        Ok(())
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_tasks_that_end_by_themselves() {
        let life = Lifecycle::new();
        let seen = life.clone();
        life.spawn("waits", async move { seen.stopping().await });
        life.stop();
        assert_eq!(life.finished(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_server_with_its_reason() {
        let life = Lifecycle::new();
        life.spawn("breaks", async { panic!("no luck") });
        let end = life.finished(Duration::from_secs(5)).await;
        assert_eq!(end, Err("the task `breaks` panicked: no luck".to_owned()));
    }

    #[tokio::test]
    async fn an_isolated_task_that_panics_harms_only_itself() {
        let life = Lifecycle::new();
        life.spawn_isolated("breaks", async { panic!("no luck") });
        life.stop();
        assert_eq!(life.finished(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_told_by_the_hard_token() {
        let life = Lifecycle::new();
        let seen = life.clone();
        life.spawn("holds on", async move { seen.hard().cancelled().await });
        life.stop();
        assert_eq!(life.finished(Duration::from_millis(50)).await, Ok(()));
        assert!(life.hard().is_cancelled());
    }

    #[tokio::test]
    async fn the_first_failure_is_the_one_that_is_told() {
        let life = Lifecycle::new();
        life.fail("first");
        life.fail("second");
        assert_eq!(life.finished(Duration::from_secs(5)).await, Err("first".to_owned()));
    }
}
