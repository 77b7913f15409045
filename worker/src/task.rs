//! The executor: one attempt from its assignment to its final report.

pub mod attempt;
mod builtin;
mod prompt;
pub mod recover;
pub mod run;
mod session;
mod speech;
mod stop;

use crate::opencode::error::{Failure, code};
use crate::spool::FinalReport;
use attempt::{Attempt, Stop};
use muster_protocol::stream::FileChange;
use muster_protocol::task::{ReportedStatus, Usage, builtin_mode};
use muster_protocol::worker::AttemptState;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Shared;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Well.
    Completed {
        /// The answer.
        result: String,
        /// What was spent.
        usage: Option<Usage>,
        /// What was changed.
        changes: Vec<FileChange>,
    },
    /// Badly.
    Failed(Failure, Option<Usage>),
    /// The cancel was carried out: nothing of it runs any more.
    Cancelled(Option<Usage>),
    /// It was not begun.
    HandedBack,
    /// It was begun, and the run is gone.
    Interrupted(Failure, Option<Usage>),
    /// It is not this worker's any more: nothing is reported.
    Dropped,
}

impl Ending {
    /// The report; `None` if nothing is to be reported.
    #[must_use]
    pub fn report(self) -> Option<FinalReport> {
        let base =
            FinalReport { status: ReportedStatus::Pending, result: None, error: None, error_code: None, usage: None, changes: vec![] };
        let failure = |status, failure: Failure, usage| FinalReport {
            status,
            error: Some(failure.message),
            error_code: Some(failure.code.to_owned()),
            usage,
            ..base.clone()
        };
        match self {
            Self::Completed { result, usage, changes } => {
                Some(FinalReport { status: ReportedStatus::Completed, result: Some(result), usage, changes, ..base })
            }
            Self::Failed(why, usage) => Some(failure(ReportedStatus::Failed, why, usage)),
            Self::Interrupted(why, usage) => Some(failure(ReportedStatus::Interrupted, why, usage)),
            Self::Cancelled(usage) => Some(FinalReport { status: ReportedStatus::Cancelled, usage, ..base }),
            Self::HandedBack => Some(base),
            Self::Dropped => None,
        }
    }

    /// The ending of a run that was stopped for this reason; its processes are gone.
    #[must_use]
    pub fn of_stop(stop: Stop, usage: Option<Usage>) -> Self {
        match stop {
            Stop::Cancel => Self::Cancelled(usage),
            Stop::Drop => Self::Dropped,
            Stop::LeaseLost => Self::Interrupted(
                Failure::new(code::LEASE_LOST, "stopped because the server could not be reached for as long as the task allows"),
                usage,
            ),
            Stop::Shutdown => Self::Interrupted(Failure::new(code::WORKER_STOPPED, "the worker was stopped while the task ran"), usage),
        }
    }
}

/// Runs an attempt and writes down how it ended, also if the executor itself fails.
pub async fn execute_contained(shared: Arc<Shared>, attempt: Arc<Attempt>) {
    let run = shared.tracker.spawn(execute(Arc::clone(&shared), Arc::clone(&attempt)));
    if let Err(error) = run.await {
        let failure = Failure::new(code::WORKER_ERROR, "the worker has a fault and could not follow the run; its log says more");
        tracing::error!("{}: the executor failed: {error}", attempt.describe());
        conclude(&attempt, Ending::Interrupted(failure, None), Duration::ZERO);
    }
}

/// Runs an attempt and writes down how it ended.
pub async fn execute(shared: Arc<Shared>, attempt: Arc<Attempt>) {
    let begun = tokio::time::Instant::now();
    let ending = tokio::select! {
        ending = run_to_end(&shared, &attempt) => ending,
        // A run is only ever dropped in the middle when its lease watch asks it to stop, which it does itself.
        () = attempt.watch_lease() => Ending::Dropped,
    };
    conclude(&attempt, ending, begun.elapsed());
}

/// Writes an ending down and has it reported.
pub fn conclude(attempt: &Arc<Attempt>, ending: Ending, took: Duration) {
    let name = attempt.describe();
    let Some(report) = ending.report() else {
        tracing::info!("{name}: not this worker's any more; stopped and forgotten");
        attempt.close();
        return;
    };
    let status = report.status.clone();
    match (&report.error_code, &report.error) {
        (Some(code), Some(error)) => {
            tracing::info!(task.id = %attempt.id.task_id, attempt = attempt.id.attempt, "{name}: {status} after {:.1} s ({code}): {error}", took.as_secs_f64());
        }
        _ => {
            tracing::info!(task.id = %attempt.id.task_id, attempt = attempt.id.attempt, "{name}: {status} after {:.1} s", took.as_secs_f64());
        }
    }
    attempt.set_state(AttemptState::Finishing);
    if let Err(error) = attempt.journal.finish(report) {
        // The answer is not thrown away for that. Should the worker crash before it is reported, its next start asks OpenCode.
        tracing::error!("{name}: its end cannot be written to the spool ({error}); it is reported all the same");
    }
    attempt.wake.notify_one();
}

async fn run_to_end(shared: &Arc<Shared>, attempt: &Arc<Attempt>) -> Ending {
    tokio::select! {
        biased;
        stop = attempt.stopping() => return not_begun(stop),
        () = shared.table.alone(attempt.id) => {}
    }
    if let Err(error) = attempt.journal.start() {
        tracing::error!("{}: cannot be begun, the spool cannot be written: {error}", attempt.describe());
        shared.room.close_after(shared, &error).await;
        return Ending::HandedBack;
    }
    attempt.set_state(AttemptState::Started);
    attempt.wake.notify_one();
    tracing::info!(task.id = %attempt.id.task_id, attempt = attempt.id.attempt, "{}: begun", attempt.describe());
    if builtin_mode::contains(&attempt.task().mode) { builtin::run(shared, attempt) } else { prompt::run(shared, attempt).await }
}

/// The ending of an attempt that was stopped before it was begun.
fn not_begun(stop: Stop) -> Ending {
    match stop {
        Stop::Cancel => Ending::Cancelled(None),
        Stop::Drop => Ending::Dropped,
        Stop::LeaseLost | Stop::Shutdown => Ending::HandedBack,
    }
}
