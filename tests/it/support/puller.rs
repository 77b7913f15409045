//! A pulling worker without an OpenCode: it speaks the worker's protocol, and does what a case wants.

use super::wait::wait_for;
use anyhow::{Context, Result};
use muster_protocol::client::{Client, ClientError};
use muster_protocol::digest::OutputDigest;
use muster_protocol::ids::{InstanceId, TaskId, WorkerId};
use muster_protocol::stream::{AppendEntries, Appended, Delta, Entry, EntryKind};
use muster_protocol::task::{Assignment, ReportStatus, ReportedStatus, Task};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{AttemptState, Pull, Pulled, RegisterWorker, Registered, RunningAttempt};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(10);

/// A worker that pulls. Its name is its id.
pub(crate) struct Puller {
    pub(crate) registered: Registered,
    pub(crate) instance: InstanceId,
    client: Client,
    pulls: AtomicU64,
}

impl Puller {
    /// Registers one with the capability `opencode`, two slots and what `more` says.
    pub(crate) async fn register(client: &Client, name: &str, more: Value) -> Result<Self> {
        Self::register_instance(client, name, InstanceId(Uuid::new_v4()), more).await.with_context(|| format!("registering {name}"))
    }

    /// The same as one start of the daemon.
    pub(crate) async fn register_instance(client: &Client, name: &str, instance: InstanceId, more: Value) -> Result<Self> {
        let mut body = json!({
            "worker_id": name, "name": name, "hostname": "here", "protocol_version": 1, "instance": instance, "slots": 2,
            "capabilities": ["opencode"], "models": [{ "id": "fake/echo", "name": "Echo", "provider": "Fake", "provider_id": "fake" }],
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let body: RegisterWorker = serde_json::from_value(body)?;
        let registered = client.register(&body).await?;
        Ok(Self { registered, instance, client: client.clone(), pulls: AtomicU64::new(0) })
    }

    pub(crate) fn id(&self) -> &WorkerId {
        &self.registered.worker.worker_id
    }

    /// The next pull.
    pub(crate) fn next_pull(&self, running: &[RunningAttempt], wait: Duration) -> Pull {
        Pull {
            instance: self.instance,
            registration: self.registered.registration,
            pull_seq: self.pulls.fetch_add(1, Ordering::Relaxed) + 1,
            wait_ms: u64::try_from(wait.as_millis()).ok(),
            running: running.to_vec(),
        }
    }

    /// Pulls once.
    pub(crate) async fn pull(&self, running: &[RunningAttempt], wait: Duration) -> Result<Pulled, ClientError> {
        self.client.pull(self.id(), &self.next_pull(running, wait)).await
    }

    /// Pulls until a task is assigned.
    pub(crate) async fn take(&self) -> Result<Assignment> {
        wait_for("an assignment", LIMIT, async || {
            let pulled = self.pull(&[], Duration::from_secs(5)).await?;
            Ok(pulled.assign.into_iter().next())
        })
        .await
    }

    /// Says something of an attempt.
    pub(crate) async fn report(&self, of: &Assignment, status: ReportedStatus, more: Value) -> Result<Task, ClientError> {
        let mut body = json!({ "status": status, "worker_id": self.id(), "instance": self.instance, "attempt": of.attempt });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let malformed = |e: serde_json::Error| ClientError::Malformed { server: String::new(), reason: e.to_string() };
        let body: ReportStatus = serde_json::from_value(body).map_err(malformed)?;
        Ok(self.client.report_status(of.task.id, &body).await?.task)
    }

    /// Begins an attempt in a session.
    pub(crate) async fn start(&self, of: &Assignment, session: &str) -> Result<Task, ClientError> {
        self.report(of, ReportedStatus::Running, json!({ "session_id": session })).await
    }

    /// Sends entries from `first_seq` on.
    pub(crate) async fn append(&self, of: &Assignment, first_seq: u64, texts: &[&str]) -> Result<Appended, ClientError> {
        let body = AppendEntries {
            worker_id: self.id().clone(),
            instance: Some(self.instance),
            attempt: of.attempt,
            first_seq,
            entries: entries(first_seq, texts),
        };
        self.client.append_entries(of.task.id, &body).await
    }

    /// Sends one entry.
    pub(crate) async fn tell(&self, of: &Assignment, seq: u64, kind: EntryKind, data: &Value) -> Result<Appended, ClientError> {
        let body = AppendEntries {
            worker_id: self.id().clone(),
            instance: Some(self.instance),
            attempt: of.attempt,
            first_seq: seq,
            entries: vec![Entry::new(seq, Timestamp(1_700_000_000_000), kind, data)],
        };
        self.client.append_entries(of.task.id, &body).await
    }

    /// Runs a task that it was given to its end: says `texts`, and all of them as its result.
    pub(crate) async fn run(&self, of: &Assignment, texts: &[&str]) -> Result<Task> {
        self.start(of, &format!("ses_{}", of.task.context_id)).await?;
        self.append(of, 0, texts).await?;
        let mut digest = OutputDigest::default();
        for entry in &entries(0, texts) {
            digest.add(entry);
        }
        let end = json!({ "result": texts.concat(), "entries": texts.len(), "bytes": digest.bytes, "hash": digest.hash });
        Ok(self.report(of, ReportedStatus::Completed, end).await?)
    }
}

/// Pieces of an answer as entries; the same each time.
fn entries(first_seq: u64, texts: &[&str]) -> Vec<Entry> {
    let delta = |text: &&str| Delta { part: "p1".to_owned(), delta: (*text).to_owned() };
    let at = Timestamp(1_700_000_000_000);
    (first_seq..).zip(texts).map(|(seq, text)| Entry::new(seq, at, EntryKind::Text, &delta(text))).collect()
}

/// An attempt as a pull names it.
pub(crate) fn running(task: TaskId, attempt: u64) -> RunningAttempt {
    RunningAttempt { task_id: task, attempt, state: AttemptState::Started, next_seq: 0, stopping: false }
}
