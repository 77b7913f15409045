//! The Muster server and command line.

pub mod a2a;
pub mod agents;
pub mod api;
pub mod app;
pub mod auth;
pub mod background;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod error;
pub mod events;
pub mod interactions;
pub mod lifecycle;
pub mod monitor;
pub mod network;
pub mod overview;
pub mod presence;
pub mod router;
pub mod serve;
pub mod sessions;
pub mod store;
pub mod sync;
pub mod tasks;
pub mod telemetry;
pub mod workers;
