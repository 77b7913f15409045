//! Operations on workers.

use crate::app::App;
use crate::domain::lease::Renewal;
use crate::error::{ApiError, FieldError};
use crate::presence::is_there;
use crate::store::StoreError;
use crate::store::attempts::MarkReconnected;
use crate::store::claim::{ReserveTask, Reserved};
use crate::store::workers::{DrainWorker, RegisterOutcome, RegisterWorker, UnregisterWorker, WorkerRecord};
use crate::sync::lock;
use muster_protocol::codebase::Codebase;
use muster_protocol::error::code;
use muster_protocol::ids::{CodebaseId, TaskId, WorkerId, is_acceptable_id};
use muster_protocol::worker::RegisterWorker as Registration;
use std::collections::BTreeMap;

const LONGEST_NAME: usize = 200;
const MOST_SLOTS: u32 = 1_000;
const MOST_CODEBASES: usize = 1_000;
const MOST_MODELS: usize = 5_000;

/// 404.
#[must_use]
pub fn not_found(id: &WorkerId) -> ApiError {
    ApiError::not_found("worker", id)
}

impl App {
    /// Registers a worker.
    ///
    /// # Errors
    /// 422 with every wrong field; 409 `superseded`.
    pub async fn register_worker(&self, registration: Registration) -> Result<(WorkerRecord, Vec<Codebase>), ApiError> {
        check(&registration)?;
        let now = self.now();
        let new_ids = (0..=registration.codebases.len()).map(|_| CodebaseId(self.ids.uuid(now).to_string())).collect();
        let older = self.store.worker(&registration.worker_id).await?;
        let older_is_alive = older.is_some_and(|older| is_there(&self.shown(&older, &BTreeMap::new())));
        let id = registration.worker_id.clone();
        let write = RegisterWorker { registration, new_ids, older_is_alive, now };
        match self.store.write(write).await? {
            RegisterOutcome::Registered { record, codebases } => {
                self.heard_of(&id);
                if record.is_plain() {
                    lock(&self.leases).doubt(&id);
                }
                Ok((*record, codebases))
            }
            RegisterOutcome::Superseded => {
                Err(ApiError::conflict(code::SUPERSEDED, "a newer instance of this worker has registered; this one must stop"))
            }
            RegisterOutcome::ForeignGlobal => {
                Err(ApiError::invalid("global_codebase_id", "is not the id of a codebase of this worker; leave it out to have one made"))
            }
        }
    }

    /// A worker leaves; what it still ran is lost.
    ///
    /// # Errors
    /// 404.
    pub async fn unregister_worker(&self, id: &WorkerId) -> Result<(), ApiError> {
        let left = self.store.write(UnregisterWorker { worker: id.clone(), now: self.now() }).await?;
        if left { Ok(()) } else { Err(not_found(id)) }
    }

    /// A worker takes nothing new (with the reason), or tasks again (`None`).
    ///
    /// # Errors
    /// 404.
    pub async fn drain_worker(&self, id: &WorkerId, drain: Option<String>) -> Result<(), ApiError> {
        let there = self.store.write(DrainWorker { worker: id.clone(), drain, now: self.now() }).await?;
        if there { Ok(()) } else { Err(not_found(id)) }
    }

    /// A plain worker says that it is there.
    ///
    /// # Errors
    /// 404.
    pub async fn heartbeat(&self, id: &WorkerId) -> Result<(), ApiError> {
        self.store.worker(id).await?.ok_or_else(|| not_found(id))?;
        self.heard_of(id);
        Ok(self.plain_called(id).await?)
    }

    /// A worker made a call that names none of its attempts. From a plain one this renews what it has and brings back what was lost with it; one that
    /// pulls says with its pulls that it is there.
    ///
    /// # Errors
    /// Of the store.
    pub async fn plain_called(&self, id: &WorkerId) -> Result<(), StoreError> {
        match self.store.worker(id).await? {
            Some(record) if record.is_plain() => {
                self.heard_of(id);
                self.renew_plain(id).await
            }
            _ => Ok(()),
        }
    }

    /// The same, where the worker is known to be a plain one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn renew_plain(&self, id: &WorkerId) -> Result<(), StoreError> {
        let deadline = self.clock.uptime() + self.config.leases.plain_lease;
        let back = lock(&self.leases).renew_all(id, deadline);
        for (task, attempt) in back {
            self.store.write(MarkReconnected { task, attempt, now: self.now() }).await?;
        }
        Ok(())
    }

    /// Any call under an attempt renews its lease.
    ///
    /// # Errors
    /// Of the store.
    pub async fn renew_one(
        &self,
        worker: &WorkerId,
        (task, attempt): (TaskId, u64),
        is_plain: bool,
        was_disconnected: bool,
    ) -> Result<(), ApiError> {
        let deadline = self.clock.uptime() + self.lease_of(is_plain);
        let renewal = lock(&self.leases).renew(task, attempt, worker, deadline);
        if renewal == Renewal::Reconnected || was_disconnected {
            self.store.write(MarkReconnected { task, attempt, now: self.now() }).await?;
        }
        Ok(())
    }

    /// What a plain worker that polls is shown: the task that is reserved for it, now or with an earlier poll.
    ///
    /// # Errors
    /// Of the store.
    pub async fn reserve(&self, worker: &WorkerId) -> Result<Reserved, StoreError> {
        let reserved = self.store.write(ReserveTask { worker: worker.clone(), now: self.now() }).await?;
        match &reserved {
            Reserved::NotRegistered => return Ok(reserved),
            Reserved::NotPlain => self.heard_of(worker),
            Reserved::Nothing | Reserved::Task(_) | Reserved::Again(_) => {
                self.heard_of(worker);
                self.renew_plain(worker).await?;
            }
        }
        let (now, lasts) = (self.clock.uptime(), self.config.leases.reservation);
        match reserved {
            Reserved::Task(task) => {
                lock(&self.leases).reserve(task.id, task.attempt, worker.clone(), now, lasts);
                Ok(Reserved::Task(task))
            }
            Reserved::Again(task) if !lock(&self.leases).show_again(task.id, task.attempt, worker, now, lasts) => Ok(Reserved::Nothing),
            other => Ok(other),
        }
    }
}

/// Names each bad field at once.
fn check(r: &Registration) -> Result<(), ApiError> {
    let mut fields = Vec::new();
    let mut wrong = |field: String, message: &str| fields.push(FieldError::new(field, message));
    if !is_acceptable_id(r.worker_id.as_str()) {
        wrong("worker_id".into(), "must be 1 to 128 printable ASCII characters without space or slash");
    }
    if r.name.trim().is_empty() || r.name.len() > LONGEST_NAME {
        wrong("name".into(), "must have 1 to 200 bytes");
    }
    if r.slots.is_some_and(|slots| !(1..=MOST_SLOTS).contains(&slots)) {
        wrong("slots".into(), "must be from 1 to 1000");
    }
    if r.protocol_version.is_some() && r.instance.is_none() {
        wrong("instance".into(), "is missing: a worker that pulls must say which start of its daemon it is");
    }
    if r.models.len() > MOST_MODELS {
        wrong("models".into(), "are too many");
    }
    for (n, model) in r.models.iter().enumerate() {
        if !model.id.split_once('/').is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty()) {
            wrong(format!("models[{n}].id"), "must be `provider/model`");
        }
    }
    if r.codebases.len() > MOST_CODEBASES {
        wrong("codebases".into(), "are too many");
    }
    if r.codebases.iter().filter(|codebase| codebase.is_global).count() > 1 {
        wrong("codebases".into(), "only one can be the global one");
    }
    for (n, codebase) in r.codebases.iter().enumerate() {
        if codebase.name.trim().is_empty() || codebase.name.len() > LONGEST_NAME {
            wrong(format!("codebases[{n}].name"), "must have 1 to 200 bytes");
        }
        if !(codebase.path.starts_with('/') || codebase.path.starts_with('~')) {
            wrong(format!("codebases[{n}].path"), "must be an absolute path");
        }
        if codebase.parallel == Some(0) {
            wrong(format!("codebases[{n}].parallel"), "must be at least 1");
        }
    }
    if fields.is_empty() { Ok(()) } else { Err(ApiError::Invalid { fields }) }
}
