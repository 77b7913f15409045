//! The network of servers: until an event of one is in the log of another, catching up, a coordination over three servers, and what being
//! connected takes of a machine where nothing happens.

use super::Bench;
use super::held::{Book, all_there, lock, submit_for};
use super::startup::fill;
use crate::database::Kind;
use crate::http::{Events, request_with};
use crate::results::Run;
use crate::server::Server;
use crate::stats::{Latencies, Reading};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often an event is published: 500 a second.
const EVERY: Duration = Duration::from_millis(2);
const MISSED: usize = 100_000;
const COORDINATIONS: usize = 200;
const IDLE_SERVERS: usize = 20;
const LIMIT: Duration = Duration::from_mins(1);

/// Servers on databases of their own, each joined to the first.
async fn joined(bench: &Bench, kind: Kind, count: usize) -> Result<Vec<Server>> {
    let mut servers: Vec<Server> = Vec::new();
    for n in 0..count {
        let connect = servers.first().map(Server::url);
        let server = Server::start_as(bench.databases.fresh(kind).await?, &format!("Server-{n}"), connect.as_deref()).await?;
        servers.push(server);
    }
    for server in &servers {
        wait_until(async || Ok(peers(server).await?.iter().filter(|peer| peer["state"] == "up").count() + 1 == count)).await?;
    }
    Ok(servers)
}

async fn peers(server: &Server) -> Result<Vec<Value>> {
    Ok(server.json("GET", "/v1/peers", &Value::Null).await?.as_array().cloned().unwrap_or_default())
}

async fn wait_until(mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < LIMIT, "the servers are not together after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

pub(super) async fn events(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let servers = joined(bench, kind, 2).await?;
    let (here, there) = (&servers[0], &servers[1]);
    let book = Arc::new(Mutex::new(Book::default()));
    let follow = request_with("GET", there.address, "/v1/events?type=task.submitted", "accept: text/event-stream\r\n");
    let watching = tokio::spawn(watch(there.connect().await?.follow(&follow).await?, Arc::clone(&book)));
    submit_for(here, &book, bench.sampling / 5, EVERY).await?;
    all_there(&book).await;
    *lock(&book) = Book::default();
    submit_for(here, &book, bench.sampling, EVERY).await?;
    all_there(&book).await;
    watching.abort();
    let latencies = std::mem::take(&mut *lock(&book)).done("an event was not there half a minute after the last one");
    run.put("events.p50", kind.as_str(), latencies.percentile(0.5));
    run.put("events.p99", kind.as_str(), latencies.percentile(0.99));
    Ok(())
}

/// Notes when each event is in the log of the other server.
async fn watch(mut events: Events, book: Arc<Mutex<Book>>) -> Result<()> {
    while let Some(event) = events.next().await? {
        let now = Instant::now();
        let text = std::str::from_utf8(event)?;
        let task = text.split("\"subject\":\"tasks/").nth(1).and_then(|rest| rest.get(..36)).context("an event without a task")?;
        lock(&book).is_there(task.parse::<Uuid>()?, now);
    }
    Ok(())
}

pub(super) async fn catch_up(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let mut servers = joined(bench, kind, 2).await?;
    let there = servers.pop().context("two servers")?.stop()?;
    let here = &servers[0];
    let missed = bench.scaled(MISSED);
    fill(here, missed).await?;
    let head = log_head(here).await?;
    let there = Server::start_as(there, "Server-1", Some(&here.url())).await?;
    let begun = Instant::now();
    wait_until(async || Ok(peers(&there).await?.iter().any(|peer| peer["place"]["sequence"].as_u64() >= Some(head)))).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = missed as f64 / begun.elapsed().as_secs_f64();
    run.put("catchup.rate", kind.as_str(), Reading::single(rate));
    Ok(())
}

async fn log_head(server: &Server) -> Result<u64> {
    server.json("GET", "/v1/opencode/status", &Value::Null).await?["events"].as_u64().context("no count of events")
}

pub(super) async fn coordination(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let servers = joined(bench, kind, 3).await?;
    let here = &servers[0];
    wait_until(async || {
        let agents = here.json("GET", "/v1/agents", &Value::Null).await?;
        Ok(agents.as_array().is_some_and(|agents| agents.len() == 12))
    })
    .await?;
    let message = json!({ "parts": [{ "type": "text", "content": "coordinate counting 1 2 3" }] });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } }).to_string();
    let request = here.request("POST", "/", &body);
    let (mut connection, mut latencies) = (here.connect().await?, Latencies::default());
    for n in 0..bench.scaled(COORDINATIONS) + 5 {
        let begun = Instant::now();
        let answer = connection.ask(&request).await?;
        let took = begun.elapsed();
        let text = answer.text()?;
        ensure!(text.contains("Worker-A-Server-2") && text.contains("completed"), "it was not coordinated: {text}");
        if n >= 5 {
            latencies.add(took);
        }
    }
    run.put("coordination.p50", kind.as_str(), latencies.percentile(0.5));
    run.put("coordination.p99", kind.as_str(), latencies.percentile(0.99));
    Ok(())
}

pub(super) async fn idle(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let count = bench.scaled(IDLE_SERVERS).max(2);
    let servers = joined(bench, kind, count).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = || servers.iter().map(|server| server.meter().cpu()).sum::<Duration>();
    let (before, begun) = (used(), Instant::now());
    tokio::time::sleep(bench.sampling.max(Duration::from_secs(2))).await;
    let share = used().saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    run.put("idlenet.cores", kind.as_str(), Reading::single(share * 100.0).noted(format!("{count} servers")));
    Ok(())
}
