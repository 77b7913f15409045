//! From the moment in which a worker sends an entry to the moment in which a viewer has it, durable in between. Entries come at a fixed rate.

use super::{Bench, raw_of};
use crate::database::{Database, Kind};
use crate::http::{Connection, Events};
use crate::raw::rows::{Copier, Table};
use crate::results::Run;
use crate::server::Server;
use crate::stats::Latencies;
use crate::worker::{Entries, Worker, id_in, submit};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

const EVERY: Duration = Duration::from_millis(20);

/// A task that runs on a worker.
pub(super) struct Running {
    pub(super) worker: Worker,
    pub(super) connection: Connection,
    pub(super) task: Uuid,
}

impl Running {
    pub(super) async fn start(server: &Server) -> Result<Self> {
        let mut worker = Worker::register(server, "worker", 1).await?;
        let mut connection = server.connect().await?;
        let submit = submit(server.address, &json!({ "codebase": worker.home }));
        let task = id_in(connection.ask(&submit).await?.text()?)?;
        ensure!(worker.take(&mut connection).await? == task, "the worker got another task");
        Ok(Self { worker, connection, task })
    }

    /// Somebody who views it.
    pub(super) async fn viewer(&self, server: &Server) -> Result<Events> {
        let follow = server.request("GET", &format!("/v1/opencode/tasks/{}/stream", self.task), "");
        server.connect().await?.follow(&follow).await
    }
}

/// Whether an event of a task's stream is a piece of text.
pub(super) fn is_text(event: &[u8]) -> bool {
    event.starts_with(b"event: text\n")
}

/// From the moment in which an entry is sent to the moment in which each viewer has it; one entry `every` so often.
pub(super) async fn latencies(
    bench: &Bench,
    running: Running,
    viewers: Vec<Events>,
    is_text: impl Fn(&[u8]) -> bool + Copy + Send + 'static,
    every: Duration,
) -> Result<Latencies> {
    let Running { worker, mut connection, task } = running;
    let begun = Instant::now() + Duration::from_millis(100);
    let warm = u32::try_from(bench.scaled(25))?;
    let count = warm + u32::try_from(bench.sampling.as_millis() / every.as_millis())?;
    let watch = |mut viewer: Events| async move {
        let (mut took, mut seen) = (Vec::new(), 0_u32);
        while seen < count {
            let event = viewer.next().await?.context("the stream ended early")?;
            let now = Instant::now();
            if is_text(event) {
                if seen >= warm {
                    took.push(now - (begun + every * seen));
                }
                seen += 1;
            }
        }
        anyhow::Ok(took)
    };
    let watching: Vec<_> = viewers.into_iter().map(|viewer| tokio::spawn(watch(viewer))).collect();
    for n in 0..count {
        let request = worker.append(task, &Entries::new(n.into(), 1, "one more word of the answer ")?);
        tokio::time::sleep_until((begun + every * n).into()).await;
        connection.ask(&request).await?.text().context("appending")?;
    }
    let mut latencies = Latencies::default();
    for viewer in watching {
        let took = tokio::time::timeout(Duration::from_secs(10), viewer).await.context("a viewer did not see all")???;
        for took in took {
            latencies.add(took);
        }
    }
    Ok(latencies)
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let running = Running::start(&server).await?;
    let viewer = running.viewer(&server).await?;
    let latencies = latencies(bench, running, vec![viewer], is_text, EVERY).await?;
    run.put("viewer.p50", kind.as_str(), latencies.percentile(0.5));
    run.put("viewer.p99", kind.as_str(), latencies.percentile(0.99));
    let commits = commits(&server.stop()?).await?;
    run.put("viewer.p50", &raw_of(kind, "one commit of one entry"), commits.percentile(0.5));
    run.put("viewer.p99", &raw_of(kind, "one commit of one entry"), commits.percentile(0.99));
    Ok(())
}

async fn commits(database: &Database) -> Result<Latencies> {
    Copier::new(database, &[Table { name: "stream_entries", keys: &["task_id"] }]).await?.single_commits(500).await
}
