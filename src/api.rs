//! The REST API: one file per resource, each handler extracts, calls and answers.

pub mod extract;
pub(crate) mod health;
pub mod http_log;
pub(crate) mod openapi;
pub mod sse;
pub(crate) mod tokens;
