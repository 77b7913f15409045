//! `/v1/tokens`: making, listing and revoking tokens.

use super::extract::{Json, PathId};
use crate::app::App;
use crate::auth::Secret;
use crate::error::{ApiError, FieldError};
use crate::store::tokens::{CreateToken, RevokeToken, StoredToken};
use axum::Json as Answer;
use axum::extract::State;
use muster_protocol::ids::{PrincipalId, TokenId, is_acceptable_id};
use muster_protocol::time::Timestamp;
use muster_protocol::token::{CreateToken as Create, Scope, Token, TokenCreated};
use muster_protocol::worker::Done;

const LONGEST_NAME: usize = 128;
/// A hundred years, in seconds.
const LONGEST_TTL: u64 = 100 * 365 * 24 * 3600;

/// Makes a token. The answer is the only time that its secret is shown.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = Create, responses((status = 200, body = TokenCreated)))]
pub(crate) async fn create(State(app): State<App>, Json(body): Json<Create>) -> Result<Answer<TokenCreated>, ApiError> {
    check(&body)?;
    let now = app.clock.now();
    let random = app.ids.secret().map_err(ApiError::internal)?;
    let secret = Secret::new(body.scope, random);
    let token = Token {
        id: TokenId(app.ids.uuid(now)),
        name: body.name.unwrap_or_else(|| body.scope.as_str().to_owned()),
        scope: body.scope,
        worker_id: body.worker_id,
        created_at: now,
        expires_at: body.ttl_s.map(|ttl| Timestamp(now.0.saturating_add_unsigned(ttl.saturating_mul(1000)))),
        revoked_at: None,
    };
    let principal = PrincipalId(format!("token:{}", token.id));
    let stored = StoredToken { token: token.clone(), hash: secret.hash().to_hex(), principal, peer: None, last_used_at: None };
    app.store.write(CreateToken(stored)).await?;
    Ok(Answer(TokenCreated { token, secret: secret.expose().to_owned() }))
}

/// All tokens without their secrets, oldest first.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses((status = 200, body = Vec<Token>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Answer<Vec<Token>>, ApiError> {
    Ok(Answer(app.store.tokens().await?))
}

/// Revokes a token: from now on it is refused.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)), responses((status = 200, body = Done)))]
pub(crate) async fn revoke(State(app): State<App>, PathId(id): PathId<TokenId>) -> Result<Answer<Done>, ApiError> {
    let is_there = app.store.write(RevokeToken { id, now: app.clock.now() }).await?;
    if !is_there {
        return Err(ApiError::not_found("token", id));
    }
    Ok(Answer(Done { success: true, message: "the token is revoked".to_owned() }))
}

fn check(body: &Create) -> Result<(), ApiError> {
    let mut fields = Vec::new();
    if body.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > LONGEST_NAME) {
        fields.push(FieldError::new("name", format!("must have 1 to {LONGEST_NAME} bytes")));
    }
    if body.ttl_s.is_some_and(|ttl| ttl == 0 || ttl > LONGEST_TTL) {
        fields.push(FieldError::new("ttl_s", format!("must be 1 to {LONGEST_TTL} seconds; leave it out for a token that does not expire")));
    }
    match &body.worker_id {
        Some(_) if body.scope != Scope::Worker => fields.push(FieldError::new("worker_id", "goes with the scope `worker` only")),
        Some(id) if !is_acceptable_id(id.as_str()) => fields.push(FieldError::new("worker_id", "is no id")),
        _ => {}
    }
    if fields.is_empty() { Ok(()) } else { Err(ApiError::Invalid { fields }) }
}
