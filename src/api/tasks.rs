//! Tasks: submitting, reading, canceling, explaining, and what workers report of them.

use super::extract::{Json, JsonKeepNul, PathId, Query};
use super::page::{Page, paged};
use crate::app::App;
use crate::auth::{Access, Principal};
use crate::error::ApiError;
use crate::store::claim::Reserved;
use crate::store::stream::{AppendEntries, AppendOutcome};
use crate::store::tasks::TaskFilter;
use crate::tasks::{gap, stale, superseded};
use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use muster_protocol::error::ErrorBody;
use muster_protocol::ids::{CodebaseId, ContextId, SessionId, TaskId, WorkerId, is_acceptable_id};
use muster_protocol::stream::{self, Appended, Entry, EntryKind, OutputLine};
use muster_protocol::task::{
    CancelAnswer, CreateCodebaseTask, Explanation, PostOutput, ReportStatus, StatusReported, SubmitTask, Target, Task, TaskCreated,
    TaskStatus,
};
use muster_protocol::token::Scope;
use muster_protocol::worker::Done;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// `POST /v1/opencode/tasks`
#[utoipa::path(post, path = "/v1/opencode/tasks", tag = "tasks", summary = "Submit a task",
    params(("Idempotency-Key" = Option<String>, Header, description = "Within 24 hours the same key with the same body answers the same task")),
    request_body = SubmitTask,
    responses((status = 200, body = Task), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn submit(
    State(app): State<App>,
    who: Principal,
    headers: HeaderMap,
    Json(wanted): Json<SubmitTask>,
) -> Result<Answer<Task>, ApiError> {
    let key = headers.get("idempotency-key").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    app.submit(&who, wanted, key).await.map(Answer)
}

/// `POST /v1/opencode/codebases/{id}/tasks`
#[utoipa::path(post, path = "/v1/opencode/codebases/{id}/tasks", tag = "tasks", summary = "Submit a task for a codebase",
    params(("id" = String, Path)), request_body = CreateCodebaseTask,
    responses((status = 200, body = TaskCreated), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn submit_for_codebase(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<CodebaseId>,
    Json(body): Json<CreateCodebaseTask>,
) -> Result<Answer<TaskCreated>, ApiError> {
    app.store.codebase(&id).await?.ok_or_else(|| ApiError::not_found("codebase", &id))?;
    let wanted = in_codebase(&id, body)?;
    let task = app.submit(&who, wanted, None).await?;
    Ok(Answer(TaskCreated { success: true, task }))
}

/// What earlier clients put into `metadata` is what newer ones have fields for.
fn in_codebase(id: &CodebaseId, body: CreateCodebaseTask) -> Result<SubmitTask, ApiError> {
    let metadata = body.metadata.unwrap_or_default();
    let text = |name: &str| match metadata.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) if text.is_empty() => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid(format!("metadata.{name}"), "must be a string")),
    };
    let (model, session) = (text("model")?, text("resume_session_id")?);
    Ok(SubmitTask {
        prompt: body.prompt,
        title: Some(body.title),
        target: Some(Target { codebase: Some(id.0.clone()), ..Target::default() }),
        model,
        mode: body.agent_type,
        priority: body.priority,
        resume_session_id: session.map(SessionId),
        metadata,
        ..SubmitTask::default()
    })
}

/// What a list of tasks can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `pending`, `running`, `waiting`, `completed`, `failed`, `cancelled`.
    status: Option<String>,
    /// Only of this codebase.
    codebase_id: Option<CodebaseId>,
    /// Only of this worker.
    worker_id: Option<WorkerId>,
    /// Only of this conversation.
    context_id: Option<ContextId>,
    /// Only parts of this task.
    parent: Option<TaskId>,
    /// Only with this in id, title or prompt.
    q: Option<String>,
    /// `priority` (the order in which workers get them; default) or `newest`.
    order: Option<String>,
    /// At most so many; 500 if absent.
    limit: Option<u32>,
    /// As the page before answered in `X-Next-Cursor`.
    cursor: Option<String>,
}

/// `GET /v1/opencode/tasks`
#[utoipa::path(get, path = "/v1/opencode/tasks", tag = "tasks", summary = "List tasks",
    description = "Highest priority first, oldest first. A plain worker that asks with `status=pending&worker_id=` its own id is given at most one \
        task, which is reserved for it.",
    params(ListQuery), responses((status = 200, body = Vec<Task>), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    who: Principal,
    RawQuery(raw): RawQuery,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    if let (Some("pending"), Some(worker)) = (query.status.as_deref(), &query.worker_id)
        && Access::WORKER.allows(who.scope)
    {
        who.act_for(worker)?;
        match app.reserve(worker).await? {
            Reserved::Nothing => return Ok(Answer(Vec::<Task>::new()).into_response()),
            Reserved::Task(task) | Reserved::Again(task) => return Ok(Answer(vec![task]).into_response()),
            Reserved::NotPlain | Reserved::NotRegistered => {}
        }
    }
    let page = Page::of(query.limit, query.cursor.as_deref())?;
    // A token of one worker shows what that worker may see, as `GET tasks/{id}` does.
    let only_worker = who.worker_id.clone().filter(|_| who.scope == Scope::Worker);
    let filter = TaskFilter {
        states: query.status.map(|word| states(&word)).transpose()?.unwrap_or_default(),
        codebase: query.codebase_id,
        worker: only_worker.or(query.worker_id),
        owner: (!who.sees_everything() && who.scope != Scope::Worker).then(|| who.id.clone()),
        context: query.context_id,
        parent: query.parent,
        text: query.q,
        newest_first: newest_first(query.order.as_deref())?,
        after: page.after,
        limit: page.limit + 1,
    };
    let tasks = app.store.tasks(&filter).await?.into_iter().map(|record| record.task).collect();
    Ok(paged(tasks, &page, &raw.unwrap_or_default(), |task: &Task| (i64::from(task.priority), task.id)))
}

fn newest_first(order: Option<&str>) -> Result<bool, ApiError> {
    match order {
        None | Some("priority") => Ok(false),
        Some("newest") => Ok(true),
        Some(other) => Err(ApiError::invalid("order", format!("`{}` is none of priority, newest", crate::error::shown(other)))),
    }
}

fn states(word: &str) -> Result<Vec<muster_protocol::task::TaskState>, ApiError> {
    let states = TaskStatus::from(word).states();
    if states.is_empty() {
        let message = format!("`{}` is none of {}", crate::error::shown(word), TaskStatus::WORDS.join(", "));
        return Err(ApiError::invalid("status", message));
    }
    Ok(states)
}

/// `GET /v1/opencode/codebases/{id}/tasks`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}/tasks", tag = "tasks", summary = "List the tasks of a codebase",
    params(("id" = String, Path), ListQuery), responses((status = 200, body = Vec<Task>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list_of_codebase(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<CodebaseId>,
    raw: RawQuery,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    app.store.codebase(&id).await?.ok_or_else(|| ApiError::not_found("codebase", &id))?;
    list(State(app), who, raw, Query(ListQuery { codebase_id: Some(id), worker_id: None, ..query })).await
}

/// `GET /v1/opencode/tasks/{id}`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}", tag = "tasks", summary = "Get a task",
    params(("id" = TaskId, Path)), responses((status = 200, body = Task), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(app): State<App>, who: Principal, PathId(id): PathId<TaskId>) -> Result<Answer<Task>, ApiError> {
    Ok(Answer(app.task_for(&who, id).await?.task))
}

/// `PUT /v1/opencode/tasks/{id}/status`
#[utoipa::path(put, path = "/v1/opencode/tasks/{id}/status", tag = "tasks", summary = "Report an attempt (workers)",
    params(("id" = TaskId, Path)), request_body = ReportStatus,
    responses((status = 200, body = StatusReported), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn report(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    JsonKeepNul(mut body): JsonKeepNul<ReportStatus>,
) -> Result<Answer<StatusReported>, ApiError> {
    // Earlier workers say nothing in several ways.
    body.session_id.take_if(|id| id.as_str().is_empty());
    check_ids(&body.worker_id, body.session_id.as_ref())?;
    who.act_for(&body.worker_id)?;
    let task = app.report(id, body).await?;
    Ok(Answer(StatusReported { success: true, task }))
}

/// `POST /v1/opencode/tasks/{id}/stream`
#[utoipa::path(post, path = "/v1/opencode/tasks/{id}/stream", tag = "tasks", summary = "Append entries to a task's stream (workers)",
    params(("id" = TaskId, Path)), request_body = stream::AppendEntries,
    responses((status = 200, body = Appended), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn append(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    JsonKeepNul(body): JsonKeepNul<stream::AppendEntries>,
) -> Result<Answer<Appended>, ApiError> {
    check_ids(&body.worker_id, None)?;
    who.act_for(&body.worker_id)?;
    check_order(&body)?;
    let write = AppendEntries {
        task: id,
        worker: body.worker_id,
        instance: body.instance,
        attempt: Some(body.attempt),
        first_seq: Some(body.first_seq),
        entries: body.entries,
        now: app.now(),
    };
    app.append(&who, write).await.map(|next_seq| Answer(Appended { next_seq }))
}

/// Ids in bodies whose texts may hold anything.
fn check_ids(worker: &WorkerId, session: Option<&SessionId>) -> Result<(), ApiError> {
    let wrong = |field: &str| ApiError::invalid(field, "must be 1 to 128 printable ASCII characters without space or slash");
    if !is_acceptable_id(worker.as_str()) {
        return Err(wrong("worker_id"));
    }
    if session.is_some_and(|session| !is_acceptable_id(session.as_str())) {
        return Err(wrong("session_id"));
    }
    Ok(())
}

fn check_order(body: &stream::AppendEntries) -> Result<(), ApiError> {
    let mut next = Some(body.first_seq);
    for (n, entry) in body.entries.iter().enumerate() {
        let Some(expected) = next.filter(|seq| i64::try_from(*seq).is_ok()) else {
            return Err(ApiError::invalid("first_seq", "is larger than any attempt can have"));
        };
        next = expected.checked_add(1);
        if entry.seq != expected {
            return Err(ApiError::invalid(format!("entries[{n}].seq"), format!("must be {expected}: entries are in order, without gaps")));
        }
        if entry.kind.as_str().is_empty() || entry.kind.as_str().len() > 64 || entry.kind.as_str().contains('\0') {
            return Err(ApiError::invalid(format!("entries[{n}].kind"), "must be a word of at most 64 characters"));
        }
    }
    Ok(())
}

/// `POST /v1/opencode/tasks/{id}/output`
#[utoipa::path(post, path = "/v1/opencode/tasks/{id}/output", tag = "tasks", summary = "Report a line of output (plain workers)",
    params(("id" = TaskId, Path)), request_body = PostOutput,
    responses((status = 200, body = Done), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn post_output(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    JsonKeepNul(body): JsonKeepNul<PostOutput>,
) -> Result<Answer<Done>, ApiError> {
    check_ids(&body.worker_id, None)?;
    who.act_for(&body.worker_id)?;
    let entry = Entry::new(0, body.timestamp.unwrap_or_else(|| app.now()), EntryKind::Output, &OutputLine { line: body.output });
    let write = AppendEntries {
        task: id,
        worker: body.worker_id,
        instance: None,
        attempt: None,
        first_seq: None,
        entries: vec![entry],
        now: app.now(),
    };
    app.append(&who, write).await?;
    Ok(Answer(Done { success: true, message: String::new() }))
}

/// `POST /v1/opencode/tasks/{id}/cancel`
#[utoipa::path(post, path = "/v1/opencode/tasks/{id}/cancel", tag = "tasks", summary = "Cancel a task",
    params(("id" = TaskId, Path)),
    responses((status = 200, body = CancelAnswer), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn cancel(State(app): State<App>, who: Principal, PathId(id): PathId<TaskId>) -> Result<Answer<CancelAnswer>, ApiError> {
    app.cancel(&who, id).await.map(Answer)
}

/// `GET /v1/opencode/tasks/{id}/explain`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}/explain", tag = "tasks", summary = "Explain why a task waits",
    params(("id" = TaskId, Path)), responses((status = 200, body = Explanation), (status = 404, body = ErrorBody)))]
pub(crate) async fn explain(State(app): State<App>, who: Principal, PathId(id): PathId<TaskId>) -> Result<Answer<Explanation>, ApiError> {
    app.explain(&who, id).await.map(Answer)
}

/// `POST /v1/opencode/tasks/{id}/retry`
#[utoipa::path(post, path = "/v1/opencode/tasks/{id}/retry", tag = "tasks", summary = "Repeat a task that has ended",
    params(("id" = TaskId, Path)),
    responses((status = 200, body = Task), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn retry(State(app): State<App>, who: Principal, PathId(id): PathId<TaskId>) -> Result<Answer<Task>, ApiError> {
    app.retry(&who, id).await.map(Answer)
}

/// The next turn of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NextMessage {
    /// What to do next.
    prompt: String,
    /// The model; the one before if absent.
    model: Option<String>,
    /// The mode; the one before if absent.
    #[serde(alias = "agent", alias = "agent_type")]
    mode: Option<String>,
}

/// `POST /v1/opencode/tasks/{id}/message`
#[utoipa::path(post, path = "/v1/opencode/tasks/{id}/message", tag = "tasks", summary = "Give a task's conversation its next turn",
    params(("id" = TaskId, Path)), request_body = NextMessage,
    responses((status = 200, body = Task), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn message(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    Json(body): Json<NextMessage>,
) -> Result<Answer<Task>, ApiError> {
    let before = app.task_for(&who, id).await?.task;
    app.next_turn(&who, before, body.prompt, body.model, body.mode).await.map(Answer)
}

impl App {
    /// Takes in entries of a task's stream; answers the `seq` expected next.
    async fn append(&self, who: &Principal, write: AppendEntries) -> Result<u64, ApiError> {
        let (task, worker, is_plain) = (write.task, write.worker.clone(), write.attempt.is_none());
        let count = write.entries.len() as u64;
        match self.store.write(write).await? {
            AppendOutcome::Taken { next_seq, attempt, was_disconnected } => {
                self.heard_of(&worker);
                metrics::counter!(crate::telemetry::metric::STREAM_ENTRIES).increment(count);
                self.renew_one(&worker, (task, attempt), is_plain, was_disconnected).await?;
                Ok(next_seq)
            }
            AppendOutcome::Gap { next_seq } => Err(gap(next_seq)),
            AppendOutcome::Superseded => Err(superseded()),
            AppendOutcome::NotFound => Err(ApiError::not_found("task", task)),
            AppendOutcome::Stale => Err(stale(&self.task_for(who, task).await?.task)),
        }
    }
}
