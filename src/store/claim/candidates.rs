//! Which queued tasks a worker gets into its free slots.
//!
//! The queue of a worker, and that of all workers, is made of lanes: tasks for one codebase that ask the same of a worker. Whether a lane fits
//! is decided once, by its first task, so that however many tasks there are that a worker cannot take, those that it can are found.

use super::Claimant;
use crate::domain::matching::{Needs, Offer, misfits, writes};
use crate::store::Tx;
use crate::store::row::Columns as _;
use crate::store::sql::statements;
use crate::store::tasks::{TaskRecord, columns};
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many lanes of a queue are looked at. More are more kinds of tasks than anybody has; it bounds how long the transaction takes.
const LANES: usize = 400;

statements! {
    NEXT_LANE: "SELECT target_codebase, lane, mode, model, capabilities, labels FROM tasks WHERE state = 'submitted' AND held = 0
        AND target_worker = $1 AND (target_codebase, lane) > ($2, $3) ORDER BY target_codebase, lane LIMIT 1";
    // A conversation runs one task at a time, in order. A worker that has not the directory hands a `register_codebase` back and is not asked again.
    IN_LANE: concat!("SELECT ", columns!(), " FROM tasks t WHERE t.state = 'submitted' AND t.held = 0 AND t.target_worker = $1
        AND t.target_codebase = $2 AND t.lane = $3 AND t.not_before <= $4
        AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.context_id = t.context_id AND e.completed_at IS NULL AND e.id <> t.id
            AND (e.held = 1 OR e.id < t.id))
        AND (t.mode <> 'register_codebase' OR NOT EXISTS (SELECT 1 FROM attempts a WHERE a.task_id = t.id AND a.instance = $6))
        ORDER BY t.priority DESC, t.id LIMIT $5");
    WRITING: "SELECT codebase_id, COUNT(*) AS n FROM tasks WHERE held = 1 AND writing = 1 AND holder = $1 GROUP BY codebase_id";
    MODELS: "SELECT model_id FROM worker_models WHERE worker_id = $1";
    PARALLEL: "SELECT id, parallel FROM codebases WHERE worker_id = $1";
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
    let mut room = Room::read(tx, claimant).await?;
    let mut found = Vec::new();
    for target in [claimant.id.0.as_str(), ""] {
        let mut lane = Lane::before(target);
        for _ in 0..LANES {
            let Some(next) = lane.next(tx).await? else { break };
            lane = next;
            let Some(codebase) = room.place(lane.codebase(), claimant) else { continue };
            if misfits(&lane.needs, &offer).is_empty() && room.has_place(&codebase, &lane.needs.mode) {
                found.extend(lane.tasks(tx, claimant, free, now).await?.into_iter().map(|record| (record, codebase.clone())));
            }
        }
    }
    found.sort_by_key(|(record, _)| (Reverse(record.task.priority), record.task.id));
    found.retain(|(record, codebase)| room.take(codebase, &record.task.mode));
    found.truncate(free);
    Ok(found)
}

/// Tasks of one queue that are for one codebase and ask the same of a worker.
struct Lane {
    target: String,
    target_codebase: String,
    name: String,
    needs: Needs,
}

impl Lane {
    /// A place before the first lane.
    fn before(target: &str) -> Self {
        Self { target: target.to_owned(), target_codebase: String::new(), name: String::new(), needs: Needs::default() }
    }

    async fn next(&self, tx: &mut Tx<'_>) -> sqlx::Result<Option<Self>> {
        let next = NEXT_LANE.on(tx.dialect()).bind(self.target.clone()).bind(self.target_codebase.clone()).bind(self.name.clone());
        tx.optional(next).await?.as_ref().map(|row| self.read(row)).transpose()
    }

    fn read(&self, row: &AnyRow) -> sqlx::Result<Self> {
        let needs = Needs {
            worker: (!self.target.is_empty()).then(|| WorkerId(self.target.clone())),
            codebase: None,
            model: row.maybe_text("model")?,
            capabilities: row.json("capabilities")?,
            labels: row.json("labels")?,
            mode: row.text("mode")?,
        };
        Ok(Self { target: self.target.clone(), target_codebase: row.text("target_codebase")?, name: row.text("lane")?, needs })
    }

    fn codebase(&self) -> Option<CodebaseId> {
        (!self.target_codebase.is_empty()).then(|| CodebaseId(self.target_codebase.clone()))
    }

    /// The first tasks of the lane that may run now.
    async fn tasks(&self, tx: &mut Tx<'_>, claimant: &Claimant, most: usize, now: Timestamp) -> sqlx::Result<Vec<TaskRecord>> {
        let statement = IN_LANE.on(tx.dialect()).bind(self.target.clone()).bind(self.target_codebase.clone()).bind(self.name.clone());
        let statement = statement.bind(now.0).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let instance = claimant.instance.map(|instance| instance.to_string()).unwrap_or_default();
        let rows = tx.all(statement.bind(instance)).await?;
        rows.iter().map(TaskRecord::read).collect()
    }
}

/// How many writing tasks there are, and may be, in each codebase of the worker.
struct Room {
    writing: BTreeMap<CodebaseId, u64>,
    parallel: BTreeMap<CodebaseId, u64>,
    global: Option<CodebaseId>,
}

impl Room {
    async fn read(tx: &mut Tx<'_>, claimant: &Claimant) -> sqlx::Result<Self> {
        let mut room = Self { writing: BTreeMap::new(), parallel: BTreeMap::new(), global: claimant.global_codebase.clone() };
        for row in tx.all(WRITING.on(tx.dialect()).bind(claimant.id.0.clone())).await? {
            room.writing.insert(CodebaseId(row.text("codebase_id")?), row.count("n")?);
        }
        for row in tx.all(PARALLEL.on(tx.dialect()).bind(claimant.id.0.clone())).await? {
            room.parallel.insert(CodebaseId(row.text("id")?), row.count("parallel")?);
        }
        Ok(room)
    }

    /// Where a task for a codebase runs: in that one if the worker has it, in the global one if it is for none.
    fn place(&self, asked: Option<CodebaseId>, claimant: &Claimant) -> Option<CodebaseId> {
        let codebase = asked.or_else(|| claimant.global_codebase.clone())?;
        self.parallel.contains_key(&codebase).then_some(codebase)
    }

    fn has_place(&self, codebase: &CodebaseId, mode: &str) -> bool {
        let writing = self.writing.get(codebase).copied().unwrap_or(0);
        !writes(mode, self.global.as_ref() == Some(codebase)) || writing < self.parallel.get(codebase).copied().unwrap_or(0)
    }

    /// Takes the place for a task, if there is one.
    fn take(&mut self, codebase: &CodebaseId, mode: &str) -> bool {
        if !self.has_place(codebase, mode) {
            return false;
        }
        if writes(mode, self.global.as_ref() == Some(codebase)) {
            *self.writing.entry(codebase.clone()).or_default() += 1;
        }
        true
    }
}
