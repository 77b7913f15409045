//! Workers: registering, pulling, leaving, and the list of them.

use super::extract::{Json, OptionalJson, PathId, Query};
use crate::app::App;
use crate::auth::Principal;
use crate::dispatch::{PullError, millis};
use crate::error::ApiError;
use crate::workers::not_found;
use axum::Json as Answer;
use axum::extract::State;
use muster_protocol::error::{ErrorBody, code};
use muster_protocol::ids::WorkerId;
use muster_protocol::worker::{Done, Drain, Pull, Pulled, RegisterWorker, Registered, Worker};
use serde::Deserialize;
use utoipa::IntoParams;

/// `POST /v1/opencode/workers/register`
#[utoipa::path(post, path = "/v1/opencode/workers/register", tag = "workers", summary = "Register a worker",
    description = "Idempotent by worker_id. A newer instance supersedes the older. A worker without protocol_version only polls.",
    request_body = RegisterWorker,
    responses((status = 200, body = Registered), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn register(
    State(app): State<App>,
    who: Principal,
    Json(body): Json<RegisterWorker>,
) -> Result<Answer<Registered>, ApiError> {
    who.act_for(&body.worker_id)?;
    let (record, codebases) = app.register_worker(body).await?;
    let worker = app.shown(&record, &app.store.running_by_worker().await?);
    Ok(Answer(Registered {
        success: true,
        worker,
        registration: record.registration,
        lease_ms: millis(app.lease_of(record.is_plain())),
        wait_ms: millis(app.config.leases.wait),
        codebases,
    }))
}

/// What a list of workers can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkerQuery {
    /// `active`, `draining`, `stale`, `offline`.
    status: Option<String>,
    /// Only those that can this.
    capability: Option<String>,
    /// Only those that have this model.
    model: Option<String>,
    /// Only those that have this label: `key` or `key=value`.
    label: Option<String>,
    /// Only those with this in name, host name or id.
    q: Option<String>,
}

/// `GET /v1/opencode/workers`
#[utoipa::path(get, path = "/v1/opencode/workers", tag = "workers", summary = "List workers",
    params(WorkerQuery), responses((status = 200, body = Vec<Worker>)))]
pub(crate) async fn list(
    State(app): State<App>,
    _who: Principal,
    Query(query): Query<WorkerQuery>,
) -> Result<Answer<Vec<Worker>>, ApiError> {
    let mut workers = app.workers(query.model.as_deref()).await?;
    workers.retain(|worker| query.fits(worker));
    Ok(Answer(workers))
}

impl WorkerQuery {
    fn fits(&self, worker: &Worker) -> bool {
        let has_label = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => worker.labels.get(key).is_some_and(|has| has == value),
            None => worker.labels.contains_key(wanted),
        };
        let contains = |text: &String| {
            let text = text.to_lowercase();
            let host = worker.hostname.as_deref().unwrap_or_default();
            [worker.name.as_str(), host, worker.worker_id.as_str()].iter().any(|field| field.to_lowercase().contains(&text))
        };
        self.status.as_ref().is_none_or(|status| worker.status.as_str() == status)
            && self.capability.as_ref().is_none_or(|capability| worker.capabilities.contains(capability))
            && self.label.as_ref().is_none_or(has_label)
            && self.q.as_ref().is_none_or(contains)
    }
}

/// `GET /v1/opencode/workers/{id}`
#[utoipa::path(get, path = "/v1/opencode/workers/{id}", tag = "workers", summary = "Get a worker",
    params(("id" = String, Path)), responses((status = 200, body = Worker), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(app): State<App>, _who: Principal, PathId(id): PathId<WorkerId>) -> Result<Answer<Worker>, ApiError> {
    app.worker(&id).await?.map(Answer).ok_or_else(|| not_found(&id))
}

/// `POST /v1/opencode/workers/{id}/heartbeat`
#[utoipa::path(post, path = "/v1/opencode/workers/{id}/heartbeat", tag = "workers", summary = "Say that a plain worker is there",
    params(("id" = String, Path)), responses((status = 200, body = Done), (status = 404, body = ErrorBody)))]
pub(crate) async fn heartbeat(State(app): State<App>, who: Principal, PathId(id): PathId<WorkerId>) -> Result<Answer<Done>, ApiError> {
    who.act_for(&id)?;
    app.heartbeat(&id).await?;
    Ok(done(""))
}

/// `POST /v1/opencode/workers/{id}/unregister`
#[utoipa::path(post, path = "/v1/opencode/workers/{id}/unregister", tag = "workers", summary = "Let a worker leave",
    params(("id" = String, Path)), responses((status = 200, body = Done), (status = 404, body = ErrorBody)))]
pub(crate) async fn unregister(State(app): State<App>, who: Principal, PathId(id): PathId<WorkerId>) -> Result<Answer<Done>, ApiError> {
    who.act_for(&id)?;
    app.unregister_worker(&id).await?;
    Ok(done("the worker is unregistered; what it still ran counts as lost, or begins elsewhere when it has surely stopped"))
}

/// `POST /v1/opencode/workers/{id}/pull`
#[utoipa::path(post, path = "/v1/opencode/workers/{id}/pull", tag = "workers", summary = "Pull work (a long poll)",
    description = "Heartbeat, lease renewal, claim and control channel in one. Answers as soon as there is something to tell.",
    params(("id" = String, Path)), request_body = Pull,
    responses((status = 200, body = Pulled), (status = 409, body = ErrorBody)))]
pub(crate) async fn pull(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<WorkerId>,
    Json(body): Json<Pull>,
) -> Result<Answer<Pulled>, ApiError> {
    who.act_for(&id)?;
    app.pull(&id, body).await.map(Answer).map_err(|error| match error {
        PullError::NotRegistered => ApiError::conflict(code::NOT_REGISTERED, error.to_string()),
        PullError::Superseded => ApiError::conflict(code::SUPERSEDED, error.to_string()),
        PullError::Store(error) => error.into(),
    })
}

/// `POST /v1/opencode/workers/{id}/drain`
#[utoipa::path(post, path = "/v1/opencode/workers/{id}/drain", tag = "workers", summary = "Give a worker nothing new",
    params(("id" = String, Path)), request_body = Option<Drain>, responses((status = 200, body = Done), (status = 404, body = ErrorBody)))]
pub(crate) async fn drain(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<WorkerId>,
    OptionalJson(body): OptionalJson<Drain>,
) -> Result<Answer<Done>, ApiError> {
    who.act_for(&id)?;
    app.drain_worker(&id, Some(body.unwrap_or_default().reason.unwrap_or_default())).await?;
    Ok(done("the worker finishes what it runs and takes nothing new"))
}

/// `POST /v1/opencode/workers/{id}/resume`
#[utoipa::path(post, path = "/v1/opencode/workers/{id}/resume", tag = "workers", summary = "Give a drained worker tasks again",
    params(("id" = String, Path)), responses((status = 200, body = Done), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(State(app): State<App>, who: Principal, PathId(id): PathId<WorkerId>) -> Result<Answer<Done>, ApiError> {
    who.act_for(&id)?;
    app.drain_worker(&id, None).await?;
    Ok(done("the worker takes tasks again"))
}

fn done(message: &str) -> Answer<Done> {
    Answer(Done { success: true, message: message.to_owned() })
}
