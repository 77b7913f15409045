//! A2A from outside: every operation on every binding, the cards, the error table, a real OpenCode behind an agent, and the official SDKs.

pub(crate) mod caller;
mod cards;
mod conformance;
mod errors;
mod old;
mod opencode;
mod operations;
mod sdk;
mod streams;
mod tasks;

use crate::support::Case;

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        operations::cases(),
        streams::cases(),
        tasks::cases(),
        old::cases(),
        errors::cases(),
        cards::cases(),
        conformance::cases(),
        opencode::cases(),
        sdk::cases(),
    ];
    all.into_iter().flatten().collect()
}
