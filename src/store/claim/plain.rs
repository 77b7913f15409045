//! Plain workers: they poll, ignore the answer to their claim and run what they were shown. So a poll *reserves* one task, and the claim turns
//! the reservation into an attempt.

use super::{Claimant, candidates, give, tell_assigned};
use crate::domain::matching::writes;
use crate::store::attempts::state;
use crate::store::row::{Columns as _, to_int};
use crate::store::sql::statements;
use crate::store::tasks::TaskRecord;
use crate::store::{Tx, Write};
use muster_protocol::ids::WorkerId;
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
    /// Reserved, now or with an earlier poll that it did not answer to yet.
    Task(Box<Task>),
}

statements! {
    IS_PLAIN: "SELECT protocol_version FROM workers WHERE id = $1";
    BLOCKED: "SELECT COUNT(*) AS n FROM tasks e WHERE e.context_id = $1 AND e.completed_at IS NULL AND e.id <> $2 AND (e.held = 1 OR e.id < $2)";
    WRITING: "SELECT COUNT(*) AS n FROM tasks WHERE codebase_id = $1 AND held = 1 AND writing = 1";
    PARALLEL: "SELECT parallel FROM codebases WHERE id = $1";
    TAKE_RESERVED: "UPDATE tasks SET state = 'working', entries = entries + 1, updated_at = $2 WHERE id = $1 AND state = 'submitted' AND held = 1";
    TAKE_RESERVED_ATTEMPT: "UPDATE attempts SET state = $3 WHERE task_id = $1 AND attempt = $2";
}

impl Write for ReserveTask {
    const NAME: &'static str = "reserve_task";
    type Output = Reserved;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Reserved> {
        let Some(claimant) = Claimant::read(tx, &self.worker).await?.filter(|claimant| !claimant.gone) else {
            return Ok(Reserved::NotRegistered);
        };
        let row = tx.optional(IS_PLAIN.on(tx.dialect()).bind(self.worker.0.clone())).await?;
        if row.map(|row| row.maybe_int("protocol_version")).transpose()?.flatten().is_some() {
            return Ok(Reserved::NotPlain);
        }
        // One at a time: it runs what it is shown one after the other.
        if let Some(held) = tx.tasks_held_by(&self.worker).await?.into_iter().next() {
            let reserved = held.task.state == TaskState::Submitted;
            return Ok(if reserved { Reserved::Task(Box::new(held.task)) } else { Reserved::Nothing });
        }
        if claimant.draining {
            return Ok(Reserved::Nothing);
        }
        for (record, codebase) in candidates::choose(tx, &claimant, 1, self.now).await? {
            if give(tx, &record, &claimant, &codebase, None, state::RESERVED, self.now).await? {
                let task = tx.task(record.task.id).await?.ok_or(sqlx::Error::RowNotFound)?.task;
                return Ok(Reserved::Task(Box::new(task)));
            }
        }
        Ok(Reserved::Nothing)
    }
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
        give(self, record, &claimant, &codebase, None, state, now).await
    }

    /// Turns a reservation into an attempt.
    pub(in crate::store) async fn take_reserved(&mut self, record: &TaskRecord, worker: &WorkerId, now: Timestamp) -> sqlx::Result<()> {
        let id = record.task.id.to_string();
        if self.execute(TAKE_RESERVED.on(self.dialect()).bind(id.clone()).bind(now.0)).await? > 0 {
            let attempt = to_int(record.task.attempt);
            self.execute(TAKE_RESERVED_ATTEMPT.on(self.dialect()).bind(id).bind(attempt).bind(state::ASSIGNED)).await?;
            tell_assigned(self, record, worker, record.task.attempt, now);
        }
        Ok(())
    }

    async fn number(&mut self, statement: crate::store::sql::Statement<'_>, column: &str) -> sqlx::Result<i64> {
        self.optional(statement).await?.map_or(Ok(0), |row| row.int(column))
    }
}
