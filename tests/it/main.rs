//! Integration tests: what can be seen from outside, with the real binaries and the real OpenCode.

mod a2a;
mod access;
mod api_codebases;
mod api_events;
mod api_sessions;
mod api_streams;
mod api_tasks;
mod api_workers;
mod architecture;
mod bad_input;
mod between;
mod cancel;
mod chat;
mod cli_sessions;
mod continuing;
mod conversations;
mod coordination;
mod earlier_clients;
mod equipment;
mod explain;
mod external_agents;
mod failures;
mod freshness;
mod interactions;
mod losing;
mod monitor;
mod network;
mod plain_workers;
mod pulling;
mod quick_start;
mod readers;
mod registering;
mod restart;
mod runs;
mod sessions;
mod startup;
mod store;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    // For the clients of the cases: in vain where it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
        api_sessions::cases(),
        api_sessions::continued::cases(),
        continuing::cases(),
        explain::cases(),
        plain_workers::cases(),
        earlier_clients::cases(),
        monitor::cases(),
        pulling::cases(),
        bad_input::cases(),
        access::cases(),
        quick_start::cases(),
        a2a::cases(),
        external_agents::all(),
        coordination::all(),
        runs::cases(),
        failures::cases(),
        interactions::cases(),
        cancel::cases(),
        conversations::cases(),
        chat::cases(),
        cli_sessions::cases(),
        readers::cases(),
        registering::cases(),
        sessions::cases(),
        freshness::cases(),
        restart::cases(),
        losing::cases(),
        network::all(),
        between::all(),
    ];
    support::run(cases.into_iter().flatten().collect())
}
