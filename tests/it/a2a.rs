//! A2A from outside: every operation on every binding, the cards, the error table, a real OpenCode behind an agent, and the official SDKs.

pub(crate) mod caller;
mod cards;
mod channel;
mod conformance;
mod corpora;
mod errors;
mod grpc;
mod old;
mod opencode;
mod operations;
mod push;
mod push_faults;
mod rust_clients;
mod sdk;
mod streams;
mod tasks;

use crate::support::Case;

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        operations::cases(),
        push::cases(),
        push_faults::cases(),
        streams::cases(),
        tasks::cases(),
        old::cases(),
        errors::cases(),
        corpora::cases(),
        cards::cases(),
        conformance::cases(),
        opencode::cases(),
        sdk::cases(),
        rust_clients::cases(),
        grpc::cases(),
    ];
    all.into_iter().flatten().collect()
}
