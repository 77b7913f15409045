//! Giving tasks to workers: the write behind a pull, and the reservation and claim of plain workers.

mod candidates;
mod plain;

pub use plain::{ReserveTask, Reserved};

use super::attempts::{Attempt, End, FinishTask, LoseOutcome, state};
use super::row::{Columns as _, to_int};
use super::sql::{Sql, statements};
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::domain::loss::Loss;
use crate::domain::matching::writes;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId, TaskId, WorkerId};
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{Assignment, OnLost, PENDING_CODEBASE, TaskState};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{AttemptRef, RunningAttempt};
use serde_json::json;
use std::collections::HashMap;

/// What a pull asks of the store: compares what the worker has with what it should have, and gives it new tasks into its free slots.
#[derive(Debug, Clone)]
pub struct PullTasks {
    /// Who pulls.
    pub worker: WorkerId,
    /// Its start of the daemon.
    pub instance: InstanceId,
    /// As its registration answered.
    pub registration: u64,
    /// What it has, as it said when the pull began.
    pub running: Vec<RunningAttempt>,
    /// Whether attempts that are not the worker's any more are to be told; once a pull is enough.
    pub tell_drops: bool,
    /// After how long without a renewal a `restart` attempt must have been stopped.
    pub stop_after_ms: u64,
    /// When.
    pub now: Timestamp,
}

/// What became of a pull.
#[derive(Debug, Clone)]
pub enum PullOutcome {
    /// There is no such worker, or it left.
    NotRegistered,
    /// A newer instance has registered.
    Superseded,
    /// What the worker is to be told.
    Told(Told),
}

/// What a worker is to be told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// New attempts, and those that it did not get.
    pub assign: Vec<Assignment>,
    /// Attempts to cancel.
    pub cancel: Vec<AttemptRef>,
    /// Attempts that are not its own any more.
    pub drop: Vec<AttemptRef>,
}

statements! {
    WORKER: "SELECT instance, registration, gone, draining, slots, capabilities, labels, global_codebase_id FROM workers WHERE id = $1";
    ASSIGN: "UPDATE tasks SET state = 'working', held = 1, holder = $2, attempt = attempt + 1, codebase_id = $3, started_at = NULL,
        writing = $4, disconnected_at = NULL, entries = entries + 1, updated_at = $5 WHERE id = $1 AND state = 'submitted'";
    RESERVE: "UPDATE tasks SET held = 1, holder = $2, attempt = attempt + 1, codebase_id = $3, started_at = NULL,
        writing = $4, disconnected_at = NULL, updated_at = $5 WHERE id = $1 AND state = 'submitted'";
    INSERT_ATTEMPT: "INSERT INTO attempts (task_id, attempt, worker_id, instance, state, assigned_at, next_seq, bytes, hash)
        VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)";
    RETARGET_ATTEMPT: "UPDATE attempts SET instance = $3 WHERE task_id = $1 AND attempt = $2";
    ANYTHING_QUEUED: "SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM tasks WHERE state = 'submitted' AND held = 0 AND target_worker IN ('', $1)
        AND not_before <= $2 LIMIT 1) q";
    HELD_REFS: "SELECT id, attempt, cancel_asked_at, disconnected_at FROM tasks WHERE held = 1 AND holder = $1";
}

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    ALL.iter().chain(candidates::ALL).chain(plain::ALL)
}

/// The worker's row, as far as giving it work needs it.
pub(super) struct Claimant {
    pub(super) id: WorkerId,
    pub(super) instance: Option<InstanceId>,
    pub(super) registration: u64,
    pub(super) gone: bool,
    pub(super) draining: bool,
    pub(super) slots: usize,
    pub(super) capabilities: Vec<String>,
    pub(super) labels: std::collections::BTreeMap<String, String>,
    pub(super) global_codebase: Option<CodebaseId>,
}

impl Claimant {
    pub(super) async fn read(tx: &mut Tx<'_>, id: &WorkerId) -> sqlx::Result<Option<Self>> {
        let Some(row) = tx.optional(WORKER.on(tx.dialect()).bind(id.0.clone())).await? else { return Ok(None) };
        Ok(Some(Self {
            id: id.clone(),
            instance: row.maybe_parsed("instance")?,
            registration: row.count("registration")?,
            gone: row.flag("gone")?,
            draining: row.flag("draining")?,
            slots: usize::try_from(row.count("slots")?).unwrap_or(0),
            capabilities: row.json("capabilities")?,
            labels: row.json("labels")?,
            global_codebase: row.maybe_text("global_codebase_id")?.map(CodebaseId),
        }))
    }
}

impl Write for PullTasks {
    const NAME: &'static str = "pull_tasks";
    type Output = PullOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<PullOutcome> {
        let Some(claimant) = Claimant::read(tx, &self.worker).await?.filter(|claimant| !claimant.gone) else {
            return Ok(PullOutcome::NotRegistered);
        };
        if claimant.instance != Some(self.instance) || claimant.registration != self.registration {
            return Ok(PullOutcome::Superseded);
        }
        let mut told = Told::default();
        let held = self.compare(tx, &mut told).await?;
        let free = claimant.slots.saturating_sub(held);
        if free > 0 && !claimant.draining {
            for (record, codebase) in candidates::choose(tx, &claimant, free, self.now).await? {
                if let Some(assignment) = self.assign(tx, &claimant, &record, &codebase).await? {
                    told.assign.push(assignment);
                }
            }
        }
        Ok(PullOutcome::Told(told))
    }
}

impl PullTasks {
    /// Compares the attempts that the worker has with those it should have; answers how many slots are taken.
    async fn compare(&self, tx: &mut Tx<'_>, told: &mut Told) -> sqlx::Result<usize> {
        let has: HashMap<(TaskId, u64), &RunningAttempt> = self.running.iter().map(|r| ((r.task_id, r.attempt), r)).collect();
        let mut held = 0;
        let mut known = Vec::new();
        for record in tx.tasks_held_by(&self.worker).await? {
            let at = AttemptRef { task_id: record.task.id, attempt: record.task.attempt };
            known.push((at.task_id, at.attempt));
            held += 1;
            if has.contains_key(&(at.task_id, at.attempt)) {
                super::attempts::reconnect(tx, &record, self.now).await?;
                if record.cancel_asked_at.is_some() {
                    told.cancel.push(at);
                }
            } else if !self.settle_absent(tx, &record, told).await? {
                held -= 1;
            }
        }
        if self.tell_drops {
            let strange = self.running.iter().filter(|r| !known.contains(&(r.task_id, r.attempt)));
            told.drop.extend(strange.map(|r| AttemptRef { task_id: r.task_id, attempt: r.attempt }));
        }
        Ok(held)
    }

    /// An attempt that the worker should have and has not: one that it never got is sent again, one that it had begun is lost. Answers whether
    /// its slot stays taken.
    async fn settle_absent(&self, tx: &mut Tx<'_>, record: &TaskRecord, told: &mut Told) -> sqlx::Result<bool> {
        let Some(attempt) = tx.attempt(record.task.id, record.task.attempt).await? else { return Ok(true) };
        if attempt.is_started() {
            let outcome = super::attempts::lose(tx, record, Loss::Interrupted, Some("it does not know of it any more"), self.now).await?;
            return Ok(outcome == LoseOutcome::Stale);
        }
        if record.cancel_asked_at.is_some() {
            let end = End::by_cancel(record, true, self.now);
            FinishTask { record, end, now: self.now }.apply(tx).await?;
            return Ok(false);
        }
        self.send_again(tx, record, &attempt, told).await?;
        Ok(true)
    }

    async fn send_again(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: &Attempt, told: &mut Told) -> sqlx::Result<()> {
        let statement = RETARGET_ATTEMPT.on(tx.dialect()).bind(record.task.id.to_string()).bind(to_int(attempt.attempt));
        tx.execute(statement.bind(self.instance.to_string())).await?;
        told.assign.push(self.assignment(tx, record, attempt.attempt).await?);
        Ok(())
    }

    async fn assign(
        &self,
        tx: &mut Tx<'_>,
        claimant: &Claimant,
        record: &TaskRecord,
        codebase: &CodebaseId,
    ) -> sqlx::Result<Option<Assignment>> {
        if !give(tx, record, claimant, codebase, Some(self.instance), state::ASSIGNED, self.now).await? {
            return Ok(None);
        }
        let record = tx.task(record.task.id).await?.ok_or(sqlx::Error::RowNotFound)?;
        self.assignment(tx, &record, record.task.attempt).await.map(Some)
    }

    async fn assignment(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: u64) -> sqlx::Result<Assignment> {
        let codebase = match record.task.codebase_id.as_str() {
            PENDING_CODEBASE => None,
            _ => tx.codebase(&record.task.codebase_id).await?,
        };
        // A session is there only on the worker that began it; another one, after a loss, begins its own.
        let context = tx.context(&record.task.context_id).await?;
        let context = context.filter(|context| context.worker_id.as_ref().is_none_or(|worker| *worker == self.worker));
        let session_id = context.and_then(|context| context.session_id);
        let stop_after_ms = (record.task.on_lost == OnLost::Restart).then_some(self.stop_after_ms);
        Ok(Assignment { task: record.task.clone(), attempt, codebase, session_id, continuation: record.continuation, stop_after_ms })
    }
}

/// Makes an attempt of a queued task; false if it is not in the queue any more.
pub(super) async fn give(
    tx: &mut Tx<'_>,
    record: &TaskRecord,
    claimant: &Claimant,
    codebase: &CodebaseId,
    instance: Option<InstanceId>,
    state: &'static str,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let task = &record.task;
    let is_global = claimant.global_codebase.as_ref() == Some(codebase);
    let reserved = state == state::RESERVED;
    let statement = (if reserved { RESERVE } else { ASSIGN })
        .on(tx.dialect())
        .bind(task.id.to_string())
        .bind(claimant.id.0.clone())
        .bind(codebase.0.clone())
        .bind(i64::from(writes(&task.mode, is_global)))
        .bind(now.0);
    if tx.execute(statement).await? == 0 {
        return Ok(false);
    }
    let attempt = task.attempt + 1;
    let hash = muster_protocol::digest::OutputDigest::default().hash;
    let insert = INSERT_ATTEMPT.on(tx.dialect()).bind(task.id.to_string()).bind(to_int(attempt)).bind(claimant.id.0.clone());
    let insert = insert.bind(instance.map(|instance| instance.to_string())).bind(state).bind(now.0).bind(hash);
    tx.execute(insert).await?;
    if !reserved {
        tell_assigned(tx, record, &claimant.id, attempt, now);
    }
    Ok(true)
}

/// The entry and the event of a task that a worker now has.
pub(super) fn tell_assigned(tx: &mut Tx<'_>, record: &TaskRecord, worker: &WorkerId, attempt: u64, now: Timestamp) {
    let task = &record.task;
    let note = StatusNote { state: TaskState::Working.as_str().to_owned(), worker: Some(worker.to_string()), ..StatusNote::default() };
    tx.note(task.id, task.entries + 1, attempt, now, EntryKind::Status, &note);
    let data = json!({ "title": task.title, "worker_id": worker, "attempt": attempt });
    tx.event(NewEvent { kind: kind::TASK_ASSIGNED, subject: format!("tasks/{}", task.id), at: now, data });
    tx.wake(crate::events::Wake::Task(task.id));
}

impl Store {
    /// Whether a pull of the worker would find anything: a queued task it may look at, a cancel, or an attempt that it does not name. A quick
    /// look, so that the many pulls that find nothing cost no write.
    ///
    /// # Errors
    /// Of the database.
    pub async fn has_something_for(&self, worker: &WorkerId, running: &[RunningAttempt], now: Timestamp) -> Result<bool, StoreError> {
        let queued = ANYTHING_QUEUED.on(self.dialect()).bind(worker.0.clone()).bind(now.0).fetch_one(self.readers()).await?;
        if queued.int("n")? > 0 {
            return Ok(true);
        }
        let held = HELD_REFS.on(self.dialect()).bind(worker.0.clone()).fetch_all(self.readers()).await?;
        if held.len() != running.len() {
            return Ok(true);
        }
        for row in &held {
            let (task, attempt): (TaskId, u64) = (row.parsed("id")?, row.count("attempt")?);
            let named = running.iter().any(|r| r.task_id == task && r.attempt == attempt);
            let is_back = row.maybe_int("disconnected_at")?.is_some();
            if !named || is_back || row.maybe_int("cancel_asked_at")?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
