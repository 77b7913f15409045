//! The Muster server and command line.

pub mod api;
pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod events;
pub mod lifecycle;
pub mod router;
pub mod serve;
pub mod store;
pub mod sync;
pub mod telemetry;
