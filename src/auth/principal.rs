//! Who asks.

use crate::error::ApiError;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use muster_protocol::ids::{PrincipalId, ServerId, TokenId, WorkerId};
use muster_protocol::token::Scope;

/// The id of the user of this machine, who needs no token on loopback.
pub const LOCAL: &str = "local";

/// Who asks: the user of this machine, or the owner of a token. Only the guard of a route makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Owns tasks, contexts and idempotency keys.
    pub id: PrincipalId,
    /// What they may.
    pub scope: Scope,
    /// With the scope `worker`: the only worker they may act for; any if none.
    pub worker_id: Option<WorkerId>,
    /// With the scope `peer`: the server that asks, if it proved to be of the network.
    pub peer: Option<ServerId>,
    /// The token they sent; none on loopback.
    pub token_id: Option<TokenId>,
}

impl Principal {
    /// The user of this machine.
    #[must_use]
    pub fn local() -> Self {
        Self { id: PrincipalId::from(LOCAL), scope: Scope::Admin, worker_id: None, peer: None, token_id: None }
    }

    /// Whoever reaches a server that was started with `--insecure`.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { id: PrincipalId::from("anonymous"), ..Self::local() }
    }

    /// Whether they may see what others own.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        matches!(self.scope, Scope::Admin | Scope::Operator | Scope::Viewer)
    }

    /// Refuses those who are bound to another worker.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub fn act_for(&self, worker: &WorkerId) -> Result<(), ApiError> {
        match &self.worker_id {
            Some(own) if own != worker => Err(ApiError::Forbidden(format!(
                "this token is good for the worker `{own}` only, not for `{}`",
                crate::error::shown(&worker.0)
            ))),
            _ => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::Unauthenticated("this needs a token; send it as `Authorization: Bearer muster_..`".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_one_worker_cannot_act_for_another() {
        let bound = Principal { scope: Scope::Worker, worker_id: Some(WorkerId::from("w-1")), ..Principal::local() };
        assert!(bound.act_for(&WorkerId::from("w-1")).is_ok());
        assert!(matches!(bound.act_for(&WorkerId::from("w-2")), Err(ApiError::Forbidden(_))));
        assert!(Principal::local().act_for(&WorkerId::from("w-2")).is_ok());
    }

    #[tokio::test]
    async fn a_handler_without_a_guard_refuses() {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        let refused = Principal::from_request_parts(&mut parts, &()).await;
        assert!(matches!(refused, Err(ApiError::Unauthenticated(_))));
    }
}
