//! The server at a glance.

use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use muster_protocol::status::ServerStatus;

/// `GET /v1/opencode/status`
#[utoipa::path(get, path = "/v1/opencode/status", tag = "operations", summary = "The server at a glance",
    responses((status = 200, body = ServerStatus)))]
pub(crate) async fn get(State(app): State<App>, _who: Principal) -> Result<Json<ServerStatus>, ApiError> {
    app.status().await.map(Json)
}
