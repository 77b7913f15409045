//! The limits of the machine itself.

use super::Bench;
use crate::raw::disk;
use crate::results::Run;
use crate::stats::Reading;
use anyhow::Result;

pub(super) async fn run(bench: &Bench, run: &mut Run) -> Result<()> {
    eprintln!("raw ..");
    let fsync = disk::fsync(&bench.dir, 500)?;
    run.put("raw.fsync", "the disk", Reading::single(1e3 / fsync.percentile(0.5).value));
    run.put("raw.http", "bare axum", bench.bare.requests(bench.plan, r#"{"prompt":"hello"}"#).await?);
    run.put("raw.trip", "bare axum", bench.bare.round_trips(2_000).await?.percentile(0.5));
    Ok(())
}
