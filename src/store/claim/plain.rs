//! Plain workers: they poll, ignore the answer to their claim and run what they were shown. So a poll *reserves* one task, and the claim turns
//! the reservation into an attempt.

use super::candidates::{self, LANES_OF_A_POLL, Want};
use super::{Claimant, give, tell_assigned};
use crate::domain::matching::writes;
use crate::store::attempts::state;
use crate::store::row::Columns as _;
use crate::store::sql::statements;
use crate::store::tasks::TaskRecord;
use crate::store::{Tx, Write};
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;

/// Reserves the next task for a plain worker that polls.
#[derive(Debug, Clone)]
pub struct ReserveTask {
    /// Who polls.
    pub worker: WorkerId,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum Reserved {
    /// There is no such worker.
    NotRegistered,
    /// It polls, but speaks the protocol with `pull`: it gets nothing here.
    NotPlain,
    /// Nothing for it now.
    Nothing,
    /// Reserved now.
    Task(Box<Task>),
    /// Reserved with an earlier poll, and not claimed yet.
    Again(Box<Task>),
}

/// How long a task that any worker may take is kept from the one that let its reservation expire, so that others get it first.
const LEFT_ALONE_MS: i64 = 5 * 60 * 1_000;
/// How many tasks are looked at for one that the worker has not left alone.
const LOOKED_AT: usize = 16;

statements! {
    LEFT_ALONE: "SELECT COUNT(*) AS n FROM attempts WHERE task_id = $1 AND worker_id = $2
        AND (outcome = 'handed_back' OR (outcome = 'expired' AND ended_at > $3))";
    BLOCKED: "SELECT COUNT(*) AS n FROM tasks e WHERE e.context_id = $1 AND e.completed_at IS NULL AND e.id <> $2 AND (e.held = 1 OR e.id < $2)";
    WRITING: "SELECT COUNT(*) AS n FROM tasks WHERE codebase_id = $1 AND held = 1 AND writing = 1";
    PARALLEL: "SELECT parallel FROM codebases WHERE id = $1";
}

impl Write for ReserveTask {
    const NAME: &'static str = "reserve_task";
    type Output = Reserved;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Reserved> {
        let Some(claimant) = Claimant::read(tx, &self.worker).await?.filter(|claimant| !claimant.gone) else {
            return Ok(Reserved::NotRegistered);
        };
        if !claimant.is_plain {
            return Ok(Reserved::NotPlain);
        }
        // One at a time: it runs what it is shown one after the other. What it was lost with it has not.
        let held = tx.tasks_held_by(&self.worker).await?;
        if let Some(held) = held.into_iter().find(|held| held.disconnected_at.is_none()) {
            let reserved = held.task.state == TaskState::Submitted;
            return Ok(if reserved { Reserved::Again(shown(tx, held.task, &self.worker).await?) } else { Reserved::Nothing });
        }
        if claimant.draining {
            return Ok(Reserved::Nothing);
        }
        let want = Want { claimant: &claimant, free: LOOKED_AT, after: None, most: LANES_OF_A_POLL };
        let found = candidates::choose(tx, &[want], self.now).await?;
        for (task, codebase) in found.into_iter().flat_map(|found| found.tasks) {
            let Some(record) = tx.task(task).await? else { continue };
            if record.target_worker.is_none() && self.has_left_alone(tx, &record).await? {
                continue;
            }
            if let Some(given) = give(tx, task, &claimant, &codebase, None, state::RESERVED, self.now).await? {
                return Ok(Reserved::Task(shown(tx, given.task, &self.worker).await?));
            }
        }
        Ok(Reserved::Nothing)
    }
}

impl ReserveTask {
    /// Whether the worker was shown the task and did not take it, or handed it back: a plain worker passes over what is in a codebase that it does not
    /// know, without a word.
    async fn has_left_alone(&self, tx: &mut Tx<'_>, record: &TaskRecord) -> sqlx::Result<bool> {
        let recently = self.now.0 - LEFT_ALONE_MS;
        let left = LEFT_ALONE.on(tx.dialect()).bind(record.task.id.to_string()).bind(self.worker.0.clone()).bind(recently);
        Ok(tx.number(left, "n").await? > 0)
    }
}

/// A task as plain workers read it: the model and the session that it continues are in `metadata`, where the earlier system had them.
async fn shown(tx: &mut Tx<'_>, mut task: Task, worker: &WorkerId) -> sqlx::Result<Box<Task>> {
    let context = tx.context(&task.context_id).await?;
    let context = context.filter(|context| context.worker_id.as_ref().is_none_or(|pinned| pinned == worker));
    let session = context.and_then(|context| context.session_id).map(|session| session.0);
    for (name, value) in [("resume_session_id", session), ("model", task.model.clone())] {
        if let Some(value) = value {
            task.metadata.insert(name.to_owned(), value.into());
        }
    }
    Ok(Box::new(task))
}

impl Tx<'_> {
    /// The claim of a plain worker (`PUT status running`): takes its reservation, or a queued task that it may take. False if it may not.
    pub(in crate::store) async fn claim_for_plain(
        &mut self,
        record: &TaskRecord,
        worker: &WorkerId,
        state: &'static str,
        now: Timestamp,
    ) -> sqlx::Result<bool> {
        let Some(claimant) = Claimant::read(self, worker).await?.filter(|claimant| !claimant.gone) else { return Ok(false) };
        let is_early = record.task.not_before.is_some_and(|not_before| not_before > now);
        if is_early || record.target_worker.as_ref().is_some_and(|only| only != worker) {
            return Ok(false);
        }
        let codebase = record.target_codebase.clone().or_else(|| claimant.global_codebase.clone());
        let Some(codebase) = codebase else { return Ok(false) };
        let blocked = BLOCKED.on(self.dialect()).bind(record.task.context_id.0.clone()).bind(record.task.id.to_string());
        if self.number(blocked, "n").await? > 0 {
            return Ok(false);
        }
        if writes(&record.task.mode, claimant.global_codebase.as_ref() == Some(&codebase)) {
            let writing = self.number(WRITING.on(self.dialect()).bind(codebase.0.clone()), "n").await?;
            if writing >= self.number(PARALLEL.on(self.dialect()).bind(codebase.0.clone()), "parallel").await?.max(1) {
                return Ok(false);
            }
        }
        Ok(give(self, record.task.id, &claimant, &codebase, None, state, now).await?.is_some())
    }

    /// Turns a reservation into an attempt.
    pub(in crate::store) async fn take_reserved(&mut self, task: TaskId, now: Timestamp) -> sqlx::Result<()> {
        if !self.known(task).await?.is_some_and(|known| known.record.held && known.record.task.state == TaskState::Submitted) {
            return Ok(());
        }
        let taken = self.change_task(task, |record| {
            record.task.state = TaskState::Working;
            record.task.entries += 1;
            record.task.updated_at = now;
        });
        let taken = taken.await?;
        self.change_attempt(task, taken.task.attempt, |attempt| state::ASSIGNED.clone_into(&mut attempt.state)).await?;
        tell_assigned(self, &taken, now);
        Ok(())
    }

    async fn number(&mut self, statement: crate::store::sql::Statement<'_>, column: &str) -> sqlx::Result<i64> {
        self.optional(statement).await?.map_or(Ok(0), |row| row.int(column))
    }
}
