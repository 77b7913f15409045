//! The server at a glance: for the status route and for the monitor agent.

use crate::app::App;
use crate::error::ApiError;
use crate::presence::is_there;
use crate::store::codebases::CodebaseFilter;
use muster_protocol::status::ServerStatus;
use muster_protocol::task::TaskState;
use muster_protocol::worker::WorkerStatus;
use std::collections::{BTreeMap, BTreeSet};

impl App {
    /// Counts what there is.
    ///
    /// # Errors
    /// Of the store.
    pub async fn status(&self) -> Result<ServerStatus, ApiError> {
        let workers = self.workers(None).await?;
        let there: Vec<_> = workers.iter().filter(|worker| is_there(worker)).collect();
        let ids: BTreeSet<_> = there.iter().map(|worker| &worker.worker_id).collect();
        let codebases = self.store.codebases(&CodebaseFilter::default()).await?;
        let codebases = codebases.iter().filter(|codebase| codebase.worker_id.as_ref().is_some_and(|id| ids.contains(id))).count();
        let models: BTreeSet<_> = there.iter().flat_map(|worker| worker.models.iter().map(|model| &model.id)).collect();
        let with_opencode = there.iter().filter(|worker| worker.has_opencode()).count();
        let message = match (there.len(), with_opencode) {
            (0, _) => "no worker is there; start one with muster-worker".to_owned(),
            (1, 0) => "1 worker is there, without OpenCode".to_owned(),
            (1, _) => "1 worker is there, with OpenCode".to_owned(),
            (n, 0) => format!("{n} workers are there, none with OpenCode"),
            (n, with) => format!("{n} workers are there, {with} with OpenCode"),
        };
        Ok(ServerStatus {
            available: with_opencode > 0,
            message,
            name: self.store.identity().name.clone(),
            server_id: self.store.identity().server_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: self.store.dialect().as_str().to_owned(),
            workers: count_workers(&workers),
            codebases: codebases as u64,
            models: models.len() as u64,
            tasks: self.count_tasks().await?,
            peers: self.count_peers(),
            events: self.store.log_head().await?,
            registered_codebases: codebases as u64,
            opencode_binary: None,
            auto_start: false,
            uptime_s: self.clock.uptime().saturating_sub(self.started).as_secs(),
        })
    }

    /// How many other servers there are by state.
    fn count_peers(&self) -> BTreeMap<String, u64> {
        let mut by_state = BTreeMap::new();
        for peer in crate::network::shown(self) {
            *by_state.entry(peer.state.to_string()).or_default() += 1;
        }
        by_state
    }

    /// How many tasks there are by status.
    async fn count_tasks(&self) -> Result<BTreeMap<String, u64>, ApiError> {
        let mut by_status: BTreeMap<String, u64> = TaskState::ALL.iter().map(|state| (state.status().to_string(), 0)).collect();
        for (state, n) in self.store.count_tasks().await? {
            if let Some(state) = TaskState::from_word(&state) {
                *by_status.entry(state.status().to_string()).or_default() += n;
            }
        }
        Ok(by_status)
    }
}

fn count_workers(workers: &[muster_protocol::worker::Worker]) -> BTreeMap<String, u64> {
    let mut by_status: BTreeMap<String, u64> = WorkerStatus::WORDS.iter().map(|word| ((*word).to_owned(), 0)).collect();
    for worker in workers {
        *by_status.entry(worker.status.to_string()).or_default() += 1;
    }
    by_status
}
