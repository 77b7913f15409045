//! Workers: registering, leaving, draining, and reading them.

mod register;

pub(in crate::store) use register::Registered;
pub use register::{RegisterOutcome, RegisterWorker};

use super::row::{Columns as _, to_json};
use super::sql::{Sql, statements};
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::domain::loss::Loss;
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId, WorkerId};
use muster_protocol::model::Model;
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{Worker, WorkerStatus};
use serde_json::json;
use sqlx::any::AnyRow;

/// A worker with what only the store and the decisions need to know of it.
#[derive(Debug, Clone)]
pub struct WorkerRecord {
    /// The worker as it is shown; `status`, `running` and `last_seen` are filled in by whoever knows them.
    pub worker: Worker,
    /// The start of the daemon that may act for it.
    pub instance: Option<InstanceId>,
    /// Rises with every new instance.
    pub registration: u64,
    /// Whether it left.
    pub gone: bool,
    /// Whether it takes nothing new.
    pub draining: bool,
}

impl WorkerRecord {
    /// Whether it only polls.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.worker.protocol_version.is_none()
    }
}

macro_rules! columns {
    () => {
        "id, name, hostname, capabilities, labels, models, default_model, slots, global_codebase_id, protocol_version, version, os, arch, \
         opencode_version, instance, registration, draining, drain_reason, gone, alarm, registered_at, last_seen"
    };
}

pub(in crate::store) use columns;

statements! {
    GET: concat!("SELECT ", columns!(), " FROM workers WHERE id = $1");
    LIST: concat!("SELECT ", columns!(), " FROM workers ORDER BY name, id");
    WITH_MODEL: concat!("SELECT ", columns!(), " FROM worker_models m JOIN workers ON id = m.worker_id WHERE m.model_id = $1 ORDER BY name, id");
    SEEN: "UPDATE workers SET last_seen = value ->> 1 FROM json_each($1) WHERE workers.id = value ->> 0 AND last_seen < value ->> 1",
    postgres: "UPDATE workers SET last_seen = (v ->> 1)::bigint FROM json_array_elements($1::text::json) v
        WHERE workers.id = v ->> 0 AND last_seen < (v ->> 1)::bigint";
    LEAVE: "UPDATE workers SET gone = 1, draining = 0, drain_reason = NULL, last_seen = $2, updated_at = $2 WHERE id = $1";
    DRAIN: "UPDATE workers SET draining = $2, drain_reason = $3, updated_at = $4 WHERE id = $1";
    SUPERSEDED: "SELECT COUNT(*) AS n FROM workers WHERE id = $1 AND instr(former_instances, $2) > 0",
    postgres: "SELECT COUNT(*) AS n FROM workers WHERE id = $1 AND strpos(former_instances, $2) > 0";
    CODEBASES_OFFLINE: "UPDATE codebases SET offline = 1, updated_at = $2 WHERE worker_id = $1";
}

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    ALL.iter().chain(register::ALL)
}

impl WorkerRecord {
    fn read(row: &AnyRow) -> sqlx::Result<Self> {
        let version = row.maybe_int("protocol_version")?;
        let worker = Worker {
            worker_id: WorkerId(row.text("id")?),
            name: row.text("name")?,
            hostname: row.maybe_text("hostname")?,
            capabilities: row.json("capabilities")?,
            models: row.json::<Vec<Model>>("models")?,
            default_model: row.maybe_text("default_model")?,
            global_codebase_id: row.maybe_text("global_codebase_id")?.map(CodebaseId),
            labels: row.json("labels")?,
            slots: row.small("slots")?,
            running: 0,
            status: WorkerStatus::Active,
            drain_reason: row.maybe_text("drain_reason")?,
            registered_at: row.time("registered_at")?,
            last_seen: row.time("last_seen")?,
            protocol_version: version.and_then(|version| u32::try_from(version).ok()),
            version: row.maybe_text("version")?,
            os: row.maybe_text("os")?,
            arch: row.maybe_text("arch")?,
            opencode_version: row.maybe_text("opencode_version")?,
            alarm: row.maybe_text("alarm")?,
        };
        Ok(Self {
            worker,
            instance: row.maybe_parsed("instance")?,
            registration: row.count("registration")?,
            gone: row.flag("gone")?,
            draining: row.flag("draining")?,
        })
    }
}

impl Store {
    /// A worker.
    ///
    /// # Errors
    /// Of the database.
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.0.clone()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(WorkerRecord::read).transpose()?)
    }

    /// All workers, or those that have a model, by name.
    ///
    /// # Errors
    /// Of the database.
    pub async fn workers(&self, model: Option<&str>) -> Result<Vec<WorkerRecord>, StoreError> {
        let query = match model.filter(|model| !model.is_empty()) {
            Some(model) => WITH_MODEL.on(self.dialect()).bind(model.to_owned()),
            None => LIST.on(self.dialect()),
        };
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(WorkerRecord::read).collect::<sqlx::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Whether a start of a worker's daemon has been superseded by a newer one: nothing that it says counts any more.
    pub(in crate::store) async fn is_superseded(&mut self, worker: &WorkerId, instance: Option<InstanceId>) -> sqlx::Result<bool> {
        let Some(instance) = instance else { return Ok(false) };
        let statement = SUPERSEDED.on(self.dialect()).bind(worker.0.clone()).bind(instance.to_string());
        Ok(self.optional(statement).await?.map(|row| row.int("n")).transpose()?.unwrap_or(0) > 0)
    }

    pub(in crate::store) async fn worker(&mut self, id: &WorkerId) -> sqlx::Result<Option<WorkerRecord>> {
        self.optional(GET.on(self.dialect()).bind(id.0.clone())).await?.as_ref().map(WorkerRecord::read).transpose()
    }
}

/// Keeps when workers were heard of last, for after a restart.
#[derive(Debug, Clone)]
pub struct SaveSeen {
    /// Whom, and when.
    pub seen: Vec<(WorkerId, Timestamp)>,
}

impl Write for SaveSeen {
    const NAME: &'static str = "save_seen";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let seen: Vec<_> = self.seen.iter().map(|(worker, at)| (worker, at.0)).collect();
        tx.execute_aside(SEEN.on(tx.dialect()).bind(to_json(&seen))).await?;
        Ok(())
    }
}

/// A worker leaves: its attempts are lost, its codebases go offline.
#[derive(Debug, Clone)]
pub struct UnregisterWorker {
    /// Who.
    pub worker: WorkerId,
    /// When.
    pub now: Timestamp,
}

impl Write for UnregisterWorker {
    const NAME: &'static str = "unregister_worker";
    /// Whether there was such a worker.
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let dialect = tx.dialect();
        let Some(known) = tx.worker(&self.worker).await? else { return Ok(false) };
        if known.gone {
            return Ok(true);
        }
        tx.execute(LEAVE.on(dialect).bind(self.worker.0.clone()).bind(self.now.0)).await?;
        tx.wake(Wake::Registry);
        // A worker that pulls may not know of it yet and still run what it has; a plain one has no lease that says by when it has stopped.
        let loss = if known.is_plain() { Loss::Left } else { Loss::Removed };
        for record in tx.tasks_held_by(&self.worker).await? {
            super::attempts::lose(tx, &record, loss, None, self.now).await?;
        }
        tx.execute(CODEBASES_OFFLINE.on(dialect).bind(self.worker.0.clone()).bind(self.now.0)).await?;
        let subject = format!("workers/{}", self.worker);
        tx.event(NewEvent { kind: kind::WORKER_UNREGISTERED, subject, at: self.now, data: json!({}) });
        tx.wake(Wake::Worker(self.worker.clone()));
        Ok(true)
    }
}

/// A worker is to take nothing new, or to take tasks again.
#[derive(Debug, Clone)]
pub struct DrainWorker {
    /// Who.
    pub worker: WorkerId,
    /// Why; `None` means that it takes tasks again.
    pub drain: Option<String>,
    /// When.
    pub now: Timestamp,
}

impl Write for DrainWorker {
    const NAME: &'static str = "drain_worker";
    /// Whether there is such a worker.
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let statement = DRAIN.on(tx.dialect()).bind(self.worker.0.clone()).bind(i64::from(self.drain.is_some()));
        if tx.execute(statement.bind(self.drain.clone()).bind(self.now.0)).await? == 0 {
            return Ok(false);
        }
        let kind = if self.drain.is_some() { kind::WORKER_DRAINING } else { kind::WORKER_RESUMED };
        let data = json!({ "reason": self.drain });
        tx.event(NewEvent { kind, subject: format!("workers/{}", self.worker), at: self.now, data });
        tx.wake(Wake::Registry);
        tx.wake(Wake::Worker(self.worker.clone()));
        Ok(true)
    }
}

/// A worker is not heard of any more, or is back.
#[derive(Debug, Clone)]
pub struct NotePresence {
    /// Who.
    pub worker: WorkerId,
    /// Whether it is back.
    pub back: bool,
    /// When.
    pub now: Timestamp,
}

impl Write for NotePresence {
    const NAME: &'static str = "note_presence";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let kind = if self.back { kind::WORKER_BACK } else { kind::WORKER_LOST };
        tx.event(NewEvent { kind, subject: format!("workers/{}", self.worker), at: self.now, data: json!({}) });
        Ok(())
    }
}

/// The text of a column for models, to see whether they changed.
pub(super) fn models_text(models: &[Model]) -> String {
    to_json(&models)
}
