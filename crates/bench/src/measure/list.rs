//! Finding the few workers that have a model, among ten thousand with ten models each.

use super::Bench;
use super::registrations::Newcomers;
use crate::database::Kind;
use crate::results::Run;
use crate::stats::Latencies;
use crate::worker::model_name;
use anyhow::{Context as _, Result, ensure};
use std::time::Instant;

const WORKERS: usize = 10_000;
const TIMES: usize = 300;

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let workers = bench.scaled(WORKERS);
    let address = server.address;
    let tasks = Newcomers::all(&server).await?.into_iter().map(|mut newcomer| {
        tokio::spawn(async move {
            while newcomer.register(address).await? + 1 < workers {}
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let mut connection = server.connect().await?;
    let mut latencies = Latencies::default();
    let mut last = (0, 0);
    for n in 0..bench.scaled(TIMES) {
        let path = format!("/v1/opencode/workers?model={}", model_name(n * 37 % workers.min(500)));
        let request = server.request("GET", &path, "");
        let begun = Instant::now();
        let answer = connection.ask(&request).await?;
        let took = begun.elapsed();
        let text = answer.text().context("listing")?;
        last = (text.matches(r#""worker_id":"#).count(), text.len());
        ensure!(last.0 > 0, "no worker has the model");
        latencies.add(took);
    }
    let note = format!("{workers} workers; the last answer: {} workers, {} bytes", last.0, last.1);
    run.put("list.p50", kind.as_str(), latencies.percentile(0.5).noted(note));
    run.put("list.p99", kind.as_str(), latencies.percentile(0.99));
    if kind == Kind::Sqlite {
        let trips = bench.bare.round_trips(500).await?;
        run.put("list.p50", "bare axum round trip", trips.percentile(0.5));
    }
    Ok(())
}
