//! Decisions: pure functions of state and time, without I/O.

pub mod cancel;
pub mod lease;
pub mod loss;
pub mod matching;
pub mod presence;
pub mod routing;
