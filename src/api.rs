//! The REST API: one file per resource, each handler extracts, calls and answers.

pub(crate) mod agents;
pub mod codebase_events;
pub mod codebases;
pub mod events;
pub mod extract;
pub(crate) mod gone;
pub(crate) mod health;
pub mod http_log;
pub(crate) mod interactions;
pub mod models;
pub mod monitor;
pub mod network;
pub(crate) mod openapi;
mod page;
pub(crate) mod peers;
pub mod sessions;
pub mod sse;
pub mod status;
pub mod streams;
pub mod tasks;
pub(crate) mod tokens;
pub mod workers;
