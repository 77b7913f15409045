//! Routes of the earlier system that were dropped on purpose: answered with the reason and what to use instead.

use crate::error::ApiError;
use axum::Router;
use axum::routing::any;

/// A reason, and what to use instead.
type Why = (&'static str, &'static str);

const ROUTES: [(&str, Why); 10] = [
    ("/v1/opencode/codebases/{id}/message", MESSAGE),
    ("/v1/opencode/codebases/{id}/interrupt", INTERRUPT),
    ("/v1/opencode/codebases/{id}/stop", INTERRUPT),
    ("/v1/opencode/codebases/{id}/watch/{*rest}", WATCH),
    ("/v1/opencode/codebases/{id}/watch", WATCH),
    ("/v1/opencode/codebases/{id}/sessions/{sid}/ingest", INGEST),
    ("/v1/opencode/database/{*rest}", DATABASE),
    ("/v1/opencode/database", DATABASE),
    ("/v1/opencode/runtime/{*rest}", RUNTIME),
    ("/v1/opencode/runtime", RUNTIME),
];

const MESSAGE: Why = (
    "a message to a codebase is a task",
    "send POST /v1/opencode/codebases/{id}/trigger, or POST /v1/opencode/tasks/{id}/message for the next turn of one",
);
const INTERRUPT: Why = ("one codebase may run several tasks", "use POST /v1/opencode/tasks/{id}/cancel for the one that is meant");
const WATCH: Why = ("workers fetch their tasks by themselves", "follow GET /v1/opencode/codebases/{id}/events");
const INGEST: Why =
    ("messages of a session come from its worker, in one way", "use POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync");
const DATABASE: Why = (
    "the database is the server's own matter",
    "GET /v1/opencode/status says how it is; sessions, codebases and workers have routes of their own",
);
const RUNTIME: Why =
    ("OpenCode runs on the workers, not on the server", "see GET /v1/opencode/workers and GET /v1/opencode/codebases/{id}/sessions");

/// All of them. They say nothing that a caller must not know, so that they need no credential.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ROUTES.into_iter().fold(Router::new(), |router, (path, (reason, replacement))| {
        router.route(path, any(async move || ApiError::Gone { reason, replacement }))
    })
}
