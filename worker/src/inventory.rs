//! What this machine offers: codebases with their git state, capabilities, models. Looked at every few seconds, so that
//! the server's picture stays fresh without a restart.

pub mod added;
pub mod git;

use crate::config::{CodebaseSetting, Config};
use crate::opencode::find;
use crate::opencode::server::{OpenCode, State};
use added::Added;
use futures_util::future::join_all;
use muster_protocol::codebase::{GLOBAL_NAME, RegisterCodebase};
use muster_protocol::ids::{InstanceId, WorkerId};
use muster_protocol::model::Model;
use muster_protocol::worker::{OPENCODE, RegisterWorker};
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
        }
    }
}

/// Looks at the machine; remembers the models between two readings.
pub struct Inspector {
    last: Inventory,
    models_read: Option<(String, Instant)>,
}

impl Inspector {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { last: Inventory::default(), models_read: None }
    }

    /// Looks.
    pub async fn inspect(&mut self, config: &Config, added: &Added, opencode: &OpenCode) -> Inventory {
        let path = std::env::var_os("PATH");
        let mut capabilities = Vec::new();
        for (capability, program) in [("git", "git"), ("ripgrep", "rg")] {
            if find::on_path(program, path.as_deref()).is_some() {
                capabilities.push(capability.to_owned());
            }
        }
        let state = opencode.state();
        // One that cannot be started is none: tasks had better wait, or go elsewhere.
        if matches!(state, State::Ready(_) | State::Starting { problem: None }) {
            capabilities.push(OPENCODE.to_owned());
        }
        capabilities.sort();
        let mut next = Inventory { capabilities, codebases: codebases(config, added).await, ..Inventory::default() };
        self.models(config, &state, &mut next).await;
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

/// All codebases, the global one first.
pub async fn codebases(config: &Config, added: &Added) -> Vec<RegisterCodebase> {
    let global = RegisterCodebase {
        name: GLOBAL_NAME.to_owned(),
        path: config.home.to_string_lossy().into_owned(),
        description: "The home directory".to_owned(),
        is_global: true,
        parallel: None,
        // A home directory that is a git work tree may be huge; nobody asks for its state.
        git: None,
        problem: problem(&config.home),
    };
    let mut all = vec![global];
    all.extend(join_all(config.codebases.iter().map(codebase)).await);
    all.extend(join_all(added.besides(&config.codebases).iter().map(codebase)).await);
    all
}

async fn codebase(setting: &CodebaseSetting) -> RegisterCodebase {
    let problem = problem(&setting.path);
    RegisterCodebase {
        name: setting.name.clone(),
        path: setting.path.to_string_lossy().into_owned(),
        description: setting.description.clone(),
        is_global: false,
        parallel: Some(setting.parallel),
        git: if problem.is_none() { git::state(&setting.path).await } else { None },
        problem,
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
