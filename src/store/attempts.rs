//! Attempts: how executions of a task begin, end and get lost. Every write here names its attempt; a stale one changes nothing.

mod cancel;
mod end;
mod lose;
mod report;

pub use cancel::{CancelOutcome, CancelTask};
pub(in crate::store) use end::{End, FinishTask};
pub use lose::{EndOverdueTask, LoseAttempt, LoseOutcome, MarkReconnected};
pub(in crate::store) use lose::{lose, reconnect};
pub use report::{Report, ReportOutcome};

use super::row::Columns as _;
use super::sql::{Sql, statements};
use super::{Store, StoreError, Tx};
use muster_protocol::digest::OutputDigest;
use muster_protocol::ids::{InstanceId, SessionId, TaskId, WorkerId};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;

/// An attempt as it is stored.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number.
    pub attempt: u64,
    /// Whose it is.
    pub worker_id: WorkerId,
    /// The start of the daemon that has it.
    pub instance: Option<InstanceId>,
    /// `reserved`, `assigned`, `started`, `ended`.
    pub state: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// Its OpenCode session.
    pub session_id: Option<SessionId>,
    /// When it was given to the worker.
    pub assigned_at: Timestamp,
    /// When the worker began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The `seq` of the entry expected next.
    pub next_seq: u64,
    /// Count and hash of its entries so far.
    pub digest: OutputDigest,
}

/// The words of `attempts.state`.
pub mod state {
    /// Offered to a plain worker, which has not said yet that it takes it.
    pub const RESERVED: &str = "reserved";
    /// Given to a worker.
    pub const ASSIGNED: &str = "assigned";
    /// Begun by the worker.
    pub const STARTED: &str = "started";
    /// Over.
    pub const ENDED: &str = "ended";
}

impl Attempt {
    /// Whether the worker had begun.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started_at.is_some()
    }

    fn read(row: &AnyRow) -> sqlx::Result<Self> {
        Self::read_as(row, "")
    }

    /// Reads columns whose names begin with `prefix`.
    pub(in crate::store) fn read_as(row: &AnyRow, prefix: &str) -> sqlx::Result<Self> {
        let named = |name: &str| format!("{prefix}{name}");
        Ok(Self {
            attempt: row.count(&named("attempt"))?,
            worker_id: WorkerId(row.text(&named("worker_id"))?),
            instance: row.maybe_parsed(&named("instance"))?,
            state: row.text(&named("state"))?,
            outcome: row.maybe_text(&named("outcome"))?,
            session_id: row.maybe_text(&named("session_id"))?.map(SessionId),
            assigned_at: row.time(&named("assigned_at"))?,
            started_at: row.maybe_time(&named("started_at"))?,
            ended_at: row.maybe_time(&named("ended_at"))?,
            next_seq: row.count(&named("next_seq"))?,
            digest: OutputDigest { bytes: row.count(&named("bytes"))?, hash: row.text(&named("hash"))? },
        })
    }
}

statements! {
    GET: "SELECT attempt, worker_id, instance, state, outcome, session_id, assigned_at, started_at, ended_at, next_seq, bytes, hash FROM attempts
        WHERE task_id = $1 AND attempt = $2";
    LIST: "SELECT attempt, worker_id, instance, state, outcome, session_id, assigned_at, started_at, ended_at, next_seq, bytes, hash FROM attempts
        WHERE task_id = $1 ORDER BY attempt";
}

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    ALL.iter().chain(end::ALL).chain(report::ALL)
}

impl Store {
    /// The attempts of a task, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
        let rows = LIST.on(self.dialect()).bind(task.to_string()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(Attempt::read).collect::<sqlx::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// An attempt of a task.
    pub(in crate::store) async fn attempt(&mut self, task: TaskId, attempt: u64) -> sqlx::Result<Option<Attempt>> {
        if let Some(newest) = self.known(task).await?.and_then(|known| known.attempt.as_ref()).filter(|newest| newest.attempt == attempt) {
            return Ok(Some(newest.clone()));
        }
        let statement = GET.on(self.dialect()).bind(task.to_string()).bind(super::row::to_int(attempt));
        self.optional(statement).await?.as_ref().map(Attempt::read).transpose()
    }

    /// An attempt, and whether this start of its worker's daemon has been superseded by a newer one.
    pub(in crate::store) async fn attempt_of(
        &mut self,
        task: TaskId,
        number: u64,
        instance: Option<InstanceId>,
    ) -> sqlx::Result<Option<(Attempt, bool)>> {
        let Some(attempt) = self.attempt(task, number).await? else { return Ok(None) };
        let superseded = match self.known(task).await?.filter(|known| known.attempt.as_ref().is_some_and(|newest| newest.attempt == number))
        {
            Some(known) => known.is_superseded(instance),
            None => self.is_superseded(&attempt.worker_id, instance).await?,
        };
        Ok(Some((attempt, superseded)))
    }
}
