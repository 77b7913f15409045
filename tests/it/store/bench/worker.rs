//! What a worker says: registering, reporting, appending.

use super::{Bench, Daemon, codebase, home};
use anyhow::{Result, bail};
use muster::store::attempts::{Report, ReportOutcome};
use muster::store::stream::{AppendEntries, AppendOutcome};
use muster::store::tasks::TaskRecord;
use muster::store::workers::{RegisterOutcome, RegisterWorker};
use muster_protocol::ids::{CodebaseId, InstanceId, SessionId, TaskId};
use muster_protocol::model::Model;
use muster_protocol::stream::{Entry, EntryKind};
use muster_protocol::task::{Assignment, ReportStatus, ReportedStatus};
use muster_protocol::worker::RegisterWorker as Registration;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Bench {
    /// What a worker with one slot and an OpenCode says of itself.
    pub(crate) fn registration(&self, name: &str) -> Registration {
        Registration {
            worker_id: name.into(),
            name: name.to_owned(),
            capabilities: vec!["opencode".to_owned()],
            hostname: Some(format!("{name}.host")),
            models: Vec::new(),
            default_model: None,
            global_codebase_id: None,
            protocol_version: Some(1),
            instance: Some(InstanceId(self.uuid())),
            version: Some("0.1.0".to_owned()),
            os: Some("linux".to_owned()),
            arch: Some("x86_64".to_owned()),
            labels: BTreeMap::new(),
            slots: Some(1),
            codebases: vec![home()],
            opencode_version: Some("1.0.0".to_owned()),
            problem: None,
        }
    }

    pub(crate) async fn registered(&self, registration: Registration, older_is_alive: bool) -> Result<RegisterOutcome> {
        let new_ids = (0..=registration.codebases.len()).map(|_| CodebaseId(self.uuid().to_string())).collect();
        Ok(self.store.write(RegisterWorker { registration, new_ids, older_is_alive, now: self.now() }).await?)
    }

    pub(crate) async fn register(&self, registration: Registration) -> Result<Daemon> {
        let instance = registration.instance.unwrap_or(InstanceId(self.uuid()));
        match self.registered(registration, false).await? {
            RegisterOutcome::Registered { record, codebases } => Ok(Daemon {
                id: record.worker.worker_id,
                instance,
                registration: record.registration,
                global: record.worker.global_codebase_id.unwrap_or(CodebaseId(String::new())),
                codebases: codebases.into_iter().map(|c| (c.name, c.id)).collect(),
            }),
            other => bail!("not registered: {other:?}"),
        }
    }

    /// A worker with so many slots and these codebases beside its home.
    pub(crate) async fn worker(&self, name: &str, slots: u32, codebases: &[&str]) -> Result<Daemon> {
        let codebases = [home()].into_iter().chain(codebases.iter().map(|name| codebase(name))).collect();
        self.register(Registration { slots: Some(slots), codebases, ..self.registration(name) }).await
    }

    /// A worker that only polls.
    pub(crate) async fn plain_worker(&self, name: &str) -> Result<Daemon> {
        let registration = self.registration(name);
        self.register(Registration { protocol_version: None, instance: None, codebases: Vec::new(), slots: None, ..registration }).await
    }

    pub(crate) async fn report_outcome(&self, task: TaskId, report: ReportStatus) -> Result<ReportOutcome> {
        Ok(self.store.write(Report { task, report, now: self.now() }).await?)
    }

    /// A report of the current attempt that is taken in.
    pub(crate) async fn report(&self, assignment: &Assignment, report: ReportStatus) -> Result<TaskRecord> {
        match self.report_outcome(assignment.task.id, report).await? {
            ReportOutcome::Taken(record) => Ok(*record),
            other => bail!("the report was refused: {other:?}"),
        }
    }

    /// Begins an attempt in a session.
    pub(crate) async fn start(&self, worker: &Daemon, assignment: &Assignment, session: &str) -> Result<TaskRecord> {
        let session_id = Some(SessionId::from(session));
        self.report(assignment, ReportStatus { session_id, ..says(worker, assignment, ReportedStatus::Running) }).await
    }

    /// Ends an attempt well.
    pub(crate) async fn complete(&self, worker: &Daemon, assignment: &Assignment) -> Result<TaskRecord> {
        self.report(assignment, says(worker, assignment, ReportedStatus::Completed)).await
    }

    pub(crate) async fn append(&self, worker: &Daemon, at: &Assignment, entries: Vec<Entry>) -> Result<AppendOutcome> {
        let first_seq = entries.first().map(|entry| entry.seq);
        let (task, attempt, worker) = (at.task.id, Some(at.attempt), worker.id.clone());
        Ok(self.store.write(AppendEntries { task, worker, instance: None, attempt, entries, first_seq, now: self.now() }).await?)
    }
}

/// A report without more to it.
pub(crate) fn says(worker: &Daemon, assignment: &Assignment, status: ReportedStatus) -> ReportStatus {
    ReportStatus { attempt: Some(assignment.attempt), ..plainly_says(worker, status) }
}

/// A report that names no attempt.
pub(crate) fn plainly_says(worker: &Daemon, status: ReportedStatus) -> ReportStatus {
    ReportStatus {
        status,
        worker_id: worker.id.clone(),
        instance: None,
        attempt: None,
        result: None,
        error: None,
        error_code: None,
        session_id: None,
        usage: None,
        changes: Vec::new(),
        entries: None,
        bytes: None,
        hash: None,
    }
}

/// A text entry.
pub(crate) fn text(bench: &Bench, seq: u64, delta: &str) -> Entry {
    entry(bench, seq, &json!({ "part": "p", "delta": delta }))
}

pub(crate) fn entry(bench: &Bench, seq: u64, data: &Value) -> Entry {
    Entry::new(seq, bench.now(), EntryKind::Text, data)
}

pub(crate) fn model(id: &str) -> Model {
    Model {
        id: id.to_owned(),
        name: id.to_owned(),
        provider: String::new(),
        provider_id: String::new(),
        capabilities: muster_protocol::model::ModelCapabilities::default(),
        limits: Value::Null,
        cost: Value::Null,
    }
}
