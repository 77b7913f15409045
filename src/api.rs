//! The REST API: one file per resource, each handler extracts, calls and answers.
