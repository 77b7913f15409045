//! Routes of the earlier system that were dropped on purpose: answered with the reason and what to use instead.

use crate::error::ApiError;
use axum::Router;
use axum::routing::any;

const ROUTES: [(&str, &str); 9] = [
    (
        "/v1/opencode/codebases/{id}/message",
        "a message is a task: send POST /v1/opencode/codebases/{id}/trigger, or POST /v1/opencode/tasks/{id}/message for the next turn",
    ),
    ("/v1/opencode/codebases/{id}/interrupt", INTERRUPT),
    ("/v1/opencode/codebases/{id}/stop", INTERRUPT),
    ("/v1/opencode/codebases/{id}/watch/{*rest}", "workers fetch their tasks by themselves; follow GET /v1/opencode/codebases/{id}/events"),
    ("/v1/opencode/codebases/{id}/sessions/{sid}/ingest", "use POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync"),
    ("/v1/opencode/database/{*rest}", STATUS),
    ("/v1/opencode/database", STATUS),
    ("/v1/opencode/runtime/{*rest}", RUNTIME),
    ("/v1/opencode/runtime", RUNTIME),
];

const INTERRUPT: &str = "one codebase may run several tasks; use POST /v1/opencode/tasks/{id}/cancel for the one that is meant";
const STATUS: &str = "the database is the server's own matter; GET /v1/opencode/status says how it is";
const RUNTIME: &str = "OpenCode runs on the workers, not on the server; see GET /v1/opencode/workers and GET /v1/opencode/codebases";

/// All of them. They say nothing that a caller must not know, so that they need no credential.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ROUTES.into_iter().fold(Router::new(), |router, (path, instead)| {
        router.route(path, any(async move || ApiError::Gone(format!("this route is no longer there: {instead}"))))
    })
}
