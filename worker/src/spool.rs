//! What must survive: assignments, entries that the server has not acknowledged, and final reports.
//!
//! One append-only journal a held attempt, one JSON record a line, beside it a small file with the number of entries that
//! the server has. What decides whether something may run or has ended is synced to the disk before anybody acts on it;
//! entries are only written (they survive a crash of the daemon, and the server's own copy is the durable one).

mod journal;

pub use journal::{Appended, Journal, Prepared};

use muster_protocol::stream::FileChange;
use muster_protocol::task::{Assignment, ReportedStatus, Usage};
use muster_protocol::worker::AttemptRef;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is said of an attempt at its end; see [`muster_protocol::task::ReportStatus`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinalReport {
    /// How it ended.
    pub status: ReportedStatus,
    /// The answer.
    #[serde(default)]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// The stable code of the failure.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Tokens and cost.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The files it changed.
    #[serde(default)]
    pub changes: Vec<FileChange>,
}

/// How much room the disk must have for new tasks, in bytes.
const LEAST_FREE: u64 = 1 << 20;

/// All journals of this worker.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    bytes: Arc<AtomicU64>,
}

impl Spool {
    /// Opens the spool under a state directory and gives the journals that an earlier start has left.
    ///
    /// # Errors
    /// As the file system says. A journal that cannot be read is set aside with a warning, not an error.
    pub fn open(state_dir: &Path, max_bytes: u64) -> io::Result<(Self, Vec<Journal>)> {
        let dir = state_dir.join("spool");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let spool = Self { dir, max_bytes, bytes: Arc::default() };
        let mut left = Vec::new();
        for entry in fs::read_dir(&spool.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "journal") {
                match Journal::reopen(&path, max_bytes, &spool.bytes) {
                    Ok(journal) => left.push(journal),
                    Err(error) => set_aside(&path, &error),
                }
            }
        }
        left.sort_by_key(|journal| journal.assignment().task.id);
        Ok((spool, left))
    }

    /// Writes an assignment down; when this returns it survives a crash.
    ///
    /// # Errors
    /// As the file system says.
    pub fn create(&self, assignment: Assignment) -> io::Result<Journal> {
        let path = self.dir.join(format!("{}.{}.journal", assignment.task.id, assignment.attempt));
        Journal::create(&path, assignment, self.max_bytes, &self.bytes)
    }

    /// Why nothing new should be written: the limit is reached, or the disk is as good as full.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.is_full() {
            return Some(format!(
                "its spool holds {} bytes that the server has not taken yet, as many as it may (spool_max_bytes)",
                self.bytes.load(Ordering::Relaxed)
            ));
        }
        let free = short_of_room(&self.dir, LEAST_FREE)?;
        Some(format!("the disk of its spool ({}) has only {free} bytes left", self.dir.display()))
    }

    /// Whether nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }
}

/// How many bytes a disk has left, if that is less than `least`.
#[must_use]
pub fn short_of_room(path: &Path, least: u64) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize)).filter(|free| *free < least)
}

/// The names of an assignment's attempt.
#[must_use]
pub fn attempt_ref(assignment: &Assignment) -> AttemptRef {
    AttemptRef { task_id: assignment.task.id, attempt: assignment.attempt }
}

fn set_aside(path: &Path, error: &io::Error) {
    let aside = path.with_extension("broken");
    tracing::warn!("the journal {} cannot be read ({error}); it is kept as {}", path.display(), aside.display());
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!("cannot rename {}: {error}", path.display());
    }
}

#[cfg(test)]
pub(crate) mod tests;
