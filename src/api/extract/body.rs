//! Bodies.

use super::{fields, nul};
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

/// The largest body, in bytes, as the router put it into the request.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// A JSON body without U+0000 in any text: PostgreSQL cannot store it.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A JSON body that may hold U+0000: what a task says is stored encoded.
#[derive(Debug, Clone)]
pub struct JsonKeepNul<T>(pub T);

/// A JSON body that may be absent, empty or `null`.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub Option<T>);

/// A body as it came, within the limit.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::TooLarge { limit }),
            Err(rejection) => Err(ApiError::BadRequest(format!("the body cannot be read: {}", rejection.body_text()))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = json_bytes(request, state).await?;
        parse(&bytes, true).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonKeepNul<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = json_bytes(request, state).await?;
        parse(&bytes, false).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let type_is_json = require_json(request.headers());
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        type_is_json?;
        parse(&bytes, true).map(Self)
    }
}

async fn json_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    require_json(request.headers())?;
    let RawBody(bytes) = RawBody::from_request(request, state).await?;
    Ok(bytes)
}

/// A client that names no type is taken at its word that it sends what the route reads.
fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json =
        essence.is_empty() || essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(ApiError::UnsupportedMediaType(format!(
        "this route reads JSON, not {}; send the header `Content-Type: application/json`",
        crate::error::shown(&essence)
    )))
}

/// Reads a body; `refuse_nul` also looks for U+0000.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], refuse_nul: bool) -> Result<T, ApiError> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(ApiError::BadRequest(format!("the body is not UTF-8: the first wrong byte is at offset {}", error.valid_up_to())));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(ApiError::BadRequest("the body is empty; this route reads a JSON object".to_owned()));
    }
    if refuse_nul && let Some(field) = nul::find(bytes) {
        return Err(ApiError::invalid(field, "must not contain U+0000"));
    }
    fields::read(bytes)
}
