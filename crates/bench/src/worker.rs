//! A worker as the server sees one: what it sends, as prepared bytes.

use crate::http::{Connection, request};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use muster_protocol::digest::OutputDigest;
use muster_protocol::stream::{Delta, Entry, EntryKind};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::net::SocketAddr;
use uuid::Uuid;

/// How many models there are in the world that workers choose theirs from.
const MODELS: usize = 5_000;

/// A registered worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    /// Its id.
    pub(crate) id: String,
    instance: Uuid,
    registration: u64,
    pulls: u64,
    address: SocketAddr,
    /// The id of its home directory.
    pub(crate) home: String,
}

/// The body of a registration. Models are taken from the world from the `n`-th on, so that each is on few of many workers.
#[must_use]
pub(crate) fn registration(id: &str, instance: Uuid, n: usize, models: usize, slots: u32) -> Value {
    let models: Vec<_> = (0..models)
        .map(|m| {
            let model = (n * models + m) % MODELS;
            json!({
                "id": model_name(model), "name": format!("Model {model}"), "provider": "Provider", "provider_id": "provider",
                "capabilities": { "reasoning": true, "attachment": false, "tool_call": true },
                "limits": { "context": 200_000, "output": 32_000 }, "cost": { "input": 3.0, "output": 15.0 },
            })
        })
        .collect();
    json!({
        "worker_id": id, "name": id, "hostname": "bench", "capabilities": ["opencode"], "models": models, "protocol_version": 1,
        "instance": instance, "version": "0.1.0", "os": "linux", "arch": "x86_64", "labels": { "rack": "r1" }, "slots": slots,
        "codebases": [{ "name": "global", "path": "/srv", "is_global": true }], "opencode_version": "1.18.33",
    })
}

/// The name of a model of the world.
#[must_use]
pub(crate) fn model_name(model: usize) -> String {
    format!("provider/model-{model}")
}

impl Worker {
    /// Registers one with a model and so many slots.
    ///
    /// # Errors
    /// If the server refuses.
    pub(crate) async fn register(server: &Server, id: &str, slots: u32) -> Result<Self> {
        let instance = Uuid::new_v4();
        let registered =
            server.json("POST", "/v1/opencode/workers/register", &registration(id, instance, 0, 1, slots)).await.context("registering")?;
        let home = registered["worker"]["global_codebase_id"].as_str().context("a worker without a home")?.to_owned();
        let registration = registered["registration"].as_u64().context("no registration")?;
        Ok(Self { id: id.to_owned(), instance, registration, pulls: 0, address: server.address, home })
    }

    /// Its server is somewhere else now.
    pub(crate) fn moved(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// The next pull.
    #[must_use]
    pub(crate) fn pull(&mut self, wait_ms: u64) -> Vec<u8> {
        self.pulls += 1;
        let body = format!(
            r#"{{"instance":"{}","registration":{},"pull_seq":{},"wait_ms":{wait_ms},"running":[]}}"#,
            self.instance, self.registration, self.pulls
        );
        request("POST", self.address, &format!("/v1/opencode/workers/{}/pull", self.id), &body)
    }

    /// Pulls until a task is assigned, and answers its id.
    ///
    /// # Errors
    /// If there is none within half a minute.
    pub(crate) async fn take(&mut self, connection: &mut Connection) -> Result<Uuid> {
        for _ in 0..2 {
            let pull = self.pull(15_000);
            let answer = connection.ask(&pull).await?;
            let text = answer.text().context("pulling")?;
            if !text.contains(r#""assign":[]"#) {
                return assigned(text);
            }
        }
        anyhow::bail!("no task came within half a minute")
    }

    /// `POST ../stream` with entries from `first` on.
    #[must_use]
    pub(crate) fn append(&self, task: Uuid, entries: &Entries) -> Vec<u8> {
        let (first, json) = (entries.first, &entries.json);
        let body =
            format!(r#"{{"worker_id":"{}","instance":"{}","attempt":1,"first_seq":{first},"entries":[{json}]}}"#, self.id, self.instance);
        request("POST", self.address, &format!("/v1/opencode/tasks/{task}/stream"), &body)
    }

    /// `PUT ../status` with the end of an attempt that has said these entries.
    #[must_use]
    pub(crate) fn complete(&self, task: Uuid, said: Option<&Entries>) -> Vec<u8> {
        let digest = said.map(|said| said.digest.clone()).unwrap_or_default();
        let count = said.map_or(0, |said| said.count);
        let body = json!({
            "status": "completed", "worker_id": self.id, "instance": self.instance, "attempt": 1, "result": "done", "entries": count,
            "bytes": digest.bytes, "hash": digest.hash,
        });
        request("PUT", self.address, &format!("/v1/opencode/tasks/{task}/status"), &body.to_string())
    }
}

/// The id of the task in the answer to a pull.
fn assigned(text: &str) -> Result<Uuid> {
    let (_, rest) = text.split_once(r#""assign":[{"task":{"#).with_context(|| format!("nothing is assigned: {text}"))?;
    id_in(rest)
}

/// The first id in the answer to a submit.
///
/// # Errors
/// If there is none.
pub(crate) fn id_in(text: &str) -> Result<Uuid> {
    let (_, rest) = text.split_once(r#""id":""#).with_context(|| format!("no id in {text}"))?;
    Ok(Uuid::parse_str(rest.get(..36).unwrap_or_default())?)
}

/// Entries as they go over the wire, and what they come to.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    first: u64,
    count: u64,
    json: String,
    digest: OutputDigest,
}

impl Entries {
    /// `count` pieces of an answer from `first` on. They are counted as if they were the first ones of their attempt.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub(crate) fn new(first: u64, count: u64, text: &str) -> Result<Self> {
        let delta = Delta { part: "p1".to_owned(), delta: text.to_owned() };
        let mut digest = OutputDigest::default();
        let mut json = Vec::new();
        for seq in first..first + count {
            let entry = Entry::new(seq, Timestamp(1_700_000_000_000), EntryKind::Text, &delta);
            digest.add(&entry);
            json.push(serde_json::to_string(&entry)?);
        }
        ensure!(count > 0, "no entries");
        Ok(Self { first, count, json: json.join(","), digest })
    }
}

/// `POST /v1/opencode/tasks`.
#[must_use]
pub(crate) fn submit(address: SocketAddr, target: &Value) -> Vec<u8> {
    let body = json!({ "prompt": "Fix the failing test in the parser, and say in one sentence what was wrong.", "target": target });
    request("POST", address, "/v1/opencode/tasks", &body.to_string())
}
