//! The Muster server.

pub mod api;
pub mod auth;
pub mod config;
pub mod error;
pub mod lifecycle;
pub mod store;
pub mod telemetry;
