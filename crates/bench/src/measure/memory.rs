//! The memory of a server that has nothing to do, and what each waiting worker adds. The server is started again between the registrations and
//! the waiting, so that all that waiting needs is counted and nothing of the registering.

use super::Bench;
use crate::database::Kind;
use crate::http::Connection;
use crate::results::Run;
use crate::server::Server;
use crate::stats::Reading;
use crate::worker::Worker;
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    for (row, count) in [("memory.at1000", 1_000), ("memory.at5000", 5_000)] {
        let count = bench.scaled(count);
        let server = bench.server(kind).await?;
        let mut workers = Vec::new();
        for number in 0..count {
            workers.push(Worker::register(&server, &format!("worker-{number}"), 1).await?);
        }
        let server = Server::start(server.stop()?).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = server.meter().memory()?;
        let held = wait_all(&server, workers).await?;
        let waiting = server.meter().memory()?;
        let note = format!("{} with {count} waiting, {} without", megabytes(waiting), megabytes(idle));
        run.put(row, kind.as_str(), Reading::single(per_worker(waiting.saturating_sub(idle), count)).noted(note));
        if count < 5_000 || bench.scale < 1.0 {
            run.put("memory.idle", kind.as_str(), Reading::single(megabytes(idle)));
        }
        drop(held);
    }
    Ok(())
}

/// Sends a pull for each, and comes back when the server has them all waiting.
async fn wait_all(server: &Server, workers: Vec<Worker>) -> Result<Vec<Connection>> {
    const IN_FLIGHT: &str = "muster_http_requests_in_flight ";
    let count = workers.len();
    let begun = Instant::now();
    let mut connections = Vec::new();
    for mut worker in workers {
        let mut connection = Connection::open(server.address.to_string().parse()?).await?;
        connection.send(&worker_pull(&mut worker, server)).await.context("pulling")?;
        connections.push(connection);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    while server.metric(IN_FLIGHT).await? < count as f64 {
        ensure!(begun.elapsed() < Duration::from_secs(14), "not all {count} workers wait before the first has waited to its end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Until what was only needed to begin is given back.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(begun.elapsed() < Duration::from_secs(15), "the first workers have waited to their end");
    Ok(connections)
}

fn worker_pull(worker: &mut Worker, server: &Server) -> Vec<u8> {
    worker.moved(server.address);
    worker.pull(15_000)
}

#[expect(clippy::cast_precision_loss, reason = "a size of memory")]
fn megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "a size of memory")]
fn per_worker(bytes: u64, workers: usize) -> f64 {
    bytes as f64 / 1e3 / workers as f64
}
