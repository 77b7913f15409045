//! What goes over the wire between Muster's server, its workers and its command line.
//!
//! The crate owns the shapes and their names. It decides nothing and, without the feature `client`,
//! does no I/O.
//!
//! # Compatibility
//!
//! - Unknown fields are ignored, so an old reader accepts a new writer.
//! - New fields are optional and have a default, so a new reader accepts an old writer.
//! - Enums keep values they do not know (`Other`), so that nothing is lost in passing on.
//! - A worker says which [`PROTOCOL_VERSION`] it speaks; one that says none is a *plain* worker, which only
//!   polls (`GET tasks?status=pending&worker_id=..`).

pub mod a2a;
pub mod agent;
#[cfg(feature = "client")]
pub mod client;
pub mod codebase;
pub mod digest;
pub mod error;
pub mod event;
pub mod ids;
pub mod interaction;
mod keyword;
pub mod model;
pub mod monitor;
pub mod peer;
pub mod session;
pub mod status;
pub mod stream;
pub mod task;
pub mod time;
pub mod token;
pub mod worker;

/// The version of the worker's protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
