//! What a worker says of an attempt: started, ended, handed back, interrupted.

use super::super::row::{to_int, to_json};
use super::super::sql::statements;
use super::super::tasks::TaskRecord;
use super::super::tx::NewEvent;
use super::super::{ReadAhead, Tx, Write};
use super::end::{DEADLINE_EXCEEDED, End, FinishTask, HANDED_BACK, LOST, RequeueTask};
use super::lose::{lose, reconnect};
use super::{Attempt, state};
use crate::domain::loss::Loss;
use crate::events::Wake;
use muster_protocol::digest::OutputDigest;
use muster_protocol::event::kind;
use muster_protocol::ids::{SessionId, TaskId};
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{PENDING_CODEBASE, ReportStatus, ReportedStatus, Task, TaskState, builtin_mode};
use muster_protocol::time::Timestamp;
use serde_json::json;

/// Takes in a worker's report.
#[derive(Debug, Clone)]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// What the worker says.
    pub report: ReportStatus,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum ReportOutcome {
    /// There is no such task.
    NotFound,
    /// Taken in, now or before.
    Taken(Box<TaskRecord>),
    /// The worker speaks of an attempt that is not, or no longer, the current one.
    Stale(Box<Task>),
    /// Another worker has the task.
    HeldByAnother(Box<Task>),
    /// The task has ended.
    Terminal(Box<Task>),
    /// Entries are missing.
    Gap {
        /// The `seq` expected next.
        next_seq: u64,
    },
    /// The worker may not take this task now; for a plain worker's claim.
    NotForIt(Box<Task>),
    /// The status is none that a worker reports.
    UnknownStatus,
    /// A newer start of the worker's daemon has registered.
    Superseded,
}

statements! {
    NOT_ASKED: "SELECT id FROM workers other WHERE gone = 0
        AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.task_id = $1 AND a.worker_id = other.id) LIMIT 1";
    KEEP_LATE: "UPDATE attempts SET late_report = $3 WHERE task_id = $1 AND attempt = $2 AND late_report IS NULL";
}

impl Write for Report {
    const NAME: &'static str = "report_attempt";
    type Output = ReportOutcome;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<ReportOutcome> {
        let Some(mut record) = tx.task(self.task).await? else { return Ok(ReportOutcome::NotFound) };
        if matches!(self.report.status, ReportedStatus::Other(_)) {
            return Ok(ReportOutcome::UnknownStatus);
        }
        let is_claim = self.report.status == ReportedStatus::Running && self.report.attempt.is_none();
        if is_claim && !record.held && record.task.state == TaskState::Submitted {
            if tx.is_superseded(&self.report.worker_id, self.report.instance).await? {
                return Ok(ReportOutcome::Superseded);
            }
            if !tx.claim_for_plain(&record, &self.report.worker_id, state::ASSIGNED, self.now).await? {
                return Ok(ReportOutcome::NotForIt(Box::new(record.task)));
            }
            record = tx.task(self.task).await?.ok_or(sqlx::Error::RowNotFound)?;
        }
        let number = self.report.attempt.unwrap_or(record.task.attempt);
        let attempt = tx.attempt_of(self.task, number, self.report.instance).await?;
        let Some((attempt, superseded)) = attempt.filter(|(attempt, _)| attempt.worker_id == self.report.worker_id) else {
            let superseded = tx.is_superseded(&self.report.worker_id, self.report.instance).await?;
            return Ok(if superseded { ReportOutcome::Superseded } else { self.refuse_stranger(record) });
        };
        if superseded {
            return Ok(ReportOutcome::Superseded);
        }
        if !record.held || record.task.attempt != number {
            return self.answer_late(tx, record, &attempt).await;
        }
        if let Some(expected) = self.report.entries.filter(|sent| *sent > attempt.next_seq) {
            tracing::debug!(task.id = %self.task, expected, stored = attempt.next_seq, "a report came before its entries");
            return Ok(ReportOutcome::Gap { next_seq: attempt.next_seq });
        }
        if record.task.state == TaskState::Submitted {
            // A plain worker's first word on its reservation, whatever it says.
            tx.take_reserved(self.task, self.now).await?;
            record = tx.task(self.task).await?.ok_or(sqlx::Error::RowNotFound)?;
        }
        if reconnect(tx, &record, self.now).await? {
            record = tx.task(self.task).await?.ok_or(sqlx::Error::RowNotFound)?;
        }
        let record = match self.take(tx, &record, &attempt).await? {
            Some(record) => record,
            None => tx.task(self.task).await?.ok_or(sqlx::Error::RowNotFound)?,
        };
        Ok(ReportOutcome::Taken(Box::new(record)))
    }
}

impl Report {
    /// Somebody who never had this attempt.
    fn refuse_stranger(&self, record: TaskRecord) -> ReportOutcome {
        let by_another = record.held && record.holder.as_ref() != Some(&self.report.worker_id);
        let task = Box::new(record.task);
        if task.state.is_terminal() {
            ReportOutcome::Terminal(task)
        } else if by_another {
            ReportOutcome::HeldByAnother(task)
        } else {
            ReportOutcome::Stale(task)
        }
    }

    /// A report on an attempt that is over: the same one again is answered as before; another is kept with the attempt and changes nothing.
    async fn answer_late(&self, tx: &mut Tx<'_>, record: TaskRecord, attempt: &Attempt) -> sqlx::Result<ReportOutcome> {
        if self.says_again(&record, attempt) {
            return Ok(ReportOutcome::Taken(Box::new(record)));
        }
        if matches!(self.report.status, ReportedStatus::Completed | ReportedStatus::Failed | ReportedStatus::Cancelled) {
            let keep = KEEP_LATE.on(tx.dialect()).bind(self.task.to_string()).bind(to_int(attempt.attempt));
            tx.execute(keep.bind(to_json(&self.report))).await?;
        }
        let task = Box::new(record.task);
        Ok(if task.state.is_terminal() { ReportOutcome::Terminal(task) } else { ReportOutcome::Stale(task) })
    }

    /// Whether the attempt ended as the report says.
    fn says_again(&self, record: &TaskRecord, attempt: &Attempt) -> bool {
        let canceled = TaskState::Canceled.as_str();
        let failed = TaskState::Failed.as_str();
        let Some(outcome) = attempt.outcome.as_deref() else { return false };
        match self.report.status {
            ReportedStatus::Completed => outcome == TaskState::Completed.as_str(),
            ReportedStatus::Failed => outcome == failed,
            ReportedStatus::Cancelled => {
                outcome == canceled || (outcome == failed && record.task.error_code.as_deref() == Some(DEADLINE_EXCEEDED))
            }
            ReportedStatus::Pending => outcome == HANDED_BACK || (outcome == canceled && record.cancel_asked_at.is_some()),
            ReportedStatus::Interrupted => outcome == LOST,
            _ => false,
        }
    }

    /// Takes in the report of the current holder; answers the task as it is then, where that is known already.
    async fn take(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: &Attempt) -> sqlx::Result<Option<TaskRecord>> {
        let now = self.now;
        let unread = |()| None;
        match &self.report.status {
            ReportedStatus::Running => self.start(tx, record, attempt).await.map(unread),
            ReportedStatus::Completed => self.finish(tx, record, attempt, TaskState::Completed).await.map(Some),
            ReportedStatus::Failed if self.has_not_the_path(record) && self.others_were_not_asked(tx).await? => {
                let requeue = RequeueTask { record, outcome: HANDED_BACK, lost: false, continuation: false, now };
                requeue.apply(tx).await.map(unread)
            }
            ReportedStatus::Failed => self.finish(tx, record, attempt, TaskState::Failed).await.map(Some),
            ReportedStatus::Cancelled => self.finish(tx, record, attempt, TaskState::Canceled).await.map(Some),
            ReportedStatus::Pending if record.cancel_asked_at.is_some() => {
                let end = End::by_cancel(record, true, now);
                FinishTask { record, end, now }.apply(tx).await.map(Some)
            }
            ReportedStatus::Pending => {
                let requeue = RequeueTask { record, outcome: HANDED_BACK, lost: false, continuation: record.continuation, now };
                requeue.apply(tx).await.map(unread)
            }
            ReportedStatus::Interrupted => lose(tx, record, Loss::Interrupted, self.report.error.as_deref(), now).await.map(|_| None),
            ReportedStatus::Other(_) => Ok(None),
        }
    }

    /// A plain worker without the directory that is looked for says `failed`. Only a worker that has it completes the task, so the next one is asked.
    fn has_not_the_path(&self, record: &TaskRecord) -> bool {
        self.report.attempt.is_none()
            && record.task.mode == builtin_mode::REGISTER_CODEBASE
            && record.target_worker.is_none()
            && record.cancel_asked_at.is_none()
    }

    /// Whether there are workers that have not been asked; if not, the last one's word is the task's.
    async fn others_were_not_asked(&self, tx: &mut Tx<'_>) -> sqlx::Result<bool> {
        Ok(tx.optional(NOT_ASKED.on(tx.dialect()).bind(self.task.to_string())).await?.is_some())
    }

    async fn start(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: &Attempt) -> sqlx::Result<()> {
        let (task, session) = (&record.task, self.report.session_id.as_ref());
        let first = !attempt.is_started();
        let new_session = session.filter(|session| task.session_id.as_ref() != Some(*session));
        let tell = first || new_session.is_some();
        tx.change_attempt(self.task, attempt.attempt, |attempt| {
            state::STARTED.clone_into(&mut attempt.state);
            attempt.started_at.get_or_insert(self.now);
            attempt.session_id = session.cloned().or_else(|| attempt.session_id.take());
        })
        .await?;
        let started = tx.change_task(self.task, |record| {
            let task = &mut record.task;
            task.started_at.get_or_insert(self.now);
            task.session_id = session.cloned().or_else(|| task.session_id.take());
            task.updated_at = self.now;
            task.entries += u64::from(tell);
        });
        let started = started.await?;
        if tell {
            let note = StatusNote {
                state: "started".to_owned(),
                worker: Some(attempt.worker_id.to_string()),
                session_id: session.map(ToString::to_string),
                ..StatusNote::default()
            };
            tx.note(self.task, started.task.entries, attempt.attempt, self.now, EntryKind::Status, &note);
        }
        if first {
            let data = json!({ "title": task.title, "worker_id": attempt.worker_id, "attempt": attempt.attempt });
            tx.event(NewEvent { kind: kind::TASK_STARTED, subject: format!("tasks/{}", self.task), at: self.now, data });
        }
        if let Some(session) = new_session {
            self.bind_context(tx, record, attempt, session).await?;
        }
        tx.wake(Wake::Task(self.task));
        Ok(())
    }

    async fn bind_context(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: &Attempt, session: &SessionId) -> sqlx::Result<()> {
        if record.task.codebase_id.as_str() == PENDING_CODEBASE {
            return Ok(());
        }
        tx.bind_context(&record.task.context_id, &attempt.worker_id, &record.task.codebase_id, session, self.now).await
    }

    async fn finish(&self, tx: &mut Tx<'_>, record: &TaskRecord, attempt: &Attempt, state: TaskState) -> sqlx::Result<TaskRecord> {
        let report = &self.report;
        let verified = self.verify(tx, attempt);
        let said = if state == TaskState::Canceled {
            End::by_cancel(record, true, self.now)
        } else {
            End::without_result(state, report.error.as_deref(), report.error_code.as_deref())
        };
        let end = End {
            result: report.result.clone(),
            session_id: report.session_id.clone(),
            usage: report.usage,
            changes: report.changes.clone(),
            verified,
            ..said
        };
        if let Some(session) = report.session_id.as_ref().filter(|session| record.task.session_id.as_ref() != Some(*session)) {
            self.bind_context(tx, record, attempt, session).await?;
        }
        FinishTask { record, end, now: self.now }.apply(tx).await
    }

    /// Compares what is stored with what the worker counted and hashed.
    fn verify(&self, tx: &mut Tx<'_>, attempt: &Attempt) -> Option<bool> {
        let sent = OutputDigest { bytes: self.report.bytes?, hash: self.report.hash.clone()? };
        let same = sent == attempt.digest;
        if !same {
            let data = json!({ "attempt": attempt.attempt, "sent": sent.hash, "stored": attempt.digest.hash });
            tx.event(NewEvent { kind: kind::TASK_OUTPUT_DIFFERS, subject: format!("tasks/{}", self.task), at: self.now, data });
        }
        Some(same)
    }
}
