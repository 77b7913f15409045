//! What a caller can be refused with, and the one place that decides status, stable code and log level of each refusal.
//!
//! A2A paths have their own error body; everything else answers [`ErrorBody`].

use crate::store::StoreError;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use muster_protocol::error::{ErrorBody, code};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tracing::Level;

/// How long a caller is asked to wait when the store cannot write.
const STORAGE_RETRY: Duration = Duration::from_secs(5);
/// How long a caller is asked to wait when a queue is full.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// One field of a body or a query that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it is, for example `models[3].id`; empty for the body as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is malformed (400).
    #[error("{0}")]
    BadRequest(String),
    /// Fields have wrong types or values (422).
    #[error("{}", sentence_of(fields))]
    Invalid {
        /// Each of them.
        fields: Vec<FieldError>,
    },
    /// No credential, or one that is not good (401).
    #[error("{0}")]
    Unauthenticated(String),
    /// The credential does not allow this (403).
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or it is not the caller's (404).
    #[error("there is no {what}")]
    NotFound {
        /// A noun and a name, for example "task `42`".
        what: String,
    },
    /// The route was dropped on purpose (410).
    #[error("this route is no longer there: {reason}; {replacement}")]
    Gone {
        /// Why.
        reason: &'static str,
        /// What to use instead.
        replacement: &'static str,
    },
    /// The path exists, not with this method (405).
    #[error("{0}")]
    MethodNotAllowed(String),
    /// The state of the thing forbids it (409).
    #[error("{message}")]
    Conflict {
        /// The stable code, one of [`muster_protocol::error::code`].
        code: &'static str,
        /// A sentence for people.
        message: String,
        /// More for programs.
        details: Value,
    },
    /// The body is larger than the configured limit (413).
    #[error("the body is larger than {limit} bytes, the limit of this server (`limits.max_body` in its configuration)")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is not of a type that the route reads (415).
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// Too much at once, or it took too long (503).
    #[error("{message}")]
    Overloaded {
        /// A sentence for people.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store cannot write now (503).
    #[error("the server cannot store anything now: {0}; try again later")]
    StorageUnavailable(String),
    /// A fault of the server (500). The source goes to the log, not to the caller.
    #[error("a fault of the server; its log says more")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { fields: vec![FieldError::new(field, message)] }
    }

    /// A thing that is not there: its noun and its name.
    pub fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self::NotFound { what: format!("{noun} `{}`", shown(&name.to_string())) }
    }

    /// A conflict without details.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into(), details: Value::Null }
    }

    /// A fault of the server.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// Status, stable code and log level: decided here and nowhere else.
    #[must_use]
    pub fn kind(&self) -> (StatusCode, &'static str, Level) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, code::BAD_REQUEST, Level::DEBUG),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, code::INVALID, Level::DEBUG),
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, Level::INFO),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, code::FORBIDDEN, Level::INFO),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, code::NOT_FOUND, Level::DEBUG),
            Self::Gone { .. } => (StatusCode::GONE, code::GONE, Level::INFO),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, Level::DEBUG),
            Self::Conflict { code, .. } => (StatusCode::CONFLICT, code, Level::DEBUG),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, Level::INFO),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, code::UNSUPPORTED_MEDIA_TYPE, Level::DEBUG),
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, code::OVERLOADED, Level::WARN),
            Self::StorageUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, code::STORAGE_UNAVAILABLE, Level::WARN),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, Level::ERROR),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let details = match self {
            Self::Invalid { fields } => json!({ "fields": fields }),
            Self::Conflict { details, .. } => details.clone(),
            Self::Gone { reason, replacement } => json!({ "reason": reason, "replacement": replacement }),
            Self::TooLarge { limit } => json!({ "limit": limit }),
            _ => Value::Null,
        };
        ErrorBody::new(self.kind().1, self.to_string(), details)
    }

    fn log(&self) {
        let (status, code, level) = self.kind();
        let status = status.as_u16();
        match (self, level) {
            (Self::Internal(source), _) => {
                tracing::error!(http.status = status, error.code = code, "request failed: {}", chain(source.as_ref()));
            }
            (_, Level::WARN) => tracing::warn!(http.status = status, error.code = code, "request refused: {self}"),
            (_, Level::INFO) => tracing::info!(http.status = status, error.code = code, "request refused: {self}"),
            _ => tracing::debug!(http.status = status, error.code = code, "request refused: {self}"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let body = self.body();
        let mut response = (self.kind().0, axum::Json(&body)).into_response();
        // For routes that spell refusals otherwise.
        response.extensions_mut().insert(body);
        let headers = response.headers_mut();
        match self {
            Self::Unauthenticated(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"muster\""));
            }
            Self::Overloaded { retry_after, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            Self::StorageUnavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(STORAGE_RETRY.as_secs()));
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::Overloaded {
                message: "the server has more to do than it can; try again in a moment".to_owned(),
                retry_after: OVERLOAD_RETRY,
            },
            StoreError::Unavailable(reason) => Self::StorageUnavailable(reason),
            StoreError::Closed => Self::StorageUnavailable("the server is stopping".to_owned()),
            StoreError::Database(error) => Self::internal(error),
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(error.source(), |e| e.source()).fold(error.to_string(), |line, source| format!("{line}: {source}"))
}

fn sentence_of(fields: &[FieldError]) -> String {
    let each: Vec<_> =
        fields.iter().map(|f| if f.field.is_empty() { f.message.clone() } else { format!("{}: {}", f.field, f.message) }).collect();
    each.join("; ")
}

/// A caller's text as an answer shows it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 128;
    let mut shown: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<ApiError> {
        vec![
            ApiError::BadRequest("the body is not JSON".to_owned()),
            ApiError::Invalid { fields: vec![FieldError::new("models[3].id", "is missing"), FieldError::new("name", "is empty")] },
            ApiError::Unauthenticated("send a token".to_owned()),
            ApiError::Forbidden("not yours".to_owned()),
            ApiError::not_found("task", "42"),
            ApiError::Gone { reason: "nobody used it", replacement: "use the other one" },
            ApiError::MethodNotAllowed("DELETE is not possible here".to_owned()),
            ApiError::conflict(code::STALE_ATTEMPT, "attempt 1 is over"),
            ApiError::TooLarge { limit: 16 },
            ApiError::UnsupportedMediaType("send application/json".to_owned()),
            StoreError::Overloaded.into(),
            StoreError::Unavailable("the disk is full".to_owned()).into(),
            ApiError::internal("secret inner reason"),
        ]
    }

    #[test]
    fn a_caller_who_waited_in_vain_for_the_database_is_told_to_come_again() {
        let error = ApiError::from(StoreError::from(sqlx::Error::PoolTimedOut));
        assert!(matches!(error, ApiError::Overloaded { .. }), "{error:?}");
    }

    #[test]
    fn every_refusal_has_a_status_that_says_error_and_its_message_in_both_places() {
        for error in samples() {
            let (status, code, _) = error.kind();
            assert!(status.is_client_error() || status.is_server_error(), "{error}");
            let body = error.body();
            assert_eq!(body.error.code, code);
            assert_eq!(body.error.message, body.detail);
            assert!(!body.detail.is_empty());
        }
    }

    #[test]
    fn wrong_fields_are_named_one_by_one() {
        let body = samples()[1].body();
        assert_eq!(body.detail, "models[3].id: is missing; name: is empty");
        assert_eq!(body.error.details["fields"][0], json!({"field": "models[3].id", "message": "is missing"}));
    }

    #[test]
    fn a_fault_of_the_server_does_not_tell_the_caller_its_reason() {
        let body = serde_json::to_string(&ApiError::internal("secret inner reason").body()).unwrap();
        assert!(!body.contains("secret inner reason"), "{body}");
    }

    #[test]
    fn refusals_that_pass_say_when_to_try_again() {
        for error in [ApiError::from(StoreError::Overloaded), StoreError::Unavailable("the disk is full".to_owned()).into()] {
            let response = error.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(RETRY_AFTER));
        }
        let refused = ApiError::Unauthenticated("send a token".to_owned()).into_response();
        assert!(refused.headers().contains_key(WWW_AUTHENTICATE));
    }
}
