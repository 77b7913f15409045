//! Decisions: pure functions of state and time, without I/O.

pub mod answering;
pub mod cancel;
pub mod coordination;
pub mod federation;
pub mod foreign;
pub mod forwarding;
pub mod health;
pub mod lease;
pub mod loss;
pub mod matching;
pub mod mirror;
pub mod monitor;
pub mod naming;
pub mod plan;
pub mod presence;
pub mod projection;
pub mod routing;
pub mod session;
pub mod webhook;
