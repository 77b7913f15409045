//! Ids in the path. One that can be none is answered like one that nobody has.

use crate::error::ApiError;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use muster_protocol::ids::{
    CodebaseId, ContextId, EventId, InteractionId, ServerId, SessionId, TaskId, TokenId, WorkerId, is_acceptable_id,
};

/// Something that can be read from a segment of the path.
pub trait PathParam: Sized {
    /// What it names, for the refusal.
    const NOUN: &'static str;

    /// The value of a segment; `None` if it can be none.
    fn parse(segment: &str) -> Option<Self>;
}

macro_rules! uuid_params {
    ($($name:ident = $noun:literal),+ $(,)?) => {$(
        impl PathParam for $name {
            const NOUN: &'static str = $noun;

            fn parse(segment: &str) -> Option<Self> {
                segment.parse().ok()
            }
        }
    )+};
}

macro_rules! text_params {
    ($($name:ident = $noun:literal),+ $(,)?) => {$(
        impl PathParam for $name {
            const NOUN: &'static str = $noun;

            fn parse(segment: &str) -> Option<Self> {
                is_acceptable_id(segment).then(|| Self(segment.to_owned()))
            }
        }
    )+};
}

uuid_params! {
    EventId = "event",
    InteractionId = "interaction",
    ServerId = "server",
    TaskId = "task",
    TokenId = "token",
}

text_params! {
    CodebaseId = "codebase",
    ContextId = "context",
    SessionId = "session",
    WorkerId = "worker",
}

/// The only id in the path.
#[derive(Debug, Clone)]
pub struct PathId<T>(pub T);

impl<S: Send + Sync, T: PathParam> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(segment) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| unreadable(parts))?;
        parse(&segment).map(Self)
    }
}

/// Two ids in the path.
#[derive(Debug, Clone)]
pub struct PathIds<A, B>(pub A, pub B);

impl<S: Send + Sync, A: PathParam, B: PathParam> FromRequestParts<S> for PathIds<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| unreadable(parts))?;
        Ok(Self(parse(&a)?, parse(&b)?))
    }
}

fn parse<T: PathParam>(segment: &str) -> Result<T, ApiError> {
    T::parse(segment).ok_or_else(|| ApiError::not_found(T::NOUN, segment))
}

/// For example a percent escape that is no UTF-8.
fn unreadable(parts: &Parts) -> ApiError {
    ApiError::not_found("resource", parts.uri.path())
}
