//! The newest entries of the tasks that somebody follows, read once for all who follow the same task.
//!
//! Whoever is woken asks for what comes after its place. The first to ask after a change reads it; the others wait for that reading and get the
//! same entries. Who is further behind than what is kept reads for itself, so that a slow one holds up nobody and makes nothing grow.

use super::row::{Columns as _, wrong};
use super::sql::statements;
use super::{Store, StoreError};
use crate::events::{Hub, Signal};
use crate::sync::lock;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::StreamEntry;
use muster_protocol::task::TaskState;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

/// How many entries are read in one go, and kept of a task.
const CHUNK: u32 = 256;
/// With how many bytes fewer are kept.
const MOST_BYTES: usize = 1 << 20;

statements! {
    PLACE: "SELECT state, entries FROM tasks WHERE id = $1";
}

/// The tasks that are followed.
#[derive(Debug, Default)]
pub(in crate::store) struct Tails(Mutex<HashMap<TaskId, Weak<Tail>>>);

/// The newest entries of a task, as long as somebody follows it.
#[derive(Debug)]
pub struct Tail {
    task: TaskId,
    signal: Signal,
    newest: tokio::sync::Mutex<Newest>,
}

/// What there is of a task after a place.
#[derive(Debug)]
pub struct TailRead {
    /// The entries, without those that follow on too many.
    pub entries: Vec<Arc<StreamEntry>>,
    /// The state: if it is terminal and there is no entry, there will be none. Nothing if there is no such task.
    pub state: Option<TaskState>,
}

#[derive(Debug, Default)]
struct Newest {
    /// The last change before the reading; nothing as long as there may be more to read.
    seen: Option<u64>,
    state: Option<TaskState>,
    /// All entries after this place are here.
    after: u64,
    entries: VecDeque<Arc<StreamEntry>>,
    bytes: usize,
}

impl Tail {
    /// Signals of the task. The value counts its changes.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal.clone()
    }
}

impl Tails {
    pub(in crate::store) fn of(&self, hub: &Hub, task: TaskId) -> Arc<Tail> {
        let mut tails = lock(&self.0);
        if let Some(tail) = tails.get(&task).and_then(Weak::upgrade) {
            return tail;
        }
        // Whoever comes cleans up: the map stays within twice the number of followed tasks.
        if tails.len() >= 64 && tails.len() == tails.capacity() {
            tails.retain(|_, tail| tail.strong_count() > 0);
        }
        let tail = Arc::new(Tail { task, signal: hub.task(task), newest: tokio::sync::Mutex::default() });
        tails.insert(task, Arc::downgrade(&tail));
        tail
    }
}

impl Newest {
    fn last(&self) -> u64 {
        self.entries.back().map_or(self.after, |entry| entry.task_seq)
    }

    fn is_older_than(&self, change: u64) -> bool {
        self.seen.is_none_or(|seen| seen < change)
    }

    fn begin(&mut self, after: u64) {
        (self.after, self.bytes) = (after, 0);
        self.entries.clear();
    }

    fn take(&mut self, entries: Vec<StreamEntry>) {
        for entry in entries {
            self.bytes += size(&entry);
            self.entries.push_back(Arc::new(entry));
        }
    }

    /// Lets go of the oldest.
    fn trim(&mut self) {
        while self.entries.len() > CHUNK as usize || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.after = oldest.task_seq;
            self.bytes -= size(&oldest);
        }
    }

    /// What there is after a place; nothing if some of it is not here.
    fn after(&self, place: u64) -> Option<TailRead> {
        let first = self.entries.partition_point(|entry| entry.task_seq <= place);
        (place >= self.after).then(|| TailRead { entries: self.entries.range(first..).cloned().collect(), state: self.state })
    }
}

fn size(entry: &StreamEntry) -> usize {
    size_of::<StreamEntry>() + entry.data.get().len()
}

impl Store {
    /// The newest entries of a task, shared with all who follow it.
    #[must_use]
    pub fn tail(&self, task: TaskId) -> Arc<Tail> {
        self.tails.of(&self.hub, task)
    }

    /// What there is of a task after a place, as of a change of it or later.
    ///
    /// # Errors
    /// Of the database.
    pub async fn read_tail(&self, tail: &Tail, place: u64, change: u64) -> Result<TailRead, StoreError> {
        let mut newest = tail.newest.lock().await;
        while newest.is_older_than(change) && place >= newest.after {
            self.read_newest(tail, &mut newest, place).await?;
            let read = newest.after(place);
            newest.trim();
            if let Some(read) = read.filter(|read| !read.entries.is_empty() || newest.seen.is_some()) {
                return Ok(read);
            }
        }
        if let Some(read) = newest.after(place) {
            return Ok(read);
        }
        let state = newest.state;
        drop(newest);
        let entries = self.entries(tail.task, place, CHUNK).await?;
        Ok(TailRead { entries: entries.into_iter().map(Arc::new).collect(), state })
    }

    /// The task is read first: if it has ended, the entries that are read after it are all there will be.
    async fn read_newest(&self, tail: &Tail, newest: &mut Newest, place: u64) -> Result<(), StoreError> {
        let change = *tail.signal.borrow();
        let row = PLACE.on(self.dialect()).bind(tail.task.to_string()).fetch_optional(self.readers()).await?;
        let Some(row) = row else {
            (newest.seen, newest.state) = (Some(change), None);
            return Ok(());
        };
        let (state, count) = (row.text("state")?, row.count("entries")?);
        let state = TaskState::from_word(&state).ok_or_else(|| wrong("state", format!("unknown state `{state}`")))?;
        let far = count.saturating_sub(CHUNK.into());
        if newest.state.is_none() || newest.last() < far {
            newest.begin(place.clamp(far, count));
        }
        let last = newest.last();
        let entries = if count > last { self.entries(tail.task, last, CHUNK).await? } else { Vec::new() };
        newest.seen = (entries.len() < CHUNK as usize).then_some(change);
        newest.state = Some(state);
        newest.take(entries);
        Ok(())
    }
}
