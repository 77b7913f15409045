//! The `muster-worker` daemon.

use clap::Parser as _;
use muster_worker::config::{self, Flags};
use muster_worker::{agent, logging, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Must come first: a child of the daemon passes through here on its way to its own program.
    process::exec::intercept();
    let flags = Flags::parse();
    let config = match config::load(&flags, &config::system_env()) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("muster-worker: {problem}");
            }
            return ExitCode::from(2);
        }
    };
    if let Err(problem) = logging::start(&config) {
        eprintln!("muster-worker: {problem}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("muster-worker").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("muster-worker: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(agent::run(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("muster-worker: {error}");
            error.exit_code()
        }
    }
}
