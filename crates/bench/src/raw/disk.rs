//! How long the disk takes to have something for good.

use crate::stats::Latencies;
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Appends a page and waits for `fdatasync`, as the log of a database does at a commit, so many times.
///
/// # Errors
/// Of the file system.
pub(crate) fn fsync(dir: &Path, times: u32) -> Result<Latencies> {
    let path = dir.join("fsync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut latencies = Latencies::default();
    for _ in 0..times {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        latencies.add(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(latencies)
}
