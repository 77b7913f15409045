//! The REST API: one file per resource, each handler extracts, calls and answers.

pub mod codebases;
pub mod events;
pub mod extract;
pub(crate) mod gone;
pub(crate) mod health;
pub mod http_log;
pub mod models;
pub(crate) mod openapi;
mod page;
pub mod sse;
pub mod status;
pub mod streams;
pub mod tasks;
pub(crate) mod tokens;
pub mod workers;
