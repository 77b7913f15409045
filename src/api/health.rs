//! For probes and for monitoring: is the process there, can it work, what does it measure?

use crate::app::App;
use crate::error::ApiError;
use crate::store::probe::Probe;
use crate::telemetry;
use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use muster_protocol::time::Timestamp;
use serde::Serialize;

/// That all is well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// Always `ok`; anything else is an error answer.
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Answer<Health> = Answer(Health { status: "ok" });

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> Answer<Health> {
    OK
}

/// Whether the process answers, as earlier clients read it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct EarlierHealth {
    /// Always `healthy`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// When.
    timestamp: Timestamp,
}

/// As `/healthz`, for earlier clients.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = EarlierHealth)))]
pub(crate) async fn health(State(app): State<App>) -> Answer<EarlierHealth> {
    Answer(EarlierHealth { status: "healthy", timestamp: app.now() })
}

/// Whether the server can work: it is not stopping, and a write reaches the disk.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, body = Health)))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Answer<Health>, ApiError> {
    if app.life.soft().is_cancelled() {
        return Err(ApiError::StorageUnavailable("the server is stopping".to_owned()));
    }
    app.store.write(Probe(app.clock.now())).await?;
    Ok(OK)
}

/// All metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics() -> Result<impl IntoResponse, ApiError> {
    let handle = telemetry::metrics().map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()))
}
