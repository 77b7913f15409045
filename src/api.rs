//! The REST API: one file per resource, each handler extracts, calls and answers.

pub mod extract;
pub mod sse;
