//! `/v1/peers`: the servers of the network, for people.

use super::extract::{Json as Body, PathId};
use crate::app::App;
use crate::auth::Principal;
use crate::config::peer_url;
use crate::error::ApiError;
use crate::network;
use axum::Json;
use axum::extract::State;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{AddPeer, Peer};
use muster_protocol::worker::Done;

/// `GET /v1/peers`
#[utoipa::path(get, path = "/v1/peers", tag = "peers", summary = "List the other servers",
    description = "Every server that is known, addresses at which none was found yet, and servers that were refused lately.",
    responses((status = 200, body = Vec<Peer>)))]
pub(crate) async fn list(State(app): State<App>, _who: Principal) -> Json<Vec<Peer>> {
    Json(network::shown(&app))
}

/// `POST /v1/peers`
#[utoipa::path(post, path = "/v1/peers", tag = "peers", summary = "Join a server",
    description = "Tries the address until a server answers there, also after a restart. The answer says what was found in the first moments.",
    request_body = AddPeer, responses((status = 200, body = Peer), (status = 422)))]
pub(crate) async fn add(State(app): State<App>, _who: Principal, Body(body): Body<AddPeer>) -> Result<Json<Peer>, ApiError> {
    let url = peer_url(&body.url).map_err(|problem| ApiError::invalid("url", problem))?;
    Ok(Json(network::join(&app, url.as_str().trim_end_matches('/')).await?))
}

/// `DELETE /v1/peers/{id}`
#[utoipa::path(delete, path = "/v1/peers/{id}", tag = "peers", summary = "Let a server go",
    description = "It does not come back unless it is joined again from here. Tasks that its agents work on fail (`agent_removed`).",
    params(("id" = String, Path)), responses((status = 200, body = Done), (status = 404)))]
pub(crate) async fn remove(State(app): State<App>, _who: Principal, PathId(id): PathId<ServerId>) -> Result<Json<Done>, ApiError> {
    let name = network::part(&app, id).await?;
    Ok(Json(Done { success: true, message: format!("{name} is no peer any more") }))
}
