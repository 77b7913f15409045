//! Accepting a task.

mod conversation;

use super::contexts::Context;
use super::external::agent_of;
use super::row::{Columns as _, to_json};
use super::sql::statements;
use super::tx::{KnownKey, NewEvent};
use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, SessionId, TaskId, WorkerId};
use muster_protocol::stream::{Delta, EntryKind, StatusNote, StreamEntry};
use muster_protocol::task::{OnLost, PENDING_CODEBASE, Target, Task, TaskState};
use muster_protocol::time::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// In the metadata of a task: to which machine of which server it was forwarded, and why.
pub const FORWARDED_KEY: &str = "forwarded";

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
    /// The conversation; begun if there is none of that id. The task's own id if the caller named none.
    pub context_id: ContextId,
    /// The session that is continued: in the conversation whose session it is, or in a new one.
    pub session_id: Option<SessionId>,
    /// Whether a copy of that session is continued, in a new conversation.
    pub fork: bool,
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

/// What an agent of this server answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is given already.
    Given(String),
    /// It is told a step at a time ([`super::own::TellOwn`]): the task runs, and no worker gets it.
    Begun {
        /// What is said at once.
        said: Option<String>,
        /// What the event log is told beside.
        event: Option<NewEvent>,
    },
}

impl Answer {
    /// It is begun, and nothing is said of it.
    pub const BEGUN: Self = Self::Begun { said: None, event: None };
}

/// Accepts a task.
#[derive(Debug, Clone)]
pub struct SubmitTask {
    /// The task.
    pub task: NewTask,
    /// With which the same submit is recognised.
    pub key: Option<IdempotencyKey>,
    /// What an agent of this server answers; a worker does if absent.
    pub answer: Option<Answer>,
    /// The event of the message that it is made of.
    pub message: Option<NewEvent>,
    /// When.
    pub now: Timestamp,
}

/// The entries with which the stream of a task that was answered at once begins and ends.
#[must_use]
pub fn answer_entries(text: &str, at: Timestamp) -> [StreamEntry; 2] {
    let entry = |task_seq, kind, data: String| StreamEntry {
        task_seq,
        attempt: 0,
        at,
        kind,
        data: RawValue::from_string(data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
    };
    let text = Delta { part: "answer".to_owned(), delta: text.to_owned() };
    let state = StatusNote { state: TaskState::Completed.as_str().to_owned(), ..StatusNote::default() };
    [entry(1, EntryKind::Text, to_json(&text)), entry(2, EntryKind::Status, to_json(&state))]
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
    OtherPlace(Box<Context>),
    /// The session is another conversation's: that of the caller, or somebody else's.
    SessionTaken {
        /// The conversation, where the caller may see it.
        by: Option<ContextId>,
    },
    /// The conversation has another session.
    OtherSession(Box<Context>),
    /// A turn of the conversation runs, this task, and begins its session.
    BeginsSession(TaskId),
    /// A copy of a session begins its own conversation, and this one is there already.
    ForkIntoContext,
    /// The codebase is not in the registry any more.
    NoCodebase(CodebaseId),
}

statements! {
    FIND_KEY: "SELECT hash, task_id, created_at FROM idempotency WHERE principal = $1 AND key = $2";
    // At most one turn of a conversation is held.
    RUNNING_TURN: "SELECT id FROM tasks WHERE context_id = $1 AND completed_at IS NULL AND held = 1 LIMIT 1";
}

impl Write for SubmitTask {
    const NAME: &'static str = "submit_task";
    type Output = Submitted;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.codebases.extend(self.task.codebase.clone());
        ahead.keys.extend(self.key.as_ref().map(|key| (self.task.owner.clone(), key.key.clone())));
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Submitted> {
        if let Some(known) = self.known(tx).await? {
            return Ok(known);
        }
        let mut task = self.task.clone();
        let conversation = match conversation::find(tx, &mut task).await? {
            Ok(conversation) => conversation,
            Err(refusal) => return Ok(refusal),
        };
        if let Some(codebase) = &task.codebase {
            let Some(codebase) = tx.codebase(codebase).await? else { return Ok(Submitted::NoCodebase(codebase.clone())) };
            task.writing = task.writing && !codebase.is_global;
        }
        conversation.enter(tx, &task, self.now).await?;
        self.insert(tx, &task).await?;
        if let Some(key) = &self.key {
            tx.keep_key(&task.owner, &key.key, KnownKey { hash: key.hash.clone(), task: task.id, at: self.now });
        }
        self.tell(tx, &task);
        Ok(Submitted::Accepted(Box::new(self.as_stored(task))))
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
        let found = tx.find_key(&self.task.owner, &key.key).await?;
        let Some(known) = found.filter(|known| self.now.0 - known.at.0 <= KEY_KEPT_MS) else { return Ok(None) };
        if known.hash != key.hash {
            return Ok(Some(Submitted::KeyReused));
        }
        let record = tx.task(known.task).await?;
        Ok(record.map(|record| Submitted::Repeated(Box::new(record.task))))
    }

    async fn insert(&self, tx: &mut Tx<'_>, task: &NewTask) -> sqlx::Result<()> {
        let columns = json!([
            task.id,
            task.owner,
            task.context_id,
            task.parent_id,
            task.retry_of,
            task.title,
            task.prompt,
            task.mode,
            task.model,
            to_json(&task.target),
            task.worker.as_ref().map_or("", WorkerId::as_str),
            task.codebase.as_ref().map_or("", CodebaseId::as_str),
            to_json(&task.capabilities),
            to_json(&task.labels),
            task.priority,
            task.not_before.map_or(0, |at| at.0),
            task.deadline.map(|at| at.0),
            task.on_lost.as_str(),
            task.max_attempts,
            to_json(&task.metadata),
            self.state().as_str(),
            i64::from(task.writing),
            self.given(),
            self.entries(),
            self.now.0,
            self.now.0,
            self.given().map(|_| self.now.0),
            lane(task),
        ]);
        tx.insert_task(&task.owner, self.state(), &columns).await
    }

    /// The task as it would be read back.
    fn as_stored(&self, task: NewTask) -> Task {
        let state = self.state();
        Task {
            id: task.id,
            codebase_id: task.codebase.unwrap_or_else(|| CodebaseId::from(PENDING_CODEBASE)),
            title: task.title,
            prompt: task.prompt,
            agent_type: task.mode.clone(),
            mode: task.mode,
            status: state.status(),
            state,
            priority: task.priority,
            created_at: self.now,
            updated_at: self.now,
            started_at: None,
            completed_at: self.given().map(|_| self.now),
            result: self.given().map(str::to_owned),
            error: None,
            error_code: None,
            session_id: None,
            metadata: task.metadata,
            attempt: 0,
            worker_id: task.worker,
            context_id: task.context_id,
            parent_id: task.parent_id,
            retry_of: task.retry_of,
            target: task.target,
            model: task.model,
            capabilities: task.capabilities,
            labels: task.labels,
            on_lost: task.on_lost,
            max_attempts: task.max_attempts,
            not_before: task.not_before.filter(|at| at.0 > 0),
            deadline: task.deadline,
            owner: task.owner,
            usage: None,
            changes: Vec::new(),
            disconnected: false,
            cancel_requested: false,
            confirmed: None,
            verified: None,
            entries: self.entries(),
        }
    }

    fn state(&self) -> TaskState {
        match self.answer {
            None => TaskState::Submitted,
            Some(Answer::Begun { .. }) => TaskState::Working,
            Some(Answer::Given(_)) => TaskState::Completed,
        }
    }

    fn given(&self) -> Option<&str> {
        match &self.answer {
            Some(Answer::Given(text)) => Some(text),
            _ => None,
        }
    }

    /// How many entries it begins with: an answer, and the state.
    fn entries(&self) -> u64 {
        match self.answer {
            None => 0,
            Some(Answer::Begun { .. }) => 1,
            Some(Answer::Given(_)) => 2,
        }
    }

    /// Events, entries and wake-ups of the new task.
    fn tell(&self, tx: &mut Tx<'_>, task: &NewTask) {
        let subject = format!("tasks/{}", task.id);
        let data = json!({
            "title": task.title, "mode": task.mode, "model": task.model, "owner": task.owner, "context_id": task.context_id,
            "target": task.target, "worker_id": task.worker, "retry_of": task.retry_of,
        });
        if let Some(message) = &self.message {
            tx.event(message.clone());
        }
        tx.event(NewEvent { kind: kind::TASK_SUBMITTED, subject: subject.clone(), at: self.now, data });
        let goes_to = task.worker.as_ref().and_then(agent_of);
        if let Some(to) = task.metadata.get(FORWARDED_KEY).filter(|_| goes_to.is_some()) {
            tx.event(NewEvent { kind: kind::TASK_FORWARDED, subject: subject.clone(), at: self.now, data: to.clone() });
        }
        match &self.answer {
            None => tx.wake(task.worker.clone().map_or(Wake::AnyWorker, Wake::Worker)),
            Some(Answer::Begun { said, event }) => {
                let state = StatusNote { state: self.state().as_str().to_owned(), message: said.clone(), ..StatusNote::default() };
                tx.note(task.id, 1, 0, self.now, EntryKind::Status, &state);
                if let Some(event) = event {
                    tx.event(event.clone());
                }
            }
            Some(Answer::Given(text)) => {
                for entry in answer_entries(text, self.now) {
                    tx.entry(task.id, &entry);
                }
                tx.event(NewEvent { kind: kind::TASK_COMPLETED, subject, at: self.now, data: json!({ "agent": task.target.agent }) });
            }
        }
    }
}

/// What a worker must fit, as a short text: tasks of one lane are given or passed over together.
fn lane(task: &NewTask) -> String {
    let needs = json!([task.mode, task.model, task.capabilities, task.labels]);
    hex::encode(&Sha256::digest(to_json(&needs))[..16])
}
