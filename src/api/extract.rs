//! What handlers take from a request. Whatever a caller sends, the outcome is a value or a refusal that names what is wrong.
//!
//! | sent | answer |
//! | --- | --- |
//! | body over the limit | 413, with the limit |
//! | a content type that is not JSON | 415 |
//! | no UTF-8, no JSON | 400, with line and column |
//! | wrong shape, or U+0000 in a text | 422, each field named |
//! | a query that does not fit | 400, with the parameter |
//! | an id in the path that can be none | 404, as for an unknown one |

mod body;
mod fields;
mod nul;
mod path;
mod strict;

pub use body::{BodyLimit, Json, JsonKeepNul, OptionalJson, RawBody};
pub use path::{PathId, PathIds, PathParam};
pub(crate) use strict::Strict;

use crate::error::ApiError;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The query of the address.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("%00") {
            return Err(ApiError::BadRequest("the query must not contain U+0000 (%00)".to_owned()));
        }
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(ApiError::BadRequest(format!("the query does not fit: {}", crate::error::shown(reason))))
            }
        }
    }
}

#[cfg(test)]
mod tests;
