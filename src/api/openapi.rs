//! `/openapi.json`: the description of the API, made from the handlers.

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::sync::Arc;

/// The document, made once by the router.
#[derive(Debug, Clone)]
pub(crate) struct Document(pub(crate) Arc<str>);

/// The `OpenAPI` description of all routes.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn document(Extension(Document(json)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], json.to_string())
}
