//! Giving tasks to workers: the write behind a pull, and the reservation and claim of plain workers.

mod candidates;
mod claimant;
mod look;
mod plain;

pub use candidates::LaneAt;
pub use look::Look;
pub(in crate::store) use look::View;
pub use plain::{ReserveTask, Reserved};

use super::attempts::{Attempt, End, FinishTask, LoseOutcome, state};
use super::contexts::Context;
use super::row::Columns as _;
use super::sql::{Sql, statements};
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::domain::loss::{AfterLoss, Loss};
use crate::domain::matching::writes;
use claimant::Claimant;
use muster_protocol::digest::OutputDigest;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId, TaskId, WorkerId};
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{Assignment, OnLost, PENDING_CODEBASE, TaskState};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{AttemptRef, InteractionAnswer, Pull, RunningAttempt};
use serde_json::json;
use std::collections::HashMap;

/// What a pull asks of the store: compares what the worker has with what it should have, and gives it new tasks into its free slots.
#[derive(Debug, Clone)]
pub struct PullTasks {
    /// Who looks, and where.
    pub look: Look,
    /// What it has, as it said when the pull began.
    pub running: Vec<RunningAttempt>,
    /// Whether attempts that are not the worker's any more are to be told; once a pull is enough.
    pub tell_drops: bool,
    /// After how long without a renewal a `restart` attempt must have been stopped.
    pub stop_after_ms: u64,
}

/// What a quick look says of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// There is no such worker, or it left.
    NotRegistered,
    /// A newer instance has registered.
    Superseded,
    /// There is something to tell, or may be.
    Something,
    /// There is nothing to tell.
    Nothing,
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
    /// Answers that its runs wait for.
    pub answers: Vec<InteractionAnswer>,
    /// Attempts that are not its own any more.
    pub drop: Vec<AttemptRef>,
    /// Whether the queue was looked at: not if there is no room for more.
    pub looked: bool,
    /// Where the queue goes on, if it was not looked at to its end.
    pub more: Option<LaneAt>,
}

impl Told {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assign.is_empty() && self.cancel.is_empty() && self.answers.is_empty() && self.drop.is_empty()
    }
}

statements! {
    AT_A_GLANCE: "SELECT instance, registration, gone, (SELECT COUNT(*) FROM (SELECT 1 AS one FROM tasks WHERE state = 'submitted' AND held = 0
        AND target_worker IN ('', $1) AND not_before <= $2 LIMIT 1) q) AS queued,
        (SELECT COUNT(*) FROM tasks t WHERE t.held = 1 AND t.holder = workers.id) AS held FROM workers WHERE id = $1";
    HELD_REFS: "SELECT id, attempt, state, cancel_asked_at, disconnected_at FROM tasks WHERE held = 1 AND holder = $1";
}

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    ALL.iter().chain(candidates::ALL).chain(claimant::ALL).chain(look::ALL).chain(plain::ALL)
}

impl Write for PullTasks {
    const NAME: &'static str = "pull_tasks";
    type Output = PullOutcome;

    const AFTER_OTHERS: bool = true;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.looks.push(self.look.clone());
        ahead.tasks.extend(self.running.iter().map(|running| running.task_id));
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<PullOutcome> {
        let mut view = tx.view(&self.look).await?;
        let Some(claimant) = view.claimant.take().filter(|claimant| !claimant.gone) else { return Ok(PullOutcome::NotRegistered) };
        if !self.look.is_by(&claimant) {
            return Ok(PullOutcome::Superseded);
        }
        let mut told = Told::default();
        if self.compare(tx, &view.held, &mut told).await? {
            view = tx.view(&self.look).await?;
        }
        (told.looked, told.more) = (view.looked, view.more);
        for (task, codebase) in view.chosen {
            if let Some(given) = give(tx, task, &claimant, &codebase, Some(self.look.instance), state::ASSIGNED, self.look.now).await? {
                told.assign.push(self.assignment(tx, &given).await?);
            }
        }
        Ok(PullOutcome::Told(told))
    }
}

impl PullTasks {
    /// Compares the attempts that the worker has with those it should have; answers whether a slot became free by that.
    async fn compare(&self, tx: &mut Tx<'_>, held: &[TaskId], told: &mut Told) -> sqlx::Result<bool> {
        let has: HashMap<(TaskId, u64), &RunningAttempt> = self.running.iter().map(|r| ((r.task_id, r.attempt), r)).collect();
        let (mut asking, mut freed) = (false, false);
        let mut known = Vec::new();
        for task in held {
            let Some(record) = tx.task(*task).await? else { continue };
            asking |= record.task.state == TaskState::InputRequired;
            let at = AttemptRef { task_id: record.task.id, attempt: record.task.attempt };
            known.push((at.task_id, at.attempt));
            if let Some(named) = has.get(&(at.task_id, at.attempt)) {
                super::attempts::reconnect(tx, &record, self.look.now).await?;
                if record.cancel_asked_at.is_some() && !named.stopping {
                    told.cancel.push(at);
                }
            } else {
                freed |= self.settle_absent(tx, &record, told).await?;
            }
        }
        if asking {
            told.answers = tx.answers_for(&self.look.worker).await?;
        }
        if self.tell_drops {
            let strange = self.running.iter().filter(|r| !known.contains(&(r.task_id, r.attempt)));
            told.drop.extend(strange.map(|r| AttemptRef { task_id: r.task_id, attempt: r.attempt }));
        }
        Ok(freed)
    }

    /// An attempt that the worker should have and has not: one that it never got is sent again, one that it had begun is lost. Answers
    /// whether its slot is free.
    async fn settle_absent(&self, tx: &mut Tx<'_>, record: &TaskRecord, told: &mut Told) -> sqlx::Result<bool> {
        let now = self.look.now;
        let Some(attempt) = tx.attempt(record.task.id, record.task.attempt).await? else { return Ok(false) };
        if attempt.is_started() {
            // Another start of the daemon may still run it until it hears that it was superseded.
            let elsewhere = attempt.instance.is_some_and(|instance| instance != self.look.instance);
            let restarts = record.task.on_lost == OnLost::Restart;
            let loss = if elsewhere && restarts { Loss::Removed } else { Loss::Interrupted };
            let outcome = super::attempts::lose(tx, record, loss, Some("it does not know of it any more"), now).await?;
            return Ok(!matches!(outcome, LoseOutcome::Stale | LoseOutcome::Decided(AfterLoss::Wait)));
        }
        if record.cancel_asked_at.is_some() {
            let end = End::by_cancel(record, true, now);
            FinishTask { record, end, now }.apply(tx).await?;
            return Ok(true);
        }
        tx.change_attempt(record.task.id, attempt.attempt, |attempt| attempt.instance = Some(self.look.instance)).await?;
        told.assign.push(self.assignment(tx, record).await?);
        Ok(false)
    }

    async fn assignment(&self, tx: &mut Tx<'_>, record: &TaskRecord) -> sqlx::Result<Assignment> {
        let codebase = match record.task.codebase_id.as_str() {
            PENDING_CODEBASE => None,
            _ => tx.codebase(&record.task.codebase_id).await?,
        };
        // A session is there only on the worker that began it; another one, after a loss, begins its own.
        let context = tx.known(record.task.id).await?.and_then(|known| known.context.clone());
        let context = context.filter(|context| context.worker_id.as_ref().is_none_or(|worker| *worker == self.look.worker));
        let (session_id, fork) = context.map_or((None, false), Context::to_continue);
        let stop_after_ms = (record.task.on_lost == OnLost::Restart).then_some(self.stop_after_ms);
        Ok(Assignment {
            task: record.task.clone(),
            attempt: record.task.attempt,
            codebase,
            session_id,
            fork,
            // A copy that was not reported cannot be continued: there is another one.
            continuation: record.continuation && !fork,
            stop_after_ms,
        })
    }
}

/// Makes an attempt of a queued task and answers the task as it is then; nothing if it is not in the queue any more.
pub(super) async fn give(
    tx: &mut Tx<'_>,
    task: TaskId,
    claimant: &Claimant,
    codebase: &CodebaseId,
    instance: Option<InstanceId>,
    state: &'static str,
    now: Timestamp,
) -> sqlx::Result<Option<TaskRecord>> {
    let is_queued = |record: &TaskRecord| record.task.state == TaskState::Submitted && !record.held;
    if !tx.known(task).await?.is_some_and(|known| is_queued(&known.record)) {
        return Ok(None);
    }
    let is_global = claimant.global_codebase.as_ref() == Some(codebase);
    let assigned = state != state::RESERVED;
    let given = tx.change_task(task, |record| {
        record.held = true;
        record.holder = Some(claimant.id.clone());
        record.runs_in = Some(codebase.clone());
        record.writing = writes(&record.task.mode, is_global);
        record.disconnected_at = None;
        let task = &mut record.task;
        task.attempt += 1;
        task.started_at = None;
        task.updated_at = now;
        if assigned {
            task.state = TaskState::Working;
            task.entries += 1;
        }
    });
    let given = given.await?;
    let attempt = Attempt {
        attempt: given.task.attempt,
        worker_id: claimant.id.clone(),
        instance,
        state: state.to_owned(),
        outcome: None,
        session_id: None,
        assigned_at: now,
        started_at: None,
        ended_at: None,
        next_seq: 0,
        digest: OutputDigest::default(),
    };
    tx.begin_attempt(task, attempt, &claimant.former).await?;
    if assigned {
        tell_assigned(tx, &given, now);
    }
    Ok(Some(given))
}

/// Makes an attempt of a queued task that is relayed to an agent of others, which is no worker and has no codebases.
pub(super) async fn give_to_relay(tx: &mut Tx<'_>, task: TaskId, holder: &WorkerId, now: Timestamp) -> sqlx::Result<Option<TaskRecord>> {
    let claimant = Claimant::outside(holder.clone());
    give(tx, task, &claimant, &CodebaseId::from(PENDING_CODEBASE), None, state::ASSIGNED, now).await
}

/// The entry and the event of a task that a worker now has.
pub(super) fn tell_assigned(tx: &mut Tx<'_>, given: &TaskRecord, now: Timestamp) {
    let task = &given.task;
    let worker = given.holder.as_ref().map(ToString::to_string);
    let note = StatusNote { state: TaskState::Working.as_str().to_owned(), worker: worker.clone(), ..StatusNote::default() };
    tx.note(task.id, task.entries, task.attempt, now, EntryKind::Status, &note);
    let data = json!({ "title": task.title, "worker_id": worker, "attempt": task.attempt });
    tx.event(NewEvent { kind: kind::TASK_ASSIGNED, subject: format!("tasks/{}", task.id), at: now, data });
    tx.wake(crate::events::Wake::Task(task.id));
}

impl Store {
    /// Whether a pull of the worker would find anything: a queued task that it may look at, a cancel, or an attempt that it does not name. A quick
    /// look, so that the many pulls that find nothing cost no write.
    ///
    /// # Errors
    /// Of the database.
    pub async fn glance(&self, worker: &WorkerId, pull: &Pull, now: Timestamp) -> Result<Glance, StoreError> {
        let Pull { running, .. } = pull;
        let glance = AT_A_GLANCE.on(self.dialect()).bind(worker.0.clone()).bind(now.0).fetch_optional(self.readers()).await?;
        let Some(glance) = glance else { return Ok(Glance::NotRegistered) };
        if glance.flag("gone")? {
            return Ok(Glance::NotRegistered);
        }
        if glance.maybe_parsed("instance")? != Some(pull.instance) || glance.count("registration")? != pull.registration {
            return Ok(Glance::Superseded);
        }
        if glance.int("queued")? > 0 {
            return Ok(Glance::Something);
        }
        if glance.int("held")? == 0 && running.is_empty() {
            return Ok(Glance::Nothing);
        }
        let found = self.has_news_of_held(worker, running).await?;
        Ok(if found { Glance::Something } else { Glance::Nothing })
    }

    /// Whether a worker is to be told something of what it has, or has not.
    async fn has_news_of_held(&self, worker: &WorkerId, running: &[RunningAttempt]) -> Result<bool, StoreError> {
        let held = HELD_REFS.on(self.dialect()).bind(worker.0.clone()).fetch_all(self.readers()).await?;
        if held.len() != running.len() {
            return Ok(true);
        }
        let mut asking = false;
        for row in &held {
            asking |= row.text("state")? == TaskState::InputRequired.as_str();
            let (task, attempt): (TaskId, u64) = (row.parsed("id")?, row.count("attempt")?);
            let Some(named) = running.iter().find(|r| r.task_id == task && r.attempt == attempt) else { return Ok(true) };
            let is_back = row.maybe_int("disconnected_at")?.is_some();
            if is_back || (row.maybe_int("cancel_asked_at")?.is_some() && !named.stopping) {
                return Ok(true);
            }
        }
        if asking { self.has_answers_for(worker).await } else { Ok(false) }
    }
}
