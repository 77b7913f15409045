//! Which queued tasks a worker gets into its free slots.

use super::Claimant;
use crate::domain::matching::{Needs, Offer, misfits, writes};
use crate::store::Tx;
use crate::store::row::Columns as _;
use crate::store::sql::statements;
use crate::store::tasks::{TaskRecord, columns};
use muster_protocol::ids::{CodebaseId, ContextId};
use muster_protocol::time::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// How many candidates are looked at in one go, and how often: a worker that fits none of the first 1,600 finds the later ones with a later pull.
const PAGE: i64 = 100;
const PAGES: usize = 16;

// The conditions that cannot be lifted by looking at another worker's state: a conversation runs one task at a time, in order, and a codebase
// `parallel` writing ones.
macro_rules! queued {
    () => {
        " FROM tasks t WHERE t.state = 'submitted' AND t.held = 0 AND t.target_worker = $1 AND t.not_before <= $2
          AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.context_id = t.context_id AND e.completed_at IS NULL AND e.id <> t.id
              AND (e.held = 1 OR e.id < t.id))
          AND (t.writing = 0 OR t.target_codebase = '' OR (SELECT COUNT(*) FROM tasks w WHERE w.codebase_id = t.target_codebase AND w.held = 1
              AND w.writing = 1) < (SELECT c.parallel FROM codebases c WHERE c.id = t.target_codebase))
          AND (t.priority < $3 OR (t.priority = $3 AND t.id > $4))
          ORDER BY t.priority DESC, t.id LIMIT $5"
    };
}

statements! {
    QUEUED: concat!("SELECT ", columns!(), queued!());
    WRITING: "SELECT codebase_id, COUNT(*) AS n FROM tasks WHERE held = 1 AND writing = 1 AND holder = $1 GROUP BY codebase_id";
    MODELS: "SELECT model_id FROM worker_models WHERE worker_id = $1";
    PARALLEL: "SELECT id, parallel FROM codebases WHERE worker_id = $1";
}

/// What would overfill a codebase or a conversation within this one choice.
struct Room {
    writing: BTreeMap<CodebaseId, u64>,
    parallel: BTreeMap<CodebaseId, u64>,
    contexts: HashSet<ContextId>,
}

/// Chooses up to `free` tasks, highest priority first, oldest first, each with the codebase it is to run in.
pub(super) async fn choose(
    tx: &mut Tx<'_>,
    claimant: &Claimant,
    free: usize,
    now: Timestamp,
) -> sqlx::Result<Vec<(TaskRecord, CodebaseId)>> {
    let models: Vec<String> = {
        let rows = tx.all(MODELS.on(tx.dialect()).bind(claimant.id.0.clone())).await?;
        rows.iter().map(|row| row.text("model_id")).collect::<sqlx::Result<_>>()?
    };
    let offer = Offer { worker: &claimant.id, capabilities: &claimant.capabilities, labels: &claimant.labels, models: &models };
    let mut own = Queue::new(claimant.id.0.clone());
    let mut any = Queue::new(String::new());
    let mut room = Room::read(tx, claimant).await?;
    let mut chosen = Vec::new();
    while chosen.len() < free {
        let Some(record) = next_of_both(tx, &mut own, &mut any, now).await? else { break };
        let Some(codebase) = record.target_codebase.clone().or_else(|| claimant.global_codebase.clone()) else { continue };
        let needs = Needs::of(&record.task, record.target_worker.clone(), None);
        if misfits(&needs, &offer).is_empty() && room.take(&record, &codebase, claimant) {
            chosen.push((record, codebase));
        }
    }
    Ok(chosen)
}

impl Room {
    async fn read(tx: &mut Tx<'_>, claimant: &Claimant) -> sqlx::Result<Self> {
        let mut room = Self { writing: BTreeMap::new(), parallel: BTreeMap::new(), contexts: HashSet::new() };
        for row in tx.all(WRITING.on(tx.dialect()).bind(claimant.id.0.clone())).await? {
            room.writing.insert(CodebaseId(row.text("codebase_id")?), row.count("n")?);
        }
        for row in tx.all(PARALLEL.on(tx.dialect()).bind(claimant.id.0.clone())).await? {
            room.parallel.insert(CodebaseId(row.text("id")?), row.count("parallel")?);
        }
        Ok(room)
    }

    /// Takes the place for a task, if there is one.
    fn take(&mut self, record: &TaskRecord, codebase: &CodebaseId, claimant: &Claimant) -> bool {
        if self.contexts.contains(&record.task.context_id) {
            return false;
        }
        if writes(&record.task.mode, claimant.global_codebase.as_ref() == Some(codebase)) {
            let parallel = self.parallel.get(codebase).copied().unwrap_or(1);
            let writing = self.writing.entry(codebase.clone()).or_default();
            if *writing >= parallel {
                return false;
            }
            *writing += 1;
        }
        self.contexts.insert(record.task.context_id.clone());
        true
    }
}

/// The queue of one worker, or of all, read page by page.
struct Queue {
    target: String,
    page: std::vec::IntoIter<TaskRecord>,
    head: Option<TaskRecord>,
    after: (i64, String),
    pages_left: usize,
}

impl Queue {
    fn new(target: String) -> Self {
        Self { target, page: Vec::new().into_iter(), head: None, after: (i64::MAX, String::new()), pages_left: PAGES }
    }

    async fn fill(&mut self, tx: &mut Tx<'_>, now: Timestamp) -> sqlx::Result<()> {
        if self.head.is_some() {
            return Ok(());
        }
        self.head = self.page.next();
        if self.head.is_none() && self.pages_left > 0 {
            self.pages_left -= 1;
            let statement = QUEUED.on(tx.dialect()).bind(self.target.clone()).bind(now.0).bind(self.after.0);
            let rows = tx.all(statement.bind(self.after.1.clone()).bind(PAGE)).await?;
            if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                self.pages_left = 0;
            }
            let records = rows.iter().map(TaskRecord::read).collect::<sqlx::Result<Vec<_>>>()?;
            if let Some(last) = records.last() {
                self.after = (i64::from(last.task.priority), last.task.id.to_string());
            }
            self.page = records.into_iter();
            self.head = self.page.next();
        }
        Ok(())
    }
}

/// The next task of the two queues together.
async fn next_of_both(tx: &mut Tx<'_>, own: &mut Queue, any: &mut Queue, now: Timestamp) -> sqlx::Result<Option<TaskRecord>> {
    own.fill(tx, now).await?;
    any.fill(tx, now).await?;
    let rank = |record: &TaskRecord| (std::cmp::Reverse(record.task.priority), record.task.id);
    Ok(match (&own.head, &any.head) {
        (Some(a), Some(b)) if rank(b) < rank(a) => any.head.take(),
        (Some(_), _) => own.head.take(),
        (None, _) => any.head.take(),
    })
}
