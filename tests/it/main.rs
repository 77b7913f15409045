//! Integration tests: what can be seen from outside, with the real binaries and the real OpenCode.

mod architecture;
mod equipment;
mod store;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    support::run([architecture::cases(), equipment::cases(), store::cases()].into_iter().flatten().collect())
}
