//! The one error body of all routes outside A2A's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `{"error":{"code","message","details"},"detail":"<the same message>"}`; `detail` is what earlier clients read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorInfo,
    /// The same message again.
    #[serde(default)]
    pub detail: String,
}

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorInfo {
    /// A stable word for programs; see [`code`].
    #[cfg_attr(feature = "openapi", schema(example = "not_found"))]
    pub code: String,
    /// A sentence for people, with what to do.
    pub message: String,
    /// More for programs, by code.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl ErrorBody {
    /// A body with its message in both places.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>, details: Value) -> Self {
        let message = message.into();
        Self { detail: message.clone(), error: ErrorInfo { code: code.to_owned(), message, details } }
    }
}

/// The stable error codes.
pub mod code {
    /// The body or a parameter is malformed (400).
    pub const BAD_REQUEST: &str = "bad_request";
    /// A field has a wrong type or value (422); `details.fields` names each.
    pub const INVALID: &str = "invalid";
    /// No or a wrong credential (401).
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The credential does not allow this (403).
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing, or it is not the caller's (404).
    pub const NOT_FOUND: &str = "not_found";
    /// The route exists, not with this method (405).
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    /// The state of the thing forbids this (409).
    pub const CONFLICT: &str = "conflict";
    /// The two servers have not the same network key, or need one (409).
    pub const NETWORK_KEY: &str = "network_key";
    /// Another server runs with this identity (409).
    pub const DUPLICATE_SERVER: &str = "duplicate_server";
    /// The server was removed from the network of the one that it greets (409).
    pub const PEER_REMOVED: &str = "peer_removed";
    /// The write names an attempt that is not the current one (409).
    pub const STALE_ATTEMPT: &str = "stale_attempt";
    /// Entries are missing before these (409); `details.next_seq` is the next one expected.
    pub const GAP: &str = "gap";
    /// A newer instance of the worker has registered (409).
    pub const SUPERSEDED: &str = "superseded";
    /// The worker must register first (409).
    pub const NOT_REGISTERED: &str = "not_registered";
    /// The task is in a terminal state (409).
    pub const TERMINAL: &str = "terminal";
    /// The idempotency key was used with another body (409).
    pub const KEY_REUSED: &str = "idempotency_key_reused";
    /// Somebody else holds the task (409).
    pub const HELD: &str = "held";
    /// The interaction was answered before (409).
    pub const ANSWERED: &str = "answered";
    /// The interaction's deadline has passed, or its run has ended (409).
    pub const EXPIRED: &str = "expired";
    /// The route was dropped on purpose (410); the message says what to use instead.
    pub const GONE: &str = "gone";
    /// The body is larger than the configured limit (413).
    pub const TOO_LARGE: &str = "too_large";
    /// The body is not of a type that the route reads (415).
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "unsupported_media_type";
    /// Too much at once; try again after `Retry-After` (429, 503).
    pub const OVERLOADED: &str = "overloaded";
    /// The store cannot write now, for example on a full disk; try again (503).
    pub const STORAGE_UNAVAILABLE: &str = "storage_unavailable";
    /// A fault of the server (500).
    pub const INTERNAL: &str = "internal";
}
