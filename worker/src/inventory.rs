//! What this machine offers: codebases with their git state, capabilities, models. Looked at every few seconds, so that
//! the server's picture stays fresh without a restart.

pub mod added;
pub mod git;
mod json;
pub mod places;
pub mod sessions;
mod stir;
pub mod watch;

use crate::agent::Shared;
use crate::config::Config;
use crate::opencode::find;
use crate::opencode::server::State;
use muster_protocol::codebase::RegisterCodebase;
use muster_protocol::ids::{InstanceId, WorkerId};
use muster_protocol::model::Model;
use muster_protocol::worker::{OPENCODE, RegisterWorker};
use places::Places;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long the models are waited for before the rest is told without news of them.
const MODELS_PATIENCE: Duration = Duration::from_secs(5);

/// What this machine offers now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Capabilities, sorted.
    pub capabilities: Vec<String>,
    /// The models of its OpenCode.
    pub models: Vec<Model>,
    /// The model taken if none is asked for.
    pub default_model: Option<String>,
    /// The version of its OpenCode.
    pub opencode_version: Option<String>,
    /// Its codebases, the global one first.
    pub codebases: Vec<RegisterCodebase>,
    /// What is wrong, for people.
    pub problem: Option<String>,
}

impl Inventory {
    /// The registration that says so.
    #[must_use]
    pub fn registration(&self, config: &Config, worker_id: &WorkerId, instance: InstanceId) -> RegisterWorker {
        RegisterWorker {
            worker_id: worker_id.clone(),
            name: config.name.clone(),
            capabilities: self.capabilities.clone(),
            hostname: Some(config.hostname.clone()),
            models: self.models.clone(),
            default_model: self.default_model.clone(),
            global_codebase_id: None,
            protocol_version: Some(muster_protocol::PROTOCOL_VERSION),
            instance: Some(instance),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            os: Some(std::env::consts::OS.to_owned()),
            arch: Some(std::env::consts::ARCH.to_owned()),
            labels: config.labels.clone(),
            slots: Some(config.slots),
            codebases: self.codebases.clone(),
            opencode_version: self.opencode_version.clone(),
            problem: self.problem.clone(),
        }
    }
}

/// Looks at the machine; remembers the models between two readings.
pub struct Inspector {
    last: Inventory,
    models_read: Option<(String, Instant)>,
    places: Places,
}

impl Inspector {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { last: Inventory::default(), models_read: None, places: Places::default() }
    }

    /// Looks.
    pub async fn inspect(&mut self, shared: &Shared) -> Inventory {
        let path = std::env::var_os("PATH");
        let mut capabilities = Vec::new();
        for (capability, program) in [("git", "git"), ("ripgrep", "rg")] {
            if find::on_path(program, path.as_deref()).is_some() {
                capabilities.push(capability.to_owned());
            }
        }
        let state = shared.opencode.state();
        // One that cannot be started is none: tasks had better wait, or go elsewhere.
        if matches!(state, State::Ready(_) | State::Starting { problem: None, .. }) {
            capabilities.push(OPENCODE.to_owned());
        }
        capabilities.sort();
        let mut next = Inventory { capabilities, codebases: self.places.look(shared).await, ..Inventory::default() };
        if let State::Starting { problem: Some(problem), failed: 1.. } = &state {
            next.problem = Some(format!("its OpenCode does not start: {problem}"));
        }
        self.models(&shared.config, &state, &mut next).await;
        self.last = next.clone();
        next
    }

    async fn models(&mut self, config: &Config, state: &State, next: &mut Inventory) {
        match state {
            State::Missing | State::Stopped => self.models_read = None,
            // While it restarts the models are most likely what they were.
            State::Starting { .. } => {
                self.models_read = None;
                self.keep(next);
            }
            State::Ready(running) => {
                next.opencode_version = Some(running.version.clone());
                let id = format!("{:p}", std::sync::Arc::as_ptr(running));
                if self.models_read.as_ref().is_some_and(|(of, read)| *of == id && read.elapsed() < config.models_refresh) {
                    self.keep(next);
                    return;
                }
                // OpenCode may take long over its first answer; the codebases must stay fresh meanwhile.
                let home = config.home.to_string_lossy();
                let Ok(read) = tokio::time::timeout(MODELS_PATIENCE, running.catalogue(&home, true)).await else {
                    self.keep(next);
                    return;
                };
                match read {
                    Ok(catalogue) => {
                        next.models.clone_from(&catalogue.models);
                        next.default_model.clone_from(&catalogue.default_model);
                        self.models_read = Some((id, Instant::now()));
                    }
                    Err(error) => {
                        tracing::warn!("the models cannot be read: {error}");
                        self.keep(next);
                    }
                }
            }
        }
    }

    fn keep(&self, next: &mut Inventory) {
        next.models.clone_from(&self.last.models);
        next.default_model.clone_from(&self.last.default_model);
        if next.opencode_version.is_none() {
            next.opencode_version.clone_from(&self.last.opencode_version);
        }
    }
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a directory cannot be used; `None` if it can.
#[must_use]
pub fn problem(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => match std::fs::read_dir(path) {
            Ok(_) => None,
            Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
        },
        Ok(_) => Some(format!("{} is not a directory", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(format!("{} does not exist", path.display())),
        Err(error) => Some(format!("{} cannot be used: {error}", path.display())),
    }
}
