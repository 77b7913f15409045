//! The end: nothing new is taken, what runs may finish, the rest is interrupted and reported, the worker unregisters.

use super::{AgentError, Fatal, Shared};
use crate::task::attempt::Stop;
use muster_protocol::worker::{AttemptState, Drain};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// How long interrupted runs may take to end and to be reported.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// How long the server may take to hear of the drain and of the end.
const GOODBYE: Duration = Duration::from_secs(3);

/// SIGTERM, SIGINT, and SIGHUP, which comes when the terminal is closed.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, hup: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

/// Waits until the daemon is told to stop or has to, and ends its runs in good order.
pub(super) async fn until_told(shared: &Shared, mut signals: Signals) -> Result<(), AgentError> {
    let superseded = tokio::select! {
        () = signals.next() => None,
        Fatal::Superseded(why) = shared.ending() => Some(why),
    };
    shared.draining.store(true, Ordering::Relaxed);
    if superseded.is_none() {
        tokio::select! {
            () = drain(shared, &mut signals) => return Ok(()),
            Fatal::Superseded(why) = shared.ending() => return stop_all(shared, why).await,
        }
    }
    stop_all(shared, superseded.unwrap_or_default()).await
}

/// The attempts are another start's now: the runs are stopped, nothing is reported.
async fn stop_all(shared: &Shared, why: String) -> Result<(), AgentError> {
    stop(shared, Stop::Drop);
    let _ = timeout(LAST_WORDS, shared.table.empty()).await;
    Err(AgentError::Superseded(why))
}

async fn drain(shared: &Shared, signals: &mut Signals) {
    let running = shared.table.all().len();
    let limit = shared.config.drain_timeout;
    if running == 0 {
        tracing::info!("stopping");
    } else {
        tracing::info!(
            "stopping: no new tasks; {running} running ones may take {} s to finish (a second signal interrupts them)",
            limit.as_secs()
        );
    }
    let body = Drain { reason: Some("the worker is being stopped".to_owned()) };
    if let Ok(Err(error)) = timeout(GOODBYE, shared.server.drain(&shared.worker_id, &body)).await {
        tracing::debug!("the server does not hear of the drain: {error}");
    }
    for attempt in shared.table.all() {
        if attempt.state() == AttemptState::Assigned {
            attempt.stop(Stop::Shutdown);
        }
    }
    tokio::select! {
        () = shared.table.empty() => {}
        () = tokio::time::sleep(limit) => interrupt(shared, "the time is over").await,
        () = signals.next() => interrupt(shared, "a second signal came").await,
    }
    goodbye(shared).await;
}

async fn interrupt(shared: &Shared, why: &str) {
    tracing::warn!("{why}: interrupting {} running tasks", shared.table.all().len());
    stop(shared, Stop::Shutdown);
    let _ = timeout(LAST_WORDS, shared.table.empty()).await;
}

fn stop(shared: &Shared, why: Stop) {
    for attempt in shared.table.all() {
        attempt.stop(why);
    }
}

async fn goodbye(shared: &Shared) {
    let left = shared.table.all().len();
    if left > 0 {
        // Unregistering would end these as lost; their reports are delivered at the next start.
        tracing::warn!("{left} reports could not be delivered; they are kept for the next start");
        return;
    }
    // Before it leaves: a pull that is told of the leaving would register the worker again.
    shared.exit.cancel();
    match timeout(GOODBYE, shared.server.unregister(&shared.worker_id)).await {
        Ok(Ok(_)) => tracing::info!("unregistered"),
        Ok(Err(error)) => tracing::info!("not unregistered: {error}"),
        Err(_) => tracing::info!("not unregistered: the server does not answer"),
    }
}
