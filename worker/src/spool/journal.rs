//! The journal of one attempt.

use super::FinalReport;
use crate::identity::sync_parent;
use muster_protocol::digest::OutputDigest;
use muster_protocol::ids::SessionId;
use muster_protocol::stream::{Entry, EntryKind, StatusNote};
use muster_protocol::task::Assignment;
use muster_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is written down before OpenCode is given a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The session that will get the prompt.
    pub session_id: SessionId,
    /// The id that the prompt's message will have.
    pub message_id: String,
}

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Assignment(Box<Assignment>),
    Started,
    Prepared(Prepared),
    Entry(Entry),
    Final(Box<FinalReport>),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal.
    Written,
    /// There is no room; it is lost, and the stream has a note that says so.
    Cut,
}

/// The journal of one attempt: what was assigned, said and concluded.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    assignment: Assignment,
    max_bytes: u64,
    spool_bytes: Arc<AtomicU64>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// Offset and length of each entry's line.
    entries: Vec<(u64, u32)>,
    digest: OutputDigest,
    acknowledged: u64,
    started: bool,
    prepared: Option<Prepared>,
    end_report: Option<FinalReport>,
    cut: bool,
    /// How many entries could not be written since the last one that could.
    lost: u64,
}

impl Journal {
    pub(super) fn create(path: &Path, assignment: Assignment, max_bytes: u64, spool_bytes: &Arc<AtomicU64>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let journal = Self::with(path, file, assignment, max_bytes, spool_bytes);
        let record = Record::Assignment(Box::new(journal.assignment.clone()));
        let written = journal.append_synced(&record).and_then(|()| sync_parent(path));
        if let Err(error) = written {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(journal)
    }

    fn with(path: &Path, file: File, assignment: Assignment, max_bytes: u64, spool_bytes: &Arc<AtomicU64>) -> Self {
        let inner = Inner {
            file,
            end: 0,
            entries: Vec::new(),
            digest: OutputDigest::default(),
            acknowledged: 0,
            started: false,
            prepared: None,
            end_report: None,
            cut: false,
            lost: 0,
        };
        Self { path: path.to_owned(), assignment, max_bytes, spool_bytes: Arc::clone(spool_bytes), inner: Mutex::new(inner) }
    }

    /// Reads a journal of an earlier start. A last line that was not finished is cut off.
    pub(super) fn reopen(path: &Path, max_bytes: u64, spool_bytes: &Arc<AtomicU64>) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let first = lines.next().ok_or_else(|| io::Error::other("it is empty"))?;
        let Record::Assignment(assignment) = serde_json::from_slice(first)? else {
            return Err(io::Error::other("it begins with no assignment"));
        };
        let journal = Self::with(path, file, *assignment, max_bytes, spool_bytes);
        {
            let mut inner = journal.lock();
            inner.end = first.len() as u64;
            for line in lines {
                let Ok(record) = serde_json::from_slice(line) else { break };
                inner.take(record, line.len());
            }
            inner.acknowledged = fs::read_to_string(ack_path(path)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            inner.acknowledged = inner.acknowledged.min(inner.entries.len() as u64);
            inner.file.set_len(inner.end)?;
            spool_bytes.fetch_add(inner.end, Ordering::Relaxed);
        }
        Ok(journal)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is guarded is consistent between statements; a panic elsewhere is no reason to lose a report.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was assigned.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Writes down that the attempt is begun; when this returns it survives a crash.
    ///
    /// # Errors
    /// As the file system says.
    pub fn start(&self) -> io::Result<()> {
        self.append_synced(&Record::Started)
    }

    /// Whether the attempt was begun.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.lock().started
    }

    /// Writes down what is about to be prompted; when this returns it survives a crash.
    ///
    /// # Errors
    /// As the file system says.
    pub fn prepare(&self, prepared: Prepared) -> io::Result<()> {
        self.append_synced(&Record::Prepared(prepared))
    }

    /// What was about to be prompted.
    #[must_use]
    pub fn prepared(&self) -> Option<Prepared> {
        self.lock().prepared.clone()
    }

    /// Appends an entry, with the next number.
    ///
    /// # Errors
    /// As the file system says; then nothing was appended.
    pub fn append(&self, at: Timestamp, kind: EntryKind, data: &impl Serialize) -> io::Result<Appended> {
        let mut inner = self.lock();
        // What people are asked is small and rare, and the run waits for it.
        let is_asked = kind == EntryKind::Interaction;
        if inner.cut && !is_asked {
            return Ok(Appended::Cut);
        }
        if let Err(error) = self.tell_lost(&mut inner, at) {
            inner.lost += 1;
            return Err(error);
        }
        let full = !is_asked && self.spool_bytes.load(Ordering::Relaxed) >= self.max_bytes;
        let entry = if full {
            let note = StatusNote {
                state: "stream_cut".to_owned(),
                code: Some("spool_full".to_owned()),
                message: Some(
                    "the worker's spool is full: what the run says from here on is not kept; its result will be reported whole".to_owned(),
                ),
                ..StatusNote::default()
            };
            Entry::new(inner.entries.len() as u64, at, EntryKind::Status, &note)
        } else {
            Entry::new(inner.entries.len() as u64, at, kind, data)
        };
        if let Err(error) = self.write(&mut inner, &Record::Entry(entry)) {
            inner.lost += 1;
            return Err(error);
        }
        inner.cut |= full;
        Ok(if full { Appended::Cut } else { Appended::Written })
    }

    /// Says in the stream that entries are missing at this place, if some are.
    fn tell_lost(&self, inner: &mut Inner, at: Timestamp) -> io::Result<()> {
        if inner.lost == 0 {
            return Ok(());
        }
        let note = StatusNote {
            state: "stream_gap".to_owned(),
            code: Some("spool_error".to_owned()),
            message: Some(format!("{} entries are missing here: the worker's disk could not be written", inner.lost)),
            ..StatusNote::default()
        };
        let entry = Entry::new(inner.entries.len() as u64, at, EntryKind::Status, &note);
        self.write(inner, &Record::Entry(entry))?;
        inner.lost = 0;
        Ok(())
    }

    /// Writes down how the attempt ended; when this returns it survives a crash. Only the first end counts.
    ///
    /// # Errors
    /// As the file system says; then the end is known all the same, for as long as this process lives.
    pub fn finish(&self, report: FinalReport) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.end_report.is_some() {
            return Ok(());
        }
        let written = self.tell_lost(&mut inner, crate::clock::now()).and_then(|()| {
            self.write(&mut inner, &Record::Final(Box::new(report.clone())))?;
            inner.file.sync_data()
        });
        inner.end_report.get_or_insert(report);
        written
    }

    /// How the attempt ended.
    #[must_use]
    pub fn end_report(&self) -> Option<FinalReport> {
        self.lock().end_report.clone()
    }

    /// How many entries there are.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.lock().entries.len() as u64
    }

    /// How many entries the server has.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// Count and hash of all entries.
    #[must_use]
    pub fn digest(&self) -> OutputDigest {
        self.lock().digest.clone()
    }

    /// Notes how many entries the server has. Less than before is right too: a server may ask again.
    pub fn acknowledge(&self, next_seq: u64) {
        let mut inner = self.lock();
        let next_seq = next_seq.min(inner.entries.len() as u64);
        if next_seq != inner.acknowledged {
            inner.acknowledged = next_seq;
            // Only saves sending some entries twice after a crash: not worth an error.
            let _ = fs::write(ack_path(&self.path), next_seq.to_string());
        }
    }

    /// The entries from the first unacknowledged one, at most about `max_bytes` of them, at least one if there is one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn batch(&self, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let inner = self.lock();
        let from = usize::try_from(inner.acknowledged).unwrap_or(usize::MAX);
        let waiting = inner.entries.get(from..).unwrap_or_default();
        let mut size = 0;
        let fitting = waiting.iter().take_while(|(_, length)| {
            size += u64::from(*length);
            size <= max_bytes
        });
        let count = fitting.count().max(1);
        waiting.iter().take(count).map(|(offset, length)| inner.read(*offset, *length)).collect()
    }

    /// Deletes the journal: the server has everything, or wants nothing of it.
    pub fn remove(&self) {
        let mut inner = self.lock();
        self.spool_bytes.fetch_sub(inner.end, Ordering::Relaxed);
        inner.end = 0;
        for path in [self.path.clone(), ack_path(&self.path)] {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!("cannot delete {}: {error}", path.display()),
            }
        }
    }

    /// Puts another file in the place of the journal's.
    #[cfg(test)]
    pub(super) fn replace_file(&self, file: File) {
        self.lock().file = file;
    }

    fn append_synced(&self, record: &Record) -> io::Result<()> {
        let mut inner = self.lock();
        self.write(&mut inner, record)?;
        inner.file.sync_data()
    }

    fn write(&self, inner: &mut Inner, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // Always at the known end: a write that failed half way is overwritten by the next one.
        inner.file.write_all_at(&line, inner.end)?;
        self.spool_bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
        // Read back what was written, so that live and recovered state cannot differ.
        inner.take(serde_json::from_slice(&line)?, line.len());
        Ok(())
    }
}

impl Inner {
    /// Takes over a record that is in the file at `end`.
    fn take(&mut self, record: Record, length: usize) {
        match record {
            Record::Assignment(_) => {}
            Record::Started => self.started = true,
            Record::Prepared(prepared) => self.prepared = Some(prepared),
            Record::Entry(entry) => {
                self.digest.add(&entry);
                self.entries.push((self.end, u32::try_from(length).unwrap_or(u32::MAX)));
            }
            Record::Final(report) => self.end_report = Some(*report),
        }
        self.end += length as u64;
    }

    fn read(&self, offset: u64, length: u32) -> io::Result<Entry> {
        let mut line = vec![0; length as usize];
        self.file.read_exact_at(&mut line, offset)?;
        match serde_json::from_slice(&line)? {
            Record::Entry(entry) => Ok(entry),
            _ => Err(io::Error::other("the journal has changed on disk")),
        }
    }
}

fn ack_path(journal: &Path) -> PathBuf {
    journal.with_extension("acked")
}
