//! Integration tests: what can be seen from outside, with the real binaries and the real OpenCode.

mod architecture;
mod cancel;
mod conversations;
mod equipment;
mod failures;
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
        runs::cases(),
        failures::cases(),
        cancel::cases(),
        conversations::cases(),
        restart::cases(),
    ];
    support::run(cases.into_iter().flatten().collect())
}
