//! Accepting a task.

use super::contexts::Context;
use super::row::{Columns as _, to_json};
use super::sql::statements;
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, SessionId, TaskId, WorkerId};
use muster_protocol::stream::{Delta, EntryKind, StatusNote};
use muster_protocol::task::{OnLost, Target, Task, TaskState};
use muster_protocol::time::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// How long an idempotency key is remembered.
pub const KEY_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// A task, checked and resolved.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Who submits it.
    pub owner: PrincipalId,
    /// Whether the owner may see and continue only its own conversations.
    pub own_only: bool,
    /// The conversation; begun if there is none of that id.
    pub context_id: ContextId,
    /// The session that a new conversation continues.
    pub session_id: Option<SessionId>,
    /// The task that this one is a part of.
    pub parent_id: Option<TaskId>,
    /// The task that this one repeats.
    pub retry_of: Option<TaskId>,
    /// Short title.
    pub title: String,
    /// What to do.
    pub prompt: String,
    /// The mode.
    pub mode: String,
    /// The model.
    pub model: Option<String>,
    /// Where, as asked.
    pub target: Target,
    /// The only worker that may take it.
    pub worker: Option<WorkerId>,
    /// Where it must run.
    pub codebase: Option<CodebaseId>,
    /// Whether it counts against its codebase's `parallel`.
    pub writing: bool,
    /// Capabilities that the worker must have.
    pub capabilities: Vec<String>,
    /// Labels that the worker must have.
    pub labels: BTreeMap<String, String>,
    /// Higher goes first.
    pub priority: i32,
    /// Not to be started before.
    pub not_before: Option<Timestamp>,
    /// Failed if not ended by then.
    pub deadline: Option<Timestamp>,
    /// What happens if its worker is lost.
    pub on_lost: OnLost,
    /// How many attempts there may be.
    pub max_attempts: u32,
    /// Anything.
    pub metadata: Map<String, Value>,
}

/// An idempotency key and the hash of the canonical body it came with.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// As given.
    pub key: String,
    /// Of the body.
    pub hash: String,
}

/// Accepts a task.
#[derive(Debug, Clone)]
pub struct SubmitTask {
    /// The task.
    pub task: NewTask,
    /// With which the same submit is recognised.
    pub key: Option<IdempotencyKey>,
    /// The answer, where an agent of this server has given it already.
    pub answer: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// What became of a submit.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// Accepted.
    Accepted(Box<Task>),
    /// The same was submitted before.
    Repeated(Box<Task>),
    /// The key was used with another body.
    KeyReused,
    /// The conversation is somebody else's.
    ForeignContext,
    /// The conversation runs on another worker or in another codebase.
    OtherPlace(Context),
    /// The codebase is not in the registry any more.
    NoCodebase(CodebaseId),
}

statements! {
    FIND_KEY: "SELECT hash, task_id, created_at FROM idempotency WHERE principal = $1 AND key = $2";
    KEEP_KEY: "INSERT INTO idempotency (principal, key, hash, task_id, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (principal, key) DO UPDATE SET hash = excluded.hash, task_id = excluded.task_id, created_at = excluded.created_at";
    INSERT: "INSERT INTO tasks (id, owner, context_id, parent_id, retry_of, title, prompt, mode, model, target, target_worker,
        target_codebase, capabilities, labels, priority, not_before, deadline, on_lost, max_attempts, metadata, state, writing, held, attempt,
        losses, codebase_id, continuation, result, changes, entries, created_at, updated_at, completed_at, lane)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, 0, 0,
        0, '', 0, $23, '[]', $24, $25, $25, $26, $27)";
    IS_GLOBAL: "SELECT is_global FROM codebases WHERE id = $1";
}

impl Write for SubmitTask {
    const NAME: &'static str = "submit_task";
    type Output = Submitted;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Submitted> {
        if let Some(known) = self.known(tx).await? {
            return Ok(known);
        }
        let mut task = self.task.clone();
        let context = tx.context(&task.context_id).await?;
        match &context {
            Some(context) if task.own_only && context.owner != task.owner => return Ok(Submitted::ForeignContext),
            Some(context) if !continues(&mut task, context) => return Ok(Submitted::OtherPlace(context.clone())),
            _ => {}
        }
        if let Some(codebase) = &task.codebase {
            let Some(row) = tx.optional(IS_GLOBAL.on(tx.dialect()).bind(codebase.0.clone())).await? else {
                return Ok(Submitted::NoCodebase(codebase.clone()));
            };
            task.writing = task.writing && !row.flag("is_global")?;
        }
        if context.is_none() {
            begin_context(tx, &task, self.now).await?;
        }
        self.insert(tx, &task).await?;
        if let Some(key) = &self.key {
            let statement = KEEP_KEY.on(tx.dialect()).bind(task.owner.0.clone()).bind(key.key.clone()).bind(key.hash.clone());
            tx.execute(statement.bind(task.id.to_string()).bind(self.now.0)).await?;
        }
        self.tell(tx, &task);
        let stored = tx.task(task.id).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(Submitted::Accepted(Box::new(stored.task)))
    }
}

impl Store {
    /// What a principal submitted with a key: the hash of the body and the task. For a quick look; the write looks again.
    ///
    /// # Errors
    /// Of the database.
    pub async fn submitted_with(&self, who: &PrincipalId, key: &str, now: Timestamp) -> Result<Option<(String, TaskId)>, StoreError> {
        let find = FIND_KEY.on(self.dialect()).bind(who.0.clone()).bind(key.to_owned());
        let Some(row) = find.fetch_optional(self.readers()).await? else { return Ok(None) };
        let is_kept = now.0 - row.int("created_at")? <= KEY_KEPT_MS;
        Ok(is_kept.then_some((row.text("hash")?, row.parsed("task_id")?)))
    }
}

impl SubmitTask {
    /// What is known of the submit's key.
    async fn known(&self, tx: &mut Tx<'_>) -> sqlx::Result<Option<Submitted>> {
        let Some(key) = &self.key else { return Ok(None) };
        let find = FIND_KEY.on(tx.dialect()).bind(self.task.owner.0.clone()).bind(key.key.clone());
        let Some(row) = tx.optional(find).await? else { return Ok(None) };
        if self.now.0 - row.int("created_at")? > KEY_KEPT_MS {
            return Ok(None);
        }
        if row.text("hash")? != key.hash {
            return Ok(Some(Submitted::KeyReused));
        }
        let record: Option<TaskRecord> = tx.task(row.parsed("task_id")?).await?;
        Ok(record.map(|record| Submitted::Repeated(Box::new(record.task))))
    }

    async fn insert(&self, tx: &mut Tx<'_>, task: &NewTask) -> sqlx::Result<()> {
        let answered = self.answer.is_some();
        let state = if answered { TaskState::Completed } else { TaskState::Submitted };
        let statement = INSERT
            .on(tx.dialect())
            .bind(task.id.to_string())
            .bind(task.owner.0.clone())
            .bind(task.context_id.0.clone())
            .bind(task.parent_id.map(|id| id.to_string()))
            .bind(task.retry_of.map(|id| id.to_string()))
            .bind(task.title.clone())
            .bind(task.prompt.clone())
            .bind(task.mode.clone())
            .bind(task.model.clone())
            .bind(to_json(&task.target))
            .bind(task.worker.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(task.codebase.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(to_json(&task.capabilities))
            .bind(to_json(&task.labels))
            .bind(i64::from(task.priority))
            .bind(task.not_before.map_or(0, |at| at.0))
            .bind(task.deadline.map(|at| at.0))
            .bind(task.on_lost.as_str())
            .bind(i64::from(task.max_attempts))
            .bind(to_json(&task.metadata))
            .bind(state.as_str())
            .bind(i64::from(task.writing))
            .bind(self.answer.clone())
            .bind(if answered { 2_i64 } else { 0 })
            .bind(self.now.0)
            .bind(answered.then_some(self.now.0))
            .bind(lane(task));
        tx.execute(statement).await.map(|_| ())
    }

    /// Events, entries and wake-ups of the new task.
    fn tell(&self, tx: &mut Tx<'_>, task: &NewTask) {
        let subject = format!("tasks/{}", task.id);
        let data = json!({
            "title": task.title, "mode": task.mode, "model": task.model, "owner": task.owner, "context_id": task.context_id,
            "target": task.target, "worker_id": task.worker, "retry_of": task.retry_of,
        });
        tx.event(NewEvent { kind: kind::TASK_SUBMITTED, subject: subject.clone(), at: self.now, data });
        if let Some(answer) = &self.answer {
            let text = Delta { part: "answer".to_owned(), delta: answer.clone() };
            tx.note(task.id, 1, 0, self.now, EntryKind::Text, &text);
            let completed = StatusNote { state: TaskState::Completed.as_str().to_owned(), ..StatusNote::default() };
            tx.note(task.id, 2, 0, self.now, EntryKind::Status, &completed);
            tx.event(NewEvent { kind: kind::TASK_COMPLETED, subject, at: self.now, data: json!({ "agent": task.target.agent }) });
        }
        tx.wake(task.worker.clone().map_or(Wake::AnyWorker, Wake::Worker));
    }
}

/// What a worker must fit, as a short text: tasks of one lane are given or passed over together.
fn lane(task: &NewTask) -> String {
    let needs = json!([task.mode, task.model, task.capabilities, task.labels]);
    hex::encode(&Sha256::digest(to_json(&needs))[..16])
}

async fn begin_context(tx: &mut Tx<'_>, task: &NewTask, now: Timestamp) -> sqlx::Result<()> {
    let context = Context {
        id: task.context_id.clone(),
        owner: task.owner.clone(),
        // Where nobody was asked for, it is bound once a worker has begun its first session.
        worker_id: task.worker.clone(),
        codebase_id: task.codebase.clone(),
        session_id: task.session_id.clone(),
    };
    tx.insert_context(&context, now).await
}

/// Moves a task to where its conversation runs; false if it asked for another place.
fn continues(task: &mut NewTask, context: &Context) -> bool {
    if let Some(worker) = &context.worker_id {
        if task.worker.as_ref().is_some_and(|asked| asked != worker) {
            return false;
        }
        task.worker = Some(worker.clone());
    }
    if let Some(codebase) = &context.codebase_id {
        if task.codebase.as_ref().is_some_and(|asked| asked != codebase) {
            return false;
        }
        task.codebase = Some(codebase.clone());
    }
    true
}
