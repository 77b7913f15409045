//! The `muster` binary: server and command line.

mod cli;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let exit = cli::run(cli::Cli::parse()).await;
    ExitCode::from(exit.code())
}
