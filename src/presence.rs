//! When each worker was heard of last: in memory, saved now and then, so that a pull costs no write.

use crate::app::App;
use crate::domain::presence::status;
use crate::store::StoreError;
use crate::store::codebases::CodebaseFilter;
use crate::store::workers::WorkerRecord;
use crate::sync::lock;
use muster_protocol::codebase::{Codebase, CodebaseStatus};
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{Worker, WorkerStatus};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Timestamp,
    uptime: Duration,
    saved: bool,
}

/// When each worker was heard of.
#[derive(Debug, Default)]
pub struct Presence(Mutex<HashMap<WorkerId, Seen>>);

impl Presence {
    /// A worker was heard of.
    pub fn touch(&self, worker: &WorkerId, at: Timestamp, uptime: Duration) {
        lock(&self.0).insert(worker.clone(), Seen { at, uptime, saved: false });
    }

    /// What is not saved yet.
    pub fn take_unsaved(&self) -> Vec<(WorkerId, Timestamp)> {
        let mut seen = lock(&self.0);
        let unsaved = seen.iter_mut().filter(|(_, seen)| !seen.saved);
        unsaved
            .map(|(worker, seen)| {
                seen.saved = true;
                (worker.clone(), seen.at)
            })
            .collect()
    }

    /// When a worker was heard of by this process: by the wall clock and in uptime.
    #[must_use]
    pub fn seen(&self, worker: &WorkerId) -> Option<(Timestamp, Duration)> {
        lock(&self.0).get(worker).map(|seen| (seen.at, seen.uptime))
    }
}

impl App {
    /// A worker was heard of now.
    pub fn heard_of(&self, worker: &WorkerId) {
        self.presence.touch(worker, self.now(), self.clock.uptime());
    }

    /// The lease that holds for a worker.
    #[must_use]
    pub fn lease_of(&self, is_plain: bool) -> Duration {
        if is_plain { self.config.leases.plain_lease } else { self.config.leases.lease }
    }

    /// A worker as it is shown: with its status now.
    #[must_use]
    pub fn shown(&self, record: &WorkerRecord, running: &BTreeMap<WorkerId, u32>) -> Worker {
        let mut worker = record.worker.clone();
        let silent = match self.presence.seen(&worker.worker_id) {
            Some((at, uptime)) => {
                worker.last_seen = at.max(worker.last_seen);
                self.clock.uptime().saturating_sub(uptime)
            }
            // Not heard of since this server was started.
            None => Duration::from_millis(self.now().since(worker.last_seen)),
        };
        let leases = &self.config.leases;
        worker.status = status(record.gone, record.draining, silent, self.lease_of(record.is_plain()), leases.offline_after);
        worker.running = running.get(&worker.worker_id).copied().unwrap_or(0);
        worker
    }

    /// A worker as it is shown, by its id.
    ///
    /// # Errors
    /// Of the store.
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<Worker>, StoreError> {
        let Some(record) = self.store.worker(id).await? else { return Ok(None) };
        let running = self.store.running_by_worker().await?;
        Ok(Some(self.shown(&record, &running)))
    }

    /// All workers as they are shown, or those that have a model.
    ///
    /// # Errors
    /// Of the store.
    pub async fn workers(&self, model: Option<&str>) -> Result<Vec<Worker>, StoreError> {
        let records = self.store.workers(model).await?;
        let running = self.store.running_by_worker().await?;
        Ok(records.iter().map(|record| self.shown(record, &running)).collect())
    }
}

impl App {
    /// A codebase with whether its worker is there.
    ///
    /// # Errors
    /// Of the store.
    pub async fn codebase(&self, id: &CodebaseId) -> Result<Option<Codebase>, StoreError> {
        let Some(mut codebase) = self.store.codebase(id).await? else { return Ok(None) };
        let worker = match &codebase.worker_id {
            Some(worker) => self.worker(worker).await?,
            None => None,
        };
        show(&mut codebase, worker.map(|worker| worker.status).as_ref());
        Ok(Some(codebase))
    }

    /// Codebases with whether their workers are there.
    ///
    /// # Errors
    /// Of the store.
    pub async fn codebases(&self, filter: &CodebaseFilter) -> Result<Vec<Codebase>, StoreError> {
        let workers = self.workers(None).await?.into_iter();
        let statuses: BTreeMap<_, _> = workers.map(|worker| (worker.worker_id, worker.status)).collect();
        let mut codebases = self.store.codebases(filter).await?;
        for codebase in &mut codebases {
            let status = codebase.worker_id.as_ref().and_then(|worker| statuses.get(worker));
            show(codebase, status);
        }
        Ok(codebases)
    }
}

/// A codebase is there if its worker is, and says nothing against it. One of a worker that is still to register counts as there.
fn show(codebase: &mut Codebase, worker: Option<&WorkerStatus>) {
    if matches!(worker, Some(WorkerStatus::Stale | WorkerStatus::Offline)) || codebase.problem.is_some() {
        codebase.status = CodebaseStatus::Offline;
    }
}

/// Whether a worker is there: it may take tasks, now or when it is done draining.
#[must_use]
pub fn is_there(worker: &Worker) -> bool {
    matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining)
}
