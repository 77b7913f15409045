//! Registering a worker: idempotent by its id; a newer instance supersedes the older.

use super::{WorkerRecord, models_text};
use crate::events::Wake;
use crate::store::codebases::PutCodebase;
use crate::store::row::{Columns as _, to_int, to_json};
use crate::store::sql::statements;
use crate::store::tx::NewEvent;
use crate::store::{Tx, Write};
use muster_protocol::codebase::{Codebase, GLOBAL_NAME, RegisterCodebase};
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::RegisterWorker as Registration;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Two instances that supersede each other so often within so long are two machines with one id.
const ALTERNATIONS: usize = 3;
const ALTERNATION_MS: u64 = 10 * 60 * 1_000;
/// How many former instances are remembered, so that none of them comes back.
const FORMER_KEPT: usize = 16;

/// Registers a worker.
#[derive(Debug, Clone)]
pub struct RegisterWorker {
    /// What it says of itself.
    pub registration: Registration,
    /// Ids for codebases that are new: one more than it names.
    pub new_ids: Vec<CodebaseId>,
    /// Whether the older instance, if there is one, was heard of within its lease.
    pub older_is_alive: bool,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum RegisterOutcome {
    /// Registered.
    Registered {
        /// The worker.
        record: Box<WorkerRecord>,
        /// Its codebases.
        codebases: Vec<Codebase>,
    },
    /// A newer instance has registered before.
    Superseded,
    /// `global_codebase_id` is another worker's, or nobody's.
    ForeignGlobal,
}

/// An instance that was superseded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Former {
    instance: InstanceId,
    host: Option<String>,
    at: Timestamp,
    /// Whether it was alive, so that this was no restart.
    alive: bool,
}

statements! {
    PUT: "INSERT INTO workers (id, name, hostname, capabilities, labels, models, default_model, slots, global_codebase_id, protocol_version,
        version, os, arch, opencode_version, instance, former_instances, registration, draining, drain_reason, gone, alarm, registered_at,
        updated_at, last_seen)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 0, NULL, 0, $18, $19, $19, $19)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, hostname = excluded.hostname, capabilities = excluded.capabilities,
        labels = excluded.labels, models = excluded.models, default_model = excluded.default_model, slots = excluded.slots,
        global_codebase_id = excluded.global_codebase_id, protocol_version = excluded.protocol_version, version = excluded.version,
        os = excluded.os, arch = excluded.arch, opencode_version = excluded.opencode_version, instance = excluded.instance,
        former_instances = excluded.former_instances, registration = excluded.registration, gone = 0, alarm = excluded.alarm,
        draining = CASE WHEN workers.registration = excluded.registration THEN workers.draining ELSE 0 END,
        drain_reason = CASE WHEN workers.registration = excluded.registration THEN workers.drain_reason END,
        updated_at = excluded.updated_at, last_seen = excluded.last_seen";
    FORMER: "SELECT former_instances FROM workers WHERE id = $1";
    FORGET_MODELS: "DELETE FROM worker_models WHERE worker_id = $1";
    PUT_MODELS: "INSERT INTO worker_models (worker_id, model_id) SELECT DISTINCT $1, value FROM json_each($2)",
    postgres: "INSERT INTO worker_models (worker_id, model_id) SELECT DISTINCT $1, m FROM json_array_elements_text($2::text::json) m";
}

impl Write for RegisterWorker {
    const NAME: &'static str = "register_worker";
    type Output = RegisterOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<RegisterOutcome> {
        let known = tx.worker(&self.registration.worker_id).await?;
        let mut former = self.former(tx).await?;
        if self.registration.instance.is_some_and(|instance| former.iter().any(|f| f.instance == instance)) {
            return Ok(RegisterOutcome::Superseded);
        }
        if let Some(id) = &self.registration.global_codebase_id {
            let global = tx.codebase(id).await?;
            if global.is_none_or(|codebase| codebase.worker_id.as_ref() != Some(&self.registration.worker_id)) {
                return Ok(RegisterOutcome::ForeignGlobal);
            }
        }
        let registration = self.count_registration(known.as_ref(), &mut former);
        let alarm = self.alarm(known.as_ref(), &former);
        let global = self.put_codebases(tx, known.as_ref()).await?;
        self.put(tx, registration, &former, alarm.as_ref(), global).await?;
        self.put_models(tx, known.as_ref()).await?;
        let record = tx.worker(&self.registration.worker_id).await?.ok_or(sqlx::Error::RowNotFound)?;
        self.tell(tx, known.as_ref(), &record);
        let codebases = tx.codebases_of(&self.registration.worker_id).await?;
        Ok(RegisterOutcome::Registered { record: Box::new(record), codebases })
    }
}

impl RegisterWorker {
    async fn former(&self, tx: &mut Tx<'_>) -> sqlx::Result<Vec<Former>> {
        let row = tx.optional(FORMER.on(tx.dialect()).bind(self.registration.worker_id.0.clone())).await?;
        row.map_or(Ok(Vec::new()), |row| row.json("former_instances"))
    }

    /// The registration number: one more with every new instance, whose predecessor goes to the former ones.
    fn count_registration(&self, known: Option<&WorkerRecord>, former: &mut Vec<Former>) -> u64 {
        let Some(known) = known else { return 1 };
        if known.instance == self.registration.instance {
            return known.registration.max(1);
        }
        if let Some(instance) = known.instance {
            let alive = self.older_is_alive && !known.gone;
            former.push(Former { instance, host: known.worker.hostname.clone(), at: self.now, alive });
            let surplus = former.len().saturating_sub(FORMER_KEPT);
            former.drain(..surplus);
        }
        known.registration + 1
    }

    /// Two machines with one id: they supersede each other while both are alive.
    fn alarm(&self, known: Option<&WorkerRecord>, former: &[Former]) -> Option<String> {
        let fresh = |f: &&Former| f.alive && self.now.since(f.at) < ALTERNATION_MS;
        let recent: Vec<_> = former.iter().filter(fresh).collect();
        let other_host = recent.iter().rev().find(|f| f.host != self.registration.hostname);
        if recent.len() < ALTERNATIONS && other_host.is_none() {
            return None;
        }
        let here = self.registration.hostname.as_deref().unwrap_or("an unnamed host");
        let there = other_host.or(recent.last()).and_then(|f| f.host.as_deref()).unwrap_or("an unnamed host");
        let name = known.map_or(self.registration.name.as_str(), |known| known.worker.name.as_str());
        Some(format!(
            "two machines run with the worker id of `{name}`: {there} and {here}; give one of them a new id by removing its copied state directory"
        ))
    }

    /// Puts its codebases and answers which is the global one: the one that it names by id, else by its codebases, else the one it has had, else
    /// a new one.
    async fn put_codebases(&self, tx: &mut Tx<'_>, known: Option<&WorkerRecord>) -> sqlx::Result<Option<CodebaseId>> {
        let worker = &self.registration.worker_id;
        let mut named = self.registration.codebases.clone();
        let names_global = named.iter().any(|codebase| codebase.is_global);
        let mut global = self.registration.global_codebase_id.clone();
        if global.is_none() && !names_global {
            global = known.and_then(|known| known.worker.global_codebase_id.clone());
            if global.is_none() {
                named.push(home());
            }
        }
        // A plain worker registers its codebases one by one; only one that names them all can leave one out.
        if self.registration.protocol_version.is_some() {
            tx.set_codebases_offline(worker, self.now).await?;
        } else {
            tx.set_codebases_online(worker, self.now).await?;
        }
        for (codebase, id) in named.iter().zip(&self.new_ids) {
            let put = PutCodebase::registered(worker, codebase, id, self.now).put(tx).await?;
            if codebase.is_global && self.registration.global_codebase_id.is_none() {
                global = Some(put.id);
            }
        }
        if let Some(global) = &global {
            tx.set_global_codebase(worker, global).await?;
        }
        Ok(global)
    }

    async fn put(
        &self,
        tx: &mut Tx<'_>,
        registration: u64,
        former: &[Former],
        alarm: Option<&String>,
        global: Option<CodebaseId>,
    ) -> sqlx::Result<()> {
        let r = &self.registration;
        let statement = PUT
            .on(tx.dialect())
            .bind(r.worker_id.0.clone())
            .bind(r.name.clone())
            .bind(r.hostname.clone())
            .bind(to_json(&r.capabilities))
            .bind(to_json(&r.labels))
            .bind(models_text(&r.models))
            .bind(r.default_model.clone())
            .bind(i64::from(r.slots.unwrap_or(1)))
            .bind(global.map(|id| id.0))
            .bind(r.protocol_version.map(i64::from))
            .bind(r.version.clone())
            .bind(r.os.clone())
            .bind(r.arch.clone())
            .bind(r.opencode_version.clone())
            .bind(r.instance.map(|instance| instance.to_string()))
            .bind(to_json(&former))
            .bind(to_int(registration))
            .bind(alarm.cloned())
            .bind(self.now.0);
        tx.execute(statement).await.map(|_| ())
    }

    async fn put_models(&self, tx: &mut Tx<'_>, known: Option<&WorkerRecord>) -> sqlx::Result<()> {
        if known.is_some_and(|known| known.worker.models == self.registration.models) {
            return Ok(());
        }
        let worker = self.registration.worker_id.0.clone();
        let models: Vec<_> = self.registration.models.iter().map(|model| model.id.as_str()).collect();
        tx.execute(FORGET_MODELS.on(tx.dialect()).bind(worker.clone())).await?;
        if !models.is_empty() {
            tx.execute(PUT_MODELS.on(tx.dialect()).bind(worker).bind(to_json(&models))).await?;
        }
        Ok(())
    }

    /// One event for what is new; none for the same again.
    fn tell(&self, tx: &mut Tx<'_>, known: Option<&WorkerRecord>, record: &WorkerRecord) {
        let (worker, subject) = (&record.worker, format!("workers/{}", record.worker.worker_id));
        let is_new = known.is_none_or(|known| known.gone || known.registration != record.registration);
        let changed = known.is_some_and(|known| facts(known) != facts(record));
        if is_new || changed {
            let kind = if is_new { kind::WORKER_REGISTERED } else { kind::WORKER_CHANGED };
            let data = json!({
                "name": worker.name, "hostname": worker.hostname, "capabilities": worker.capabilities, "labels": worker.labels,
                "slots": worker.slots, "models": worker.models.len(), "registration": record.registration,
                "opencode_version": worker.opencode_version,
            });
            tx.event(NewEvent { kind, subject: subject.clone(), at: self.now, data });
        }
        let old_alarm = known.and_then(|known| known.worker.alarm.as_ref());
        if let Some(alarm) = worker.alarm.as_ref().filter(|alarm| Some(*alarm) != old_alarm) {
            tx.event(NewEvent { kind: kind::WORKER_ALARM, subject, at: self.now, data: json!({ "message": alarm }) });
        }
        tx.wake(Wake::Worker(worker.worker_id.clone()));
    }
}

/// The global codebase of a worker that does not say where its home is.
fn home() -> RegisterCodebase {
    RegisterCodebase {
        name: GLOBAL_NAME.to_owned(),
        path: "~".to_owned(),
        description: "the home directory".to_owned(),
        is_global: true,
        parallel: None,
        git: None,
        problem: None,
    }
}

/// What makes a difference worth an event.
fn facts(record: &WorkerRecord) -> serde_json::Value {
    let w = &record.worker;
    json!([w.name, w.hostname, w.capabilities, w.labels, w.slots, w.models, w.opencode_version, w.version])
}
