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

/// A task that runs on a worker, with a viewer.
pub(super) struct Watched {
    pub(super) worker: Worker,
    pub(super) connection: Connection,
    pub(super) task: Uuid,
    pub(super) viewer: Events,
}

impl Watched {
    pub(super) async fn start(server: &Server) -> Result<Self> {
        let mut worker = Worker::register(server, "worker", 1).await?;
        let mut connection = server.connect().await?;
        let submit = submit(server.address, &json!({ "codebase": worker.home }));
        let task = id_in(connection.ask(&submit).await?.text()?)?;
        ensure!(worker.take(&mut connection).await? == task, "the worker got another task");
        let follow = server.request("GET", &format!("/v1/opencode/tasks/{task}/stream"), "");
        let viewer = server.connect().await?.follow(&follow).await?;
        Ok(Self { worker, connection, task, viewer })
    }
}

/// Whether an event of a task's stream is a piece of text.
pub(super) fn is_text(event: &[u8]) -> bool {
    event.starts_with(b"event: text\n")
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let Watched { worker, mut connection, task, mut viewer } = Watched::start(&server).await?;
    let begun = Instant::now() + Duration::from_millis(100);
    let warm = u32::try_from(bench.scaled(25))?;
    let count = warm + u32::try_from(bench.sampling.as_millis() / EVERY.as_millis())?;
    let watching = tokio::spawn(async move {
        let (mut latencies, mut seen) = (Latencies::default(), 0_u32);
        while seen < count {
            let event = viewer.next().await?.context("the stream ended early")?;
            let now = Instant::now();
            if is_text(event) {
                if seen >= warm {
                    latencies.add(now - (begun + EVERY * seen));
                }
                seen += 1;
            }
        }
        anyhow::Ok(latencies)
    });
    for n in 0..count {
        let request = worker.append(task, &Entries::new(n.into(), 1, "one more word of the answer ")?);
        tokio::time::sleep_until((begun + EVERY * n).into()).await;
        connection.ask(&request).await?.text().context("appending")?;
    }
    let latencies = tokio::time::timeout(Duration::from_secs(10), watching).await.context("the viewer did not see all")???;
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
