//! OpenCode sessions: what workers tell of them, reading them, continuing one.

use super::extract::{Json, JsonKeepNul, PathId, PathIds, Query};
use super::page::{Page, limit_of, paged};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::store::sessions::{SessionFilter, SessionPlace};
use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use muster_protocol::error::ErrorBody;
use muster_protocol::ids::{CodebaseId, SessionId};
use muster_protocol::session::{
    MessageList, MessagesSynced, ResumeSession, SOURCE, Session, SessionList, SessionResumed, SessionsSynced, SyncMessages, SyncSessions,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// How many messages are answered if nobody says.
const DEFAULT_MESSAGES: u32 = 100;

/// `POST /v1/opencode/codebases/{id}/sessions/sync`
#[utoipa::path(post, path = "/v1/opencode/codebases/{id}/sessions/sync", tag = "sessions", summary = "Tell of sessions (workers)",
    description = "New and changed ones; those not named stay as they are, and so do fields that are left out. A session that belonged to another \
        codebase of the worker belongs to this one from now on. At most 10,000 at a time.",
    params(("id" = String, Path)), request_body = SyncSessions,
    responses((status = 200, body = SessionsSynced), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn sync(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<CodebaseId>,
    JsonKeepNul(body): JsonKeepNul<SyncSessions>,
) -> Result<Answer<SessionsSynced>, ApiError> {
    who.act_for(&body.worker_id)?;
    app.sync_sessions(&id, body).await.map(Answer)
}

/// `POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync`
#[utoipa::path(post, path = "/v1/opencode/codebases/{id}/sessions/{sid}/messages/sync", tag = "sessions",
    summary = "Tell of the messages of a session (workers)",
    description = "New and changed ones; those not named stay as they are. The newest 2,000 of a session are kept, each up to 256 KiB: of a larger \
        one long texts are cut. At most 10,000 at a time.",
    params(("id" = String, Path), ("sid" = String, Path)), request_body = SyncMessages,
    responses((status = 200, body = MessagesSynced), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn sync_messages(
    State(app): State<App>,
    who: Principal,
    PathIds(id, session): PathIds<CodebaseId, SessionId>,
    JsonKeepNul(body): JsonKeepNul<SyncMessages>,
) -> Result<Answer<MessagesSynced>, ApiError> {
    who.act_for(&body.worker_id)?;
    app.sync_messages(&id, &session, body).await.map(Answer)
}

/// What a list of sessions can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// Only with this in id, title or directory.
    q: Option<String>,
    /// Also those that are a part of another one (a subagent's).
    children: Option<bool>,
    /// At most so many; 500 if absent, 1,000 at most.
    limit: Option<u32>,
    /// As the page before answered in `X-Next-Cursor`.
    cursor: Option<String>,
}

impl SessionQuery {
    fn page(&self) -> Result<Page<SessionPlace>, ApiError> {
        Page::of(self.limit, self.cursor.as_deref())
    }

    fn filter(self, page: &Page<SessionPlace>) -> SessionFilter {
        SessionFilter {
            text: self.q,
            children: self.children.unwrap_or(false),
            after: page.after.clone(),
            limit: page.limit + 1,
            ..SessionFilter::default()
        }
    }
}

/// What a list of the sessions of all machines can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Everywhere {
    /// Only of this worker: its id or name.
    worker: Option<String>,
    /// Only of this codebase: its id or name.
    codebase: Option<String>,
    /// Only with this in id, title or directory.
    q: Option<String>,
    /// Also those that are a part of another one (a subagent's).
    children: Option<bool>,
    /// At most so many; 500 if absent, 1,000 at most.
    limit: Option<u32>,
    /// As the page before answered in `X-Next-Cursor`.
    cursor: Option<String>,
}

/// `GET /v1/opencode/sessions`
#[utoipa::path(get, path = "/v1/opencode/sessions", tag = "sessions", summary = "List the sessions of all machines",
    description = "The newest first. Sessions stay when their codebase is removed or their worker leaves; they go when they are deleted on their machine.",
    params(Everywhere), responses((status = 200, body = Vec<Session>), (status = 422, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    who: Principal,
    RawQuery(raw): RawQuery,
    Query(query): Query<Everywhere>,
) -> Result<Response, ApiError> {
    let Everywhere { worker, codebase, q, children, limit, cursor } = query;
    let query = SessionQuery { q, children, limit, cursor };
    let page = query.page()?;
    let sessions = app.sessions(&who, worker.as_deref(), codebase.as_deref(), query.filter(&page)).await?;
    Ok(paged(sessions, &page, &raw.unwrap_or_default(), SessionPlace::of))
}

/// `GET /v1/opencode/codebases/{id}/sessions`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}/sessions", tag = "sessions", summary = "List the sessions of a codebase",
    description = "The newest first.", params(("id" = String, Path), SessionQuery),
    responses((status = 200, body = SessionList), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn list_of_codebase(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<CodebaseId>,
    RawQuery(raw): RawQuery,
    Query(query): Query<SessionQuery>,
) -> Result<Response, ApiError> {
    let page = query.page()?;
    let mut sessions = app.sessions_of(&who, &id, query.filter(&page)).await?;
    let headers = page.cut(&mut sessions, &raw.unwrap_or_default(), SessionPlace::of);
    Ok((headers, Answer(SessionList { sessions, source: SOURCE.to_owned() })).into_response())
}

/// `GET /v1/opencode/codebases/{id}/sessions/{sid}`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}/sessions/{sid}", tag = "sessions", summary = "Get a session",
    params(("id" = String, Path), ("sid" = String, Path)), responses((status = 200, body = Session), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    who: Principal,
    PathIds(id, session): PathIds<CodebaseId, SessionId>,
) -> Result<Answer<Session>, ApiError> {
    app.session(&who, &id, &session).await.map(Answer)
}

/// How many messages are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MessageQuery {
    /// The last so many; 100 if absent, 1,000 at most.
    limit: Option<u32>,
}

/// `GET /v1/opencode/codebases/{id}/sessions/{sid}/messages`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}/sessions/{sid}/messages", tag = "sessions",
    summary = "Get the last messages of a session",
    description = "Oldest first, in the order in which they were begun. Fewer than asked for if they are larger than 32 MiB together.",
    params(("id" = String, Path), ("sid" = String, Path), MessageQuery),
    responses((status = 200, body = MessageList), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn messages(
    State(app): State<App>,
    who: Principal,
    PathIds(id, session): PathIds<CodebaseId, SessionId>,
    Query(query): Query<MessageQuery>,
) -> Result<Answer<MessageList>, ApiError> {
    let limit = limit_of(query.limit, DEFAULT_MESSAGES)?;
    app.session_messages(&who, &id, &session, limit).await.map(Answer)
}

/// `POST /v1/opencode/codebases/{id}/sessions/{sid}/resume`
#[utoipa::path(post, path = "/v1/opencode/codebases/{id}/sessions/{sid}/resume", tag = "sessions", summary = "Continue a session",
    description = "With a task: the next turn of the conversation whose session it is, or the first of a new one. With `fork` always the first of a new \
        one, which continues a copy.",
    params(("id" = String, Path), ("sid" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Within 24 hours the same key with the same body answers the same task")),
    request_body = ResumeSession,
    responses((status = 200, body = SessionResumed), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn resume(
    State(app): State<App>,
    who: Principal,
    PathIds(id, session): PathIds<CodebaseId, SessionId>,
    headers: HeaderMap,
    Json(body): Json<ResumeSession>,
) -> Result<Answer<SessionResumed>, ApiError> {
    let key = headers.get("idempotency-key").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    app.resume_session(&who, &id, &session, body, key).await.map(Answer)
}
