//! Much output: a worker sends entries of 64 KiB, sixteen in a request, one request after the other; a viewer reads all of it.

use super::viewer::{Running, is_text};
use super::{Bench, raw_of};
use crate::database::Kind;
use crate::process::{Meter, cores};
use crate::raw::rows::{Copier, Table};
use crate::results::Run;
use crate::stats::Reading;
use crate::worker::Entries;
use anyhow::{Context as _, Result};
use std::time::Instant;

const ENTRY: usize = 64 << 10;
const ENTRIES: u64 = 16;

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let running = Running::start(&server).await?;
    let mut viewer = running.viewer(&server).await?;
    let Running { worker, mut connection, task } = running;
    let text = "0123456789abcdef".repeat(ENTRY / 16);
    let (round, rounds) = (bench.plan.round, bench.plan.rounds);
    let writing = tokio::spawn(async move {
        let begun = Instant::now();
        let mut first = 0;
        while begun.elapsed() < round * u32::try_from(rounds + 1)? {
            let request = worker.append(task, &Entries::new(first, ENTRIES, &text)?);
            connection.ask(&request).await?.text().context("appending")?;
            first += ENTRIES;
        }
        anyhow::Ok(())
    });
    let meters = [server.meter(), Meter::own()];
    let (mut rates, mut seen, mut all) = (Vec::new(), 0_u64, 0);
    let (mut begun, mut before) = (Instant::now(), meters.map(|meter| meter.cpu()));
    let mut warm = false;
    let mut since = Instant::now();
    while rates.len() < rounds {
        seen += u64::from(is_text(viewer.next().await?.context("the stream ended early")?));
        if since.elapsed() < round {
            continue;
        }
        if warm {
            rates.push(megabytes(seen) / since.elapsed().as_secs_f64());
            all += seen;
        } else {
            (warm, begun, before) = (true, Instant::now(), meters.map(|meter| meter.cpu()));
        }
        (seen, since) = (0, Instant::now());
    }
    let took = begun.elapsed();
    let shares: Vec<_> = meters.iter().zip(before).map(|(meter, before)| cores(meter, before, took, all)).collect();
    writing.abort();
    if let Ok(written) = writing.await {
        written?;
    }
    run.put("bytes.rate", kind.as_str(), Reading::of_rounds(&rates, all).noted(shares.join(", ")));
    drop((viewer, meters));
    let mut copier = Copier::new(&server.stop()?, &[Table { name: "stream_entries", keys: &["task_id"] }]).await?;
    let (begun, mut written) = (Instant::now(), 0);
    while begun.elapsed() < round {
        copier.commit(16).await?;
        written += ENTRIES;
    }
    let raw = Reading::single(megabytes(written) / begun.elapsed().as_secs_f64());
    run.put("bytes.rate", &raw_of(kind, "the same rows, sixteen a commit"), raw);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of entries")]
fn megabytes(entries: u64) -> f64 {
    entries as f64 * ENTRY as f64 / 1e6
}
