//! What this machine allows, whatever the server says: the limits of a run, and what is answered when OpenCode asks.

use std::time::Duration;

/// What one run may take; zero means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Time in all.
    pub wall: Duration,
    /// Time without any sign of life.
    pub stall: Duration,
    /// What a provider may ask to wait for before a request is repeated.
    pub retry_wait: Duration,
    /// Model calls.
    pub steps: u32,
    /// Model calls in a row that ended without a finish reason.
    pub unfinished_steps: u32,
    /// Compactions of the conversation.
    pub compactions: u32,
    /// Tokens read and written.
    pub tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// How long people have to answer what OpenCode asks; here zero means that nobody is asked.
    pub answer: Duration,
}

/// Why a permission request or question is refused where nobody is to be asked.
pub const REFUSAL: &str = "refused: nobody can answer while a task runs unattended";

/// What the model is told when a permission is refused; with a message OpenCode lets it go on without.
pub const REFUSAL_TO_MODEL: &str = "This was refused because nobody is there to permit it. Do not try it again; go on without it, and say in the answer what was left out.";
