//! From the start of the process to its first answer: on a new database, which it makes, and on one with many tasks.

use super::Bench;
use super::creates::Creator;
use crate::database::Kind;
use crate::load::Client as _;
use crate::results::Run;
use crate::server::Server;
use crate::stats::Latencies;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TASKS: usize = 100_000;
const TIMES: usize = 10;

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let mut latencies = Latencies::default();
    for _ in 0..bench.scaled(TIMES) {
        let server = bench.server(kind).await?;
        latencies.add(server.start_up);
        server.stop()?;
    }
    run.put("startup.empty", kind.as_str(), latencies.percentile(0.5));
    let server = bench.server(kind).await?;
    fill(&server, bench.scaled(TASKS)).await?;
    let mut database = server.stop()?;
    let mut latencies = Latencies::default();
    for _ in 0..bench.scaled(TIMES) {
        let server = Server::start(database).await?;
        latencies.add(server.start_up);
        database = server.stop()?;
    }
    run.put("startup.full", kind.as_str(), latencies.percentile(0.5));
    Ok(())
}

/// Submits so many tasks.
pub(super) async fn fill(server: &Server, tasks: usize) -> Result<()> {
    let made = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for mut creator in Creator::all(server).await? {
        let made = Arc::clone(&made);
        clients.push(tokio::spawn(async move {
            while made.fetch_add(1, Ordering::Relaxed) < tasks {
                creator.step().await?;
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    Ok(())
}
