//! The daemon: registers, pulls, gives attempts to the executor, drains at the end.

mod drain;
mod pull;
mod register;
pub(crate) mod room;
mod shared;

pub use shared::{Fatal, Shared};

use crate::clock::BootTime;
use crate::config::{Config, system_env};
use crate::identity::{IdentityError, StateDir};
use crate::inventory;
use crate::inventory::added::Added;
use crate::opencode::server::{self, Setup};
use crate::opencode::{HOW_TO_INSTALL, environment, find};
use crate::process::{Spawner, adopt_orphans};
use crate::report;
use crate::spool::{Journal, Spool};
use crate::task::{attempt::Attempt, recover};
use muster_protocol::client::{Client, ClientError};
use muster_protocol::ids::InstanceId;
use secrecy::ExposeSecret as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why the daemon ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server's address cannot be used.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// A file or a process is refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another start of this worker has taken over.
    #[error(
        "another start of this worker has registered, so this one has stopped its runs and ends: {0}. If both were meant, give one of them another --name or --state-dir; if this machine is a copy of another one, delete the file `worker_id` in its state directory"
    )]
    Superseded(String),
}

impl AgentError {
    /// The exit code: 2 for what the user has to change, 3 for a worker that was superseded.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Identity(_) | Self::Server(_) => ExitCode::from(2),
            Self::System { .. } => ExitCode::FAILURE,
            Self::Superseded(_) => ExitCode::from(3),
        }
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`AgentError`].
pub async fn run(config: Config) -> Result<(), AgentError> {
    let system = |what| move |error| AgentError::System { what, error };
    let state = StateDir::open(&config.state_dir)?;
    let token = config.token.as_ref().map(|token| token.expose_secret().to_owned());
    let server = Client::new(&config.server, token)?;
    let (spool, left) = Spool::open(&state.path, config.spool_max_bytes).map_err(system("cannot open the spool"))?;
    let added =
        Added::open(&state.path).map_err(system("cannot read the codebases that were added (codebases.json in the state directory)"))?;
    let signals = drain::Signals::new().map_err(system("cannot listen to signals"))?;
    adopt_orphans();
    let environment = environment::prepare(&config, &system_env()).map_err(system("cannot prepare OpenCode's directories"))?;
    let watch = inventory::watch::Watch::new(&environment.variables);
    let setup = Setup {
        given: config.opencode.clone(),
        home: config.home.clone(),
        environment,
        pid_file: config.state_dir.join("opencode").join("process"),
        silence: config.opencode_silence,
        spawner: Spawner::start().map_err(system("cannot start a thread"))?,
    };
    introduce(&config, &state);
    let stop_opencode = CancellationToken::new();
    let (opencode, supervisor) = server::supervise(setup, stop_opencode.clone());
    let shared = Shared::new(config, state.worker_id.clone(), InstanceId(uuid::Uuid::now_v7()), server, opencode, spool, added);
    let supervisor = tokio::spawn(supervisor);
    shared.tracker.spawn(register::keep_registered(Arc::clone(&shared)));
    shared.tracker.spawn(inventory::watch::keep_fresh(Arc::clone(&shared), watch));
    shared.tracker.spawn(inventory::sessions::keep_synced(Arc::clone(&shared)));
    recover_all(&shared, left);
    let pull = shared.tracker.spawn(pull::pull_forever(Arc::clone(&shared)));
    let ended = drain::until_told(&shared, signals).await;
    shared.exit.cancel();
    shared.tracker.close();
    let _ = tokio::time::timeout(Duration::from_secs(5), shared.tracker.wait()).await;
    drop(pull);
    stop_opencode.cancel();
    let _ = supervisor.await;
    tracing::info!("stopped");
    ended
}

/// Says who this is, what it has and where it reports to.
fn introduce(config: &Config, state: &StateDir) {
    tracing::info!("muster-worker {} \"{}\" for the server {}", env!("CARGO_PKG_VERSION"), config.name, config.server);
    tracing::info!("worker id {}, state in {}, {} slots", state.worker_id, state.path.display(), config.slots);
    let path = std::env::var_os("PATH");
    let program = find::find(config.opencode.as_deref(), path.as_deref(), &config.home);
    let program = program.map_or_else(|| format!("none; {HOW_TO_INSTALL}"), |program| program.display().to_string());
    tracing::info!("OpenCode: {program}{}", if config.isolated { " (isolated)" } else { "" });
    tracing::info!("codebase global: {}", config.home.display());
    for codebase in &config.codebases {
        match crate::inventory::problem(&codebase.path) {
            None => tracing::info!("codebase {}: {}", codebase.name, codebase.path.display()),
            Some(problem) => tracing::warn!("codebase {}: {problem}; it is used as soon as it is there", codebase.name),
        }
    }
}

/// Takes up what an earlier start has left.
fn recover_all(shared: &Arc<Shared>, left: Vec<Journal>) {
    for journal in left {
        let attempt = Attempt::new(journal, BootTime::now());
        tracing::info!("{}: left by an earlier start", attempt.describe());
        shared.table.insert(Arc::clone(&attempt));
        shared.tracker.spawn(report::deliver(Arc::clone(shared), Arc::clone(&attempt)));
        shared.tracker.spawn(recover::recover(Arc::clone(shared), attempt));
    }
}
