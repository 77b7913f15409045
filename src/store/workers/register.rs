//! Registering a worker: idempotent by its id; a newer instance supersedes the older.

use super::{WorkerRecord, columns, models_text};
use crate::events::Wake;
use crate::store::codebases::PutCodebase;
use crate::store::row::{Columns as _, to_json};
use crate::store::sql::statements;
use crate::store::tx::NewEvent;
use crate::store::{ReadAhead, Tx, Write};
use muster_protocol::codebase::{Codebase, CodebaseStatus, GLOBAL_NAME, RegisterCodebase};
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId, WorkerId};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{RegisterWorker as Registration, Worker, WorkerStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Two instances that supersede each other so often within so long are two machines with one id.
const ALTERNATIONS: usize = 3;
const ALTERNATION_MS: u64 = 10 * 60 * 1_000;
/// How many former instances are remembered, so that none of them comes back.
const FORMER_KEPT: usize = 16;
/// How much of a worker's problem is kept, in characters.
const LONGEST_PROBLEM: usize = 1_000;

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
pub(in crate::store) struct Former {
    instance: InstanceId,
    host: Option<String>,
    at: Timestamp,
    /// Whether it was alive, so that this was no restart.
    alive: bool,
}

statements! {
    KNOWN: concat!("SELECT ", columns!(), ", former_instances FROM workers WHERE id IN (SELECT value FROM json_each($1))"),
    postgres: concat!("SELECT ", columns!(), ", former_instances FROM workers WHERE id IN (SELECT json_array_elements_text($1::text::json))");
    FORGET_MODELS: "DELETE FROM worker_models WHERE worker_id = $1";
}

impl Write for RegisterWorker {
    const NAME: &'static str = "register_worker";
    type Output = RegisterOutcome;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.workers.push(self.registration.worker_id.clone());
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<RegisterOutcome> {
        let Registered { record: known, mut former, codebases: had } =
            tx.registered(&self.registration.worker_id).await?.unwrap_or_default();
        if self.registration.instance.is_some_and(|instance| former.iter().any(|f| f.instance == instance)) {
            return Ok(RegisterOutcome::Superseded);
        }
        if self.registration.global_codebase_id.as_ref().is_some_and(|id| had.iter().all(|codebase| codebase.id != *id)) {
            return Ok(RegisterOutcome::ForeignGlobal);
        }
        let registration = self.count_registration(known.as_ref(), &mut former);
        let alarm = self.alarm(known.as_ref(), &former);
        let Put { global, changed, made } = self.put_codebases(tx, known.as_ref(), &had).await?;
        let record = self.record(known.as_ref(), registration, alarm, global);
        self.put(tx, known.as_ref(), &record, &former).await?;
        self.tell(tx, known.as_ref(), &record);
        let same = known.as_ref().is_some_and(|known| known.worker.name == record.worker.name && known.registration == registration);
        if known.is_some() && (changed || !same) {
            // What is known of its tasks and codebases says who it was.
            tx.read_again().await?;
        }
        let codebases = match made {
            Some(made) => made,
            None if changed || !same => tx.codebases_of(&self.registration.worker_id).await?,
            None => had,
        };
        Ok(RegisterOutcome::Registered { record: Box::new(record), codebases })
    }
}

/// A worker that registers, as it is stored.
#[derive(Debug, Default)]
pub(in crate::store) struct Registered {
    record: Option<WorkerRecord>,
    former: Vec<Former>,
    codebases: Vec<Codebase>,
}

impl Registered {
    /// What there is of each: a codebase may be registered before its worker.
    pub(in crate::store) async fn read_all(tx: &mut Tx<'_>, ids: &[WorkerId]) -> sqlx::Result<HashMap<WorkerId, Self>> {
        let mut found: HashMap<WorkerId, Self> = HashMap::new();
        for row in tx.all(KNOWN.on(tx.dialect()).bind(to_json(&ids))).await? {
            let record = WorkerRecord::read(&row)?;
            let id = record.worker.worker_id.clone();
            found.insert(id, Self { record: Some(record), former: row.json("former_instances")?, codebases: Vec::new() });
        }
        for codebase in tx.codebases_of_all(ids).await? {
            if let Some(worker) = codebase.worker_id.clone() {
                found.entry(worker).or_default().codebases.push(codebase);
            }
        }
        Ok(found)
    }
}

/// What became of a registration's codebases.
struct Put {
    /// The worker's global one.
    global: Option<CodebaseId>,
    /// Whether any was changed.
    changed: bool,
    /// All of them, where all are new.
    made: Option<Vec<Codebase>>,
}

impl RegisterWorker {
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

    /// What people should know. First of all two machines with one id, which supersede each other while both are alive; then what the worker
    /// itself says is wrong.
    fn alarm(&self, known: Option<&WorkerRecord>, former: &[Former]) -> Option<String> {
        let fresh = |f: &&Former| f.alive && self.now.since(f.at) < ALTERNATION_MS;
        let recent: Vec<_> = former.iter().filter(fresh).collect();
        let other_host = recent.iter().rev().find(|f| f.host != self.registration.hostname);
        if recent.len() < ALTERNATIONS && other_host.is_none() {
            let problem = self.registration.problem.as_deref().filter(|problem| !problem.trim().is_empty())?;
            return Some(problem.chars().take(LONGEST_PROBLEM).collect());
        }
        let here = self.registration.hostname.as_deref().unwrap_or("an unnamed host");
        let there = other_host.or(recent.last()).and_then(|f| f.host.as_deref()).unwrap_or("an unnamed host");
        let name = known.map_or(self.registration.name.as_str(), |known| known.worker.name.as_str());
        Some(format!(
            "two machines run with the worker id of `{name}`: {there} and {here}; on the one that is the copy, delete the file `worker_id` in the worker's state directory and start it again: it gets an id of its own"
        ))
    }

    /// Puts its codebases and answers which is the global one: the one that it names by id, else by its codebases, else the one it has had, else
    /// a new one; and whether anything was changed.
    async fn put_codebases(&self, tx: &mut Tx<'_>, known: Option<&WorkerRecord>, had: &[Codebase]) -> sqlx::Result<Put> {
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
        if let Some(global) = says_again(&named, had, global.as_ref()) {
            return Ok(Put { global: Some(global), changed: false, made: None });
        }
        // A plain worker registers its codebases one by one; only one that names them all can leave one out.
        if !had.is_empty() && self.registration.protocol_version.is_some() {
            tx.set_codebases_offline(worker, self.now).await?;
        } else if !had.is_empty() {
            tx.set_codebases_online(worker, self.now).await?;
        }
        let mut made = Vec::new();
        for (place, (codebase, id)) in named.iter().zip(&self.new_ids).enumerate() {
            let put = PutCodebase::registered(worker, codebase, id, self.now);
            let id = if named[..place].iter().any(|earlier| earlier.path == codebase.path) {
                put.put(tx).await?.id
            } else {
                made.push(put.made(&self.registration.name));
                put.write(tx, had.iter().find(|known| known.path == codebase.path)).await?
            };
            if codebase.is_global && self.registration.global_codebase_id.is_none() {
                global = Some(id);
            }
        }
        if let Some(global) = global.as_ref().filter(|_| !had.is_empty()) {
            tx.set_global_codebase(worker, global).await?;
        }
        made.sort_by(|a, b| (!a.is_global, &a.name, &a.id).cmp(&(!b.is_global, &b.name, &b.id)));
        let made = (known.is_none() && had.is_empty() && made.len() == named.len()).then_some(made);
        Ok(Put { global, changed: true, made })
    }

    /// The worker as it is stored from now on. A new start takes tasks again, whatever was said to the one before.
    fn record(&self, known: Option<&WorkerRecord>, registration: u64, alarm: Option<String>, global: Option<CodebaseId>) -> WorkerRecord {
        let r = self.registration.clone();
        let same = known.filter(|known| known.registration == registration);
        let worker = Worker {
            worker_id: r.worker_id,
            name: r.name,
            hostname: r.hostname,
            capabilities: r.capabilities,
            models: r.models,
            default_model: r.default_model,
            global_codebase_id: global,
            labels: r.labels,
            slots: r.slots.unwrap_or(1),
            running: 0,
            status: WorkerStatus::Active,
            drain_reason: same.and_then(|known| known.worker.drain_reason.clone()),
            registered_at: known.map_or(self.now, |known| known.worker.registered_at),
            last_seen: self.now,
            protocol_version: r.protocol_version,
            version: r.version,
            os: r.os,
            arch: r.arch,
            opencode_version: r.opencode_version,
            alarm,
        };
        WorkerRecord { worker, instance: r.instance, registration, gone: false, draining: same.is_some_and(|known| known.draining) }
    }

    async fn put(&self, tx: &mut Tx<'_>, known: Option<&WorkerRecord>, record: &WorkerRecord, former: &[Former]) -> sqlx::Result<()> {
        let w = &record.worker;
        let columns = json!([
            w.worker_id,
            w.name,
            w.hostname,
            to_json(&w.capabilities),
            to_json(&w.labels),
            models_text(&w.models),
            w.default_model,
            w.slots,
            w.global_codebase_id,
            w.protocol_version,
            w.version,
            w.os,
            w.arch,
            w.opencode_version,
            record.instance,
            to_json(&former),
            record.registration,
            i64::from(record.draining),
            w.drain_reason,
            w.alarm,
            w.registered_at.0,
            self.now.0,
            self.now.0,
        ]);
        let mut models = BTreeSet::new();
        if known.is_none_or(|known| known.worker.models != w.models) {
            if known.is_some() {
                tx.execute_aside(FORGET_MODELS.on(tx.dialect()).bind(w.worker_id.0.clone())).await?;
            }
            models.extend(w.models.iter().map(|model| model.id.as_str()));
        }
        tx.put_worker(&columns, &models, &w.worker_id).await
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

/// The global codebase of a worker whose codebases are stored already, as it names them and no others.
fn says_again(named: &[RegisterCodebase], had: &[Codebase], global: Option<&CodebaseId>) -> Option<CodebaseId> {
    let is_same = |codebase: &RegisterCodebase, known: &Codebase| {
        (&codebase.name, &codebase.path, &codebase.description) == (&known.name, &known.path, &known.description)
            && (&codebase.git, &codebase.problem) == (&known.git, &known.problem)
            && codebase.parallel.is_none_or(|parallel| parallel == known.parallel)
            && (known.is_global || !codebase.is_global)
    };
    let all_there = named.iter().all(|codebase| had.iter().any(|known| is_same(codebase, known)));
    let no_others = had.iter().all(|known| known.is_global || named.iter().any(|codebase| codebase.path == known.path));
    let all_online = had.iter().all(|known| known.status == CodebaseStatus::Active);
    let mut globals = had.iter().filter(|known| known.is_global).map(|known| &known.id);
    let only = globals.next().filter(|only| globals.next().is_none() && global.is_none_or(|global| global == *only))?;
    (all_there && no_others && all_online).then(|| only.clone())
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
