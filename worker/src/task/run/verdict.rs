//! What a run is, becomes, and asks for.

use super::asked::{Asked, Settled};
use crate::opencode::error::Failure;
use muster_protocol::stream::EntryKind;
use serde_json::Value;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The prompt is given; no sign of it yet.
    Prompted,
    /// OpenCode works on it.
    Working,
    /// OpenCode waits to repeat a provider request.
    Retrying,
    /// It is over, or has to be ended.
    Over(Verdict),
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has ended; this message is the answer.
    Answered(String),
    /// It has ended, badly.
    Failed(Failure),
    /// It goes on and has to be aborted.
    Stop(Failure),
}

/// What is to be done because of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A piece of text or reasoning for the stream; pieces may be joined.
    Say {
        /// [`EntryKind::Text`] or [`EntryKind::Reasoning`].
        kind: EntryKind,
        /// The part.
        part: String,
        /// What is added.
        delta: String,
    },
    /// An entry for the stream.
    Tell(EntryKind, Value),
    /// People are to be asked; the interaction that is made goes to [`super::Run::opened`].
    Ask(Box<Asked>),
    /// OpenCode is to be given an answer.
    Settle(Box<Settled>),
    /// What is stored has to be read; the answer goes to [`super::Run::observe`].
    Recheck,
}
