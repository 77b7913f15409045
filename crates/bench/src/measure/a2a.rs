//! A2A: messages that an agent of the server answers itself, many subscribers of one task, and the first page of many tasks.

use super::Bench;
use super::startup::fill;
use super::viewer::{Running, latencies};
use crate::database::Kind;
use crate::http::Connection;
use crate::load::{CLIENTS, Client, rounds};
use crate::process::Meter;
use crate::results::Run;
use crate::server::Server;
use crate::stats::Latencies;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TASKS: usize = 100_000;
const PAGES: usize = 300;
const SUBSCRIBERS: usize = 200;
/// How often a subscribed task says something: as fast as a model does.
const EVERY: Duration = Duration::from_millis(50);

/// A call of A2A 1.0 over JSON-RPC.
fn call(server: &Server, method: &str, params: &Value) -> Vec<u8> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    server.request("POST", "/?A2A-Version=1.0", &body.to_string())
}

struct Sender {
    connection: Connection,
    request: Vec<u8>,
}

impl Client for Sender {
    async fn step(&mut self) -> Result<()> {
        let answer = self.connection.ask(&self.request).await?;
        let text = answer.text().context("sending")?;
        ensure!(text.contains("TASK_STATE_COMPLETED"), "it was not answered: {text}");
        Ok(())
    }
}

pub(super) async fn sends(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    for (row, clients) in [("sends.one", 1), ("sends.sixteen", 16), ("sends.rate", CLIENTS)] {
        let server = bench.server(kind).await?;
        let message = json!({ "messageId": "m", "role": "ROLE_USER", "parts": [{ "text": "How many words has this message?" }] });
        let request = call(&server, "SendMessage", &json!({ "message": message }));
        let mut senders = Vec::new();
        for _ in 0..clients {
            senders.push(Sender { connection: server.connect().await?, request: request.clone() });
        }
        run.put(row, kind.as_str(), rounds(senders, bench.plan, &[server.meter(), Meter::own()]).await?);
        server.stop()?;
    }
    if kind == Kind::Sqlite {
        run.put("sends.rate", "bare axum", bench.bare.requests(bench.plan, r#"{"message":"hello"}"#).await?);
    }
    Ok(())
}

pub(super) async fn subscribers(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let running = Running::start(&server).await?;
    let subscribe = call(&server, "SubscribeToTask", &json!({ "id": running.task }));
    let mut streams = Vec::new();
    for _ in 0..bench.scaled(SUBSCRIBERS) {
        streams.push(server.connect().await?.follow(&subscribe).await?);
    }
    let is_text = |event: &[u8]| event.windows(15).any(|piece| piece == b"\"artifactUpdate");
    let seen = latencies(bench, running, streams, is_text, EVERY).await?;
    run.put("subscribers.p50", kind.as_str(), seen.percentile(0.5));
    run.put("subscribers.p99", kind.as_str(), seen.percentile(0.99));
    Ok(())
}

pub(super) async fn tasks(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let tasks = bench.scaled(TASKS);
    fill(&server, tasks).await?;
    let request = call(&server, "ListTasks", &json!({}));
    let mut connection = server.connect().await?;
    let mut pages = Latencies::default();
    for _ in 0..bench.scaled(PAGES) {
        let begun = Instant::now();
        let answer = connection.ask(&request).await?;
        let took = begun.elapsed();
        ensure!(answer.text()?.contains(&format!("\"totalSize\":{tasks}")), "not all tasks are counted");
        pages.add(took);
    }
    run.put("tasks.p50", kind.as_str(), pages.percentile(0.5));
    run.put("tasks.p99", kind.as_str(), pages.percentile(0.99));
    Ok(())
}
