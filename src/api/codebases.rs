//! Codebases.

use super::extract::{Json, PathId, Query};
use crate::app::App;
use crate::auth::Principal;
use crate::error::{ApiError, FieldError};
use crate::store::codebases::{CodebaseFilter, PutCodebase, RemoveCodebase, RemoveOutcome};
use axum::Json as Answer;
use axum::extract::State;
use muster_protocol::codebase::{Codebase, CreateCodebase, GLOBAL_NAME, RegisterCodebase};
use muster_protocol::error::{ErrorBody, code};
use muster_protocol::ids::{CodebaseId, SessionId, TaskId, WorkerId, is_acceptable_id};
use muster_protocol::task::{SubmitTask, Target, builtin_mode};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::Done;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

/// A codebase with the fields that only earlier clients read. The server drives no OpenCode itself, so most of them say nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownCodebase {
    #[serde(flatten)]
    codebase: Codebase,
    /// As `created_at`.
    registered_at: Timestamp,
    /// Always none.
    last_triggered: Option<Timestamp>,
    /// Always none.
    opencode_port: Option<u16>,
    /// Always none: sessions are listed by themselves.
    session_id: Option<SessionId>,
    /// Always false: workers fetch their tasks by themselves.
    watch_mode: bool,
    /// Always 5.
    watch_interval: u32,
}

impl From<Codebase> for ShownCodebase {
    fn from(codebase: Codebase) -> Self {
        Self {
            registered_at: codebase.created_at,
            codebase,
            last_triggered: None,
            opencode_port: None,
            session_id: None,
            watch_mode: false,
            watch_interval: 5,
        }
    }
}

const LOOKED_FOR: &str = "a worker that has the path is looked for; it registers the codebase";

/// The answer to a new codebase: the codebase, or the task that looks for the worker that has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CodebaseCreated {
    /// Always true.
    success: bool,
    /// The codebase.
    #[serde(skip_serializing_if = "Option::is_none")]
    codebase: Option<ShownCodebase>,
    /// Whether a worker that has the path is still looked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    /// The task that looks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<TaskId>,
    /// What happens now, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// `POST /v1/opencode/codebases`
#[utoipa::path(post, path = "/v1/opencode/codebases", tag = "codebases", summary = "Register a codebase",
    description = "With worker_id it is that worker's, which may register itself later. Without, a task asks a worker that has the path.",
    request_body = CreateCodebase, responses((status = 200, body = CodebaseCreated), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    who: Principal,
    Json(body): Json<CreateCodebase>,
) -> Result<Answer<CodebaseCreated>, ApiError> {
    check(&body)?;
    let Some(worker) = body.worker_id.clone() else {
        let task = app.submit(&who, search_for(&body), None).await?;
        return Ok(Answer(CodebaseCreated {
            success: true,
            codebase: None,
            pending: true,
            task_id: Some(task.id),
            message: Some(LOOKED_FOR),
        }));
    };
    who.act_for(&worker)?;
    let now = app.now();
    app.plain_called(&worker).await?;
    let write = PutCodebase {
        worker,
        agent_config: body.agent_config,
        new_id: CodebaseId(app.ids.uuid(now).to_string()),
        now,
        codebase: RegisterCodebase {
            is_global: body.name == GLOBAL_NAME,
            name: body.name,
            path: body.path,
            description: body.description.unwrap_or_default(),
            parallel: None,
            git: None,
            problem: None,
        },
    };
    let codebase = app.store.write(write).await?;
    Ok(Answer(CodebaseCreated { success: true, codebase: Some(codebase.into()), pending: false, task_id: None, message: None }))
}

fn check(body: &CreateCodebase) -> Result<(), ApiError> {
    let mut fields = Vec::new();
    if body.name.trim().is_empty() || body.name.len() > 200 {
        fields.push(FieldError::new("name", "must have 1 to 200 bytes"));
    }
    if !(body.path.starts_with('/') || body.path.starts_with('~')) || body.path.len() > 4_096 {
        fields.push(FieldError::new("path", "must be an absolute path"));
    }
    if body.worker_id.as_ref().is_some_and(|id| !is_acceptable_id(id.as_str())) {
        fields.push(FieldError::new("worker_id", "must be 1 to 128 printable ASCII characters without space or slash"));
    }
    if fields.is_empty() { Ok(()) } else { Err(ApiError::Invalid { fields }) }
}

/// The task that only a worker which has the path completes.
fn search_for(body: &CreateCodebase) -> SubmitTask {
    let metadata = Map::from_iter([
        ("name".to_owned(), json!(body.name)),
        ("path".to_owned(), json!(body.path)),
        ("description".to_owned(), json!(body.description)),
    ]);
    SubmitTask {
        prompt: format!("Register the codebase {} at {}", body.name, body.path),
        title: Some(format!("Register codebase {}", body.name)),
        mode: Some(builtin_mode::REGISTER_CODEBASE.to_owned()),
        metadata,
        ..SubmitTask::default()
    }
}

/// What a list of codebases can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CodebaseQuery {
    /// Only of this worker.
    worker_id: Option<WorkerId>,
    /// Only with this path.
    path: Option<String>,
    /// Only with this in name or path.
    q: Option<String>,
}

/// `GET /v1/opencode/codebases`
#[utoipa::path(get, path = "/v1/opencode/codebases", tag = "codebases", summary = "List codebases",
    params(CodebaseQuery), responses((status = 200, body = Vec<ShownCodebase>)))]
pub(crate) async fn list(
    State(app): State<App>,
    _who: Principal,
    Query(query): Query<CodebaseQuery>,
) -> Result<Answer<Vec<ShownCodebase>>, ApiError> {
    let filter = CodebaseFilter { worker: query.worker_id, path: query.path, name: None, text: query.q };
    Ok(Answer(app.codebases(&filter).await?.into_iter().map(ShownCodebase::from).collect()))
}

/// `GET /v1/opencode/codebases/list`, the same under its other name.
#[utoipa::path(get, path = "/v1/opencode/codebases/list", tag = "codebases", summary = "List codebases (earlier path)",
    params(CodebaseQuery), responses((status = 200, body = Vec<ShownCodebase>)))]
pub(crate) async fn list_again(
    state: State<App>,
    who: Principal,
    query: Query<CodebaseQuery>,
) -> Result<Answer<Vec<ShownCodebase>>, ApiError> {
    list(state, who, query).await
}

/// `GET /v1/opencode/codebases/{id}`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}", tag = "codebases", summary = "Get a codebase",
    params(("id" = String, Path)), responses((status = 200, body = ShownCodebase), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    _who: Principal,
    PathId(id): PathId<CodebaseId>,
) -> Result<Answer<ShownCodebase>, ApiError> {
    app.codebase(&id).await?.map(|codebase| Answer(codebase.into())).ok_or_else(|| ApiError::not_found("codebase", &id))
}

/// `DELETE /v1/opencode/codebases/{id}`
#[utoipa::path(delete, path = "/v1/opencode/codebases/{id}", tag = "codebases", summary = "Remove a codebase from the registry",
    description = "Its directory stays. A worker that is configured with it registers it again.",
    params(("id" = String, Path)),
    responses((status = 200, body = Done), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn delete(State(app): State<App>, _who: Principal, PathId(id): PathId<CodebaseId>) -> Result<Answer<Done>, ApiError> {
    match app.store.write(RemoveCodebase { id: id.clone(), now: app.now() }).await? {
        RemoveOutcome::Removed => Ok(Answer(Done { success: true, message: "removed; its directory is untouched".to_owned() })),
        RemoveOutcome::NotFound => Err(ApiError::not_found("codebase", &id)),
        RemoveOutcome::IsGlobal => {
            Err(ApiError::conflict(code::CONFLICT, "a worker's home directory stays; unregister the worker instead"))
        }
    }
}

/// `POST /v1/opencode/codebases/{id}/trigger`, as earlier clients send it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Trigger {
    /// What to do.
    prompt: String,
    /// The mode.
    agent: Option<String>,
    /// The model.
    model: Option<String>,
    /// Paths that the prompt is about.
    #[serde(default)]
    files: Vec<String>,
    /// Anything.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// The answer to a trigger.
#[derive(Debug, Serialize, ToSchema)]
pub struct Triggered {
    success: bool,
    session_id: Option<SessionId>,
    message: String,
    codebase_id: CodebaseId,
    agent: String,
    error: Option<String>,
    task_id: TaskId,
}

/// `POST /v1/opencode/codebases/{id}/trigger`
#[utoipa::path(post, path = "/v1/opencode/codebases/{id}/trigger", tag = "codebases", summary = "Run a prompt in a codebase",
    params(("id" = String, Path)), request_body = Trigger,
    responses((status = 200, body = Triggered), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn trigger(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<CodebaseId>,
    Json(body): Json<Trigger>,
) -> Result<Answer<Triggered>, ApiError> {
    app.store.codebase(&id).await?.ok_or_else(|| ApiError::not_found("codebase", &id))?;
    let lines: Vec<_> = std::iter::once(body.prompt).chain(body.files.iter().map(|file| format!("@{file}"))).collect();
    let wanted = SubmitTask {
        prompt: lines.join("\n"),
        target: Some(Target { codebase: Some(id.0.clone()), ..Target::default() }),
        model: body.model.filter(|model| !model.is_empty()),
        mode: body.agent.filter(|agent| !agent.is_empty()),
        metadata: body.metadata.unwrap_or_default(),
        ..SubmitTask::default()
    };
    let task = app.submit(&who, wanted, None).await?;
    Ok(Answer(Triggered {
        success: true,
        session_id: task.session_id,
        message: format!("task {} was submitted", task.id),
        codebase_id: id,
        agent: task.mode,
        error: None,
        task_id: task.id,
    }))
}
