//! The Muster server and command line.

pub mod clock;
pub mod domain;
pub mod events;
pub mod store;
pub mod sync;
pub mod telemetry;
