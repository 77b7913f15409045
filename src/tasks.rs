//! Operations on tasks, the same for the REST API and for A2A.

mod check;
mod explain;
mod forward;
mod resolve;

pub use crate::store::submit::FORWARDED_KEY;
pub use forward::forward_waiting;
pub use resolve::Place;

use crate::app::App;
use crate::auth::Principal;
use crate::dispatch::millis;
use crate::domain::matching::writes;
use crate::error::ApiError;
use crate::store::attempts::{CancelOutcome, CancelTask, Report, ReportOutcome};
use crate::store::coordinations::PLAN_KEY;
use crate::store::submit::{NewTask, SubmitTask, Submitted};
use crate::store::tasks::TaskRecord;
use crate::sync::lock;
use crate::telemetry::metric;
pub(crate) use check::title_of;
use check::{check, idempotency_key};
use muster_protocol::error::code;
use muster_protocol::ids::{ContextId, TaskId};
use muster_protocol::task::{CancelAnswer, ReportStatus, ReportedStatus, SubmitTask as Wanted, Task};
use muster_protocol::time::Timestamp;
use serde_json::json;

pub use crate::store::own::ANSWERED_MODE;

/// The earlier system's word for a task that a worker has and has not begun.
const ASSIGNED: &str = "assigned";
const DEFAULT_MODE: &str = "build";
const DEFAULT_ATTEMPTS: u32 = 3;

impl App {
    /// Accepts a task; with an idempotency key, the same again answers the same task.
    ///
    /// # Errors
    /// [`ApiError`]: every wrong field, an unknown place, another body under the key.
    pub async fn submit(&self, who: &Principal, wanted: Wanted, key: Option<String>) -> Result<Task, ApiError> {
        let key = key.map(|key| idempotency_key(key, &wanted)).transpose()?;
        // What was accepted once is answered again, whatever has changed since.
        if let Some(key) = &key
            && let Some((hash, task)) = self.store.submitted_with(&who.id, &key.key, self.now()).await?
            && hash == key.hash
            && let Some(known) = self.store.task(task).await?
        {
            return Ok(known.task);
        }
        let now = self.now();
        let place = self.place_for(who, &wanted, now).await?;
        let task = self.new_task(who, wanted, place, now);
        self.store_new(SubmitTask { task, key, answer: None, message: None, now }).await
    }

    /// Checks what is wanted, and finds the place for it.
    ///
    /// # Errors
    /// [`ApiError`]: every wrong field, an unknown place.
    pub async fn place_for(&self, who: &Principal, wanted: &Wanted, now: Timestamp) -> Result<Place, ApiError> {
        check(wanted, now)?;
        self.resolve(who, wanted).await
    }

    /// Stores a new task and answers it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn store_new(&self, submit: SubmitTask) -> Result<Task, ApiError> {
        match self.store.write(submit).await? {
            Submitted::Accepted(task) => {
                metrics::counter!(metric::TASKS_SUBMITTED).increment(1);
                Ok(*task)
            }
            Submitted::Repeated(task) => Ok(*task),
            Submitted::KeyReused => Err(ApiError::conflict(
                code::KEY_REUSED,
                "this Idempotency-Key was used with another body within the last 24 hours; use a new key for a new task",
            )),
            Submitted::ForeignContext => Err(ApiError::invalid("context_id", "there is no such conversation")),
            Submitted::SessionTaken { by: Some(context) } => {
                let message = format!(
                    "the session is that of the conversation {context}; continue that one (leave context_id out), or send `fork: true` \
                     to continue a copy of it in a new conversation"
                );
                Err(ApiError::conflict(code::CONFLICT, message))
            }
            Submitted::SessionTaken { by: None } => {
                let message = "the session is that of somebody else's conversation; begin your own, or ask an operator, who may continue \
                               it or a copy of it (`fork: true`)";
                Err(ApiError::conflict(code::CONFLICT, message))
            }
            Submitted::OtherSession(context) => {
                let own = context.session_id.map_or_else(|| "a copy that is being made".to_owned(), |id| id.0);
                let message = format!("the conversation has another session ({own}); leave this out, or begin a new conversation");
                Err(ApiError::invalid("resume_session_id", message))
            }
            Submitted::BeginsSession(running) => {
                let message = format!(
                    "the task {running} of this conversation runs and begins its session; leave resume_session_id out to go on in that \
                     one, or begin a new conversation (leave context_id out)"
                );
                Err(ApiError::conflict(code::CONFLICT, message))
            }
            Submitted::ForkIntoContext => {
                let message = "a copy of a session begins its own conversation, and this one is there already; leave it out";
                Err(ApiError::invalid("context_id", message))
            }
            Submitted::NoCodebase(codebase) => {
                let message =
                    format!("the codebase {codebase} was removed from the registry; name another one, or begin a new conversation");
                Err(ApiError::invalid("target.codebase", message))
            }
            Submitted::OtherPlace(context) => Err(ApiError::invalid(
                "target",
                format!(
                    "the conversation runs on worker {} in codebase {}; leave the target out, or begin a new conversation",
                    context.worker_id.map_or_else(|| "(any)".to_owned(), |id| id.0),
                    context.codebase_id.map_or_else(|| "(any)".to_owned(), |id| id.0),
                ),
            )),
        }
    }

    /// Puts a checked and resolved task together.
    #[must_use]
    pub fn new_task(&self, who: &Principal, wanted: Wanted, place: Place, now: Timestamp) -> NewTask {
        let id = TaskId(self.ids.uuid(now));
        let mode = wanted.mode.unwrap_or_else(|| DEFAULT_MODE.to_owned());
        let forwarded = place.forwarded.map(|to| (FORWARDED_KEY.to_owned(), to));
        let title = wanted.title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| title_of(&wanted.prompt));
        NewTask {
            id,
            owner: who.id.clone(),
            own_only: !who.sees_everything(),
            context_id: wanted.context_id.unwrap_or_else(|| ContextId(id.to_string())),
            session_id: wanted.resume_session_id,
            fork: wanted.fork,
            parent_id: None,
            retry_of: None,
            title,
            prompt: place.prompt.unwrap_or(wanted.prompt),
            writing: writes(&mode, false),
            mode,
            model: wanted.model.or(place.model),
            target: wanted.target.unwrap_or_default(),
            worker: place.worker,
            codebase: place.codebase,
            capabilities: wanted.capabilities.into_iter().chain(place.capability).collect(),
            labels: wanted.labels,
            priority: wanted.priority.unwrap_or(0),
            not_before: wanted.not_before,
            deadline: wanted.deadline,
            on_lost: wanted.on_lost.unwrap_or_default(),
            max_attempts: wanted.max_attempts.unwrap_or(DEFAULT_ATTEMPTS),
            metadata: wanted.metadata.into_iter().chain(forwarded).collect(),
        }
    }

    /// A task that the caller may see.
    ///
    /// # Errors
    /// 404 if there is none, or it is not the caller's.
    pub async fn task_for(&self, who: &Principal, id: TaskId) -> Result<TaskRecord, ApiError> {
        let record = self.store.task(id).await?;
        record.filter(|record| may_see(who, record)).ok_or_else(|| ApiError::not_found("task", id))
    }

    /// Cancels a task, or asks its worker to.
    ///
    /// # Errors
    /// 404; 409 if it has ended.
    pub async fn cancel(&self, who: &Principal, id: TaskId) -> Result<CancelAnswer, ApiError> {
        self.task_for(who, id).await?;
        let lease_ms = millis(self.config.leases.lease);
        match self.store.write(CancelTask { task: id, lease_ms, now: self.now() }).await? {
            CancelOutcome::NotFound => Err(ApiError::not_found("task", id)),
            CancelOutcome::Canceled(task) => {
                lock(&self.leases).end(id, task.attempt);
                let confirmed = task.confirmed.unwrap_or(false);
                let message = if confirmed { "canceled" } else { "canceled, without the word of its worker, which is away" };
                Ok(CancelAnswer { success: true, message: message.to_owned(), confirmed, task: *task })
            }
            CancelOutcome::Asked(task) => {
                let message = if task.metadata.contains_key(PLAN_KEY) && task.mode == ANSWERED_MODE {
                    "its parts are being canceled"
                } else if task.disconnected {
                    self.wait_one_lease(&task);
                    "its worker is away; it is waited for one lease, then the task is canceled without its word"
                } else {
                    "its worker has been asked to stop it"
                };
                let message = message.to_owned();
                Ok(CancelAnswer { success: true, message, confirmed: false, task: *task })
            }
            CancelOutcome::Terminal(task) => Err(ended(&task)),
        }
    }

    /// A lost worker is waited for one lease only, once a cancel has been asked for.
    fn wait_one_lease(&self, task: &Task) {
        if let Some(holder) = &task.worker_id {
            let deadline = self.clock.uptime() + self.config.leases.lease;
            lock(&self.leases).shorten(task.id, task.attempt, holder, deadline);
        }
    }

    /// Makes a new task that repeats one which has ended, in the same conversation.
    ///
    /// # Errors
    /// 404; 409 if it has not ended.
    pub async fn retry(&self, who: &Principal, id: TaskId) -> Result<Task, ApiError> {
        let record = self.task_for(who, id).await?;
        if !record.task.state.is_terminal() {
            let message = format!("task `{id}` is {}; only a task that has ended can be retried", record.task.state);
            return Err(ApiError::conflict(code::CONFLICT, message));
        }
        let old = record.task;
        if old.mode == ANSWERED_MODE {
            let message = format!("task `{id}` is a message that an agent answered by itself; send the message again");
            return Err(ApiError::conflict(code::CONFLICT, message));
        }
        let now = self.now();
        // A conversation that has its session says where it runs, also if it moved since.
        let context = self.store.context(&old.context_id).await?;
        let is_placed = context.is_some_and(|context| context.session_id.is_some());
        let (worker, codebase) = if is_placed { (None, None) } else { (record.target_worker, record.target_codebase) };
        let task = NewTask {
            id: TaskId(self.ids.uuid(now)),
            owner: who.id.clone(),
            own_only: !who.sees_everything(),
            context_id: old.context_id,
            session_id: None,
            fork: false,
            parent_id: old.parent_id,
            retry_of: Some(id),
            title: old.title,
            prompt: old.prompt,
            writing: writes(&old.mode, false),
            mode: old.mode,
            model: old.model,
            target: old.target,
            worker,
            codebase,
            capabilities: old.capabilities,
            labels: old.labels,
            priority: old.priority,
            not_before: None,
            deadline: None,
            on_lost: old.on_lost,
            max_attempts: old.max_attempts,
            metadata: old.metadata,
        };
        self.store_new(SubmitTask { task, key: None, answer: None, message: None, now }).await
    }

    /// Submits the next turn of a task's conversation; model and mode are those before if absent.
    ///
    /// # Errors
    /// As of [`Self::submit`].
    pub async fn next_turn(
        &self,
        who: &Principal,
        before: Task,
        prompt: String,
        model: Option<String>,
        mode: Option<String>,
    ) -> Result<Task, ApiError> {
        let wanted = Wanted {
            prompt,
            model: model.or(before.model),
            mode: mode.or(Some(before.mode).filter(|mode| mode != ANSWERED_MODE)),
            context_id: Some(before.context_id),
            ..Wanted::default()
        };
        self.submit(who, wanted, None).await
    }

    /// Takes in what a worker says of an attempt.
    ///
    /// # Errors
    /// 404; 409 `stale_attempt`, `held`, `terminal`, `gap`; 422 for an unknown status.
    pub async fn report(&self, id: TaskId, mut report: ReportStatus) -> Result<Task, ApiError> {
        without_nul(&mut report);
        if report.status.as_str() == ASSIGNED {
            report.status = ReportedStatus::Running;
        }
        if let ReportedStatus::Other(word) = &report.status {
            let message = format!("`{}` is none of {}", crate::error::shown(word), ReportedStatus::WORDS.join(", "));
            return Err(ApiError::invalid("status", message));
        }
        // Whoever names no attempt is a plain worker, whose lease is longer.
        let (is_plain, said) = (report.attempt.is_none(), report.attempt);
        let worker = report.worker_id.clone();
        match self.store.write(Report { task: id, report, now: self.now() }).await? {
            ReportOutcome::Taken(record) => {
                self.heard_of(&worker);
                // A repeated word on an older attempt says nothing of the newest one.
                if said.is_none_or(|attempt| attempt == record.task.attempt) {
                    self.follow_up(&record, is_plain);
                }
                Ok(record.task)
            }
            ReportOutcome::NotFound => Err(ApiError::not_found("task", id)),
            ReportOutcome::UnknownStatus => Err(ApiError::invalid("status", "is unknown")),
            ReportOutcome::Terminal(task) => Err(ended(&task)),
            ReportOutcome::Stale(task) => Err(stale(&task)),
            ReportOutcome::HeldByAnother(task) => Err(conflict(code::HELD, "another worker has this task", &task)),
            ReportOutcome::NotForIt(task) => {
                Err(conflict(code::CONFLICT, "this worker may not take the task now: it is for another worker, or must wait", &task))
            }
            ReportOutcome::Gap { next_seq } => Err(gap(next_seq)),
            ReportOutcome::Superseded => Err(superseded()),
        }
    }

    /// The lease that follows from a report.
    fn follow_up(&self, record: &TaskRecord, is_plain: bool) {
        let task = &record.task;
        let mut leases = lock(&self.leases);
        match (&record.holder, record.held) {
            (Some(holder), true) => {
                let deadline = self.clock.uptime() + self.lease_of(is_plain);
                leases.grant(task.id, task.attempt, holder.clone(), deadline, crate::domain::lease::Phase::Held);
            }
            _ => leases.end(task.id, task.attempt),
        }
        if task.state.is_terminal() {
            metrics::counter!(metric::TASKS_ENDED, "state" => task.state.as_str()).increment(1);
        }
    }
}

/// Whether a caller may see a task: those who see everything, and its owner. A worker sees what it has or may take.
fn may_see(who: &Principal, record: &TaskRecord) -> bool {
    let own = record.task.owner == who.id;
    let as_worker = who.scope == muster_protocol::token::Scope::Worker
        && who.worker_id.as_ref().is_none_or(|worker| record.task.worker_id.as_ref().is_none_or(|holder| holder == worker));
    who.sees_everything() || own || as_worker
}

/// 409 for a task that has ended.
fn ended(task: &Task) -> ApiError {
    conflict(code::TERMINAL, &format!("the task is {} already; that does not change any more", task.state), task)
}

/// 409 for a write under an attempt that is over.
#[must_use]
pub fn stale(task: &Task) -> ApiError {
    conflict(code::STALE_ATTEMPT, "this is not the worker's current attempt of the task; stop it and report nothing more", task)
}

/// 409 for a start of a worker's daemon that a newer one has superseded.
#[must_use]
pub fn superseded() -> ApiError {
    ApiError::conflict(code::SUPERSEDED, "a newer instance of this worker has registered; this one must stop")
}

/// 409 for entries that others must precede.
#[must_use]
pub fn gap(next_seq: u64) -> ApiError {
    ApiError::Conflict {
        code: code::GAP,
        message: format!("entries are missing; send again from seq {next_seq}"),
        details: json!({ "next_seq": next_seq }),
    }
}

fn conflict(code: &'static str, message: &str, task: &Task) -> ApiError {
    ApiError::Conflict {
        code,
        message: message.to_owned(),
        details: json!({ "state": task.state, "attempt": task.attempt, "worker_id": task.worker_id }),
    }
}

/// PostgreSQL's TEXT refuses NUL, and a worker cannot help what a model or a tool wrote: the entries keep it, the summary shows U+FFFD.
fn without_nul(report: &mut ReportStatus) {
    let patches = report.changes.iter_mut().flat_map(|change| [Some(&mut change.path), change.patch.as_mut()]);
    let texts = [report.result.as_mut(), report.error.as_mut(), report.error_code.as_mut(), report.hash.as_mut()];
    for text in texts.into_iter().chain(patches).flatten().filter(|text| text.contains('\0')) {
        *text = text.replace('\0', "\u{fffd}");
    }
}
