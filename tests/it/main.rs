//! Integration tests: what can be seen from outside, with the real binaries and the real OpenCode.

mod access;
mod api_codebases;
mod api_events;
mod api_streams;
mod api_tasks;
mod api_workers;
mod architecture;
mod bad_input;
mod cancel;
mod conversations;
mod equipment;
mod explain;
mod failures;
mod plain_workers;
mod pulling;
mod quick_start;
mod registering;
mod restart;
mod runs;
mod startup;
mod store;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        architecture::cases(),
        equipment::cases(),
        startup::cases(),
        store::cases(),
        api_tasks::cases(),
        api_workers::cases(),
        api_codebases::cases(),
        api_streams::cases(),
        api_events::cases(),
        explain::cases(),
        plain_workers::cases(),
        pulling::cases(),
        bad_input::cases(),
        access::cases(),
        quick_start::cases(),
        runs::cases(),
        failures::cases(),
        cancel::cases(),
        conversations::cases(),
        registering::cases(),
        restart::cases(),
    ];
    support::run(cases.into_iter().flatten().collect())
}
