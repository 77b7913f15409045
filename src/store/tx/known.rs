//! Rows that the writer has read already. As the only one that writes, it need not read them again: whatever changes them goes through here, and
//! what changes them otherwise makes it forget them.

use super::Tx;
use crate::store::attempts::Attempt;
use crate::store::codebases::{self, codebases_by_id};
use crate::store::contexts::{self, Context};
use crate::store::row::{Columns as _, to_json};
use crate::store::sql::statements;
use crate::store::tasks::{TaskRecord, columns};
use crate::store::workers::Registered;
use muster_protocol::codebase::Codebase;
use muster_protocol::ids::{CodebaseId, ContextId, InstanceId, PrincipalId, TaskId, WorkerId};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// How many rows are kept from one batch to the next, and how large a prompt may be for that.
const MOST_KEPT: usize = 4_096;
const LONGEST_KEPT: usize = 16 << 10;

/// A task with what decides about it.
#[derive(Debug, Clone)]
pub(in crate::store) struct KnownTask {
    /// The task.
    pub(in crate::store) record: TaskRecord,
    /// Its newest attempt.
    pub(in crate::store) attempt: Option<Attempt>,
    /// The conversation that it is a turn of.
    pub(in crate::store) context: Option<Context>,
    /// Whether another turn of its conversation waited when it was read.
    pub(in crate::store) turn_waits: bool,
    /// The former instances of the attempt's worker, as they are stored.
    pub(in crate::store) former: String,
    task_change: TaskChange,
    attempt_change: AttemptChange,
}

/// What was submitted with a key.
#[derive(Debug, Clone)]
pub(in crate::store) struct KnownKey {
    /// Of the body.
    pub(in crate::store) hash: String,
    /// The task.
    pub(in crate::store) task: TaskId,
    /// When.
    pub(in crate::store) at: Timestamp,
}

/// What of a task is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TaskChange {
    None,
    /// Only its count of entries.
    Counted,
    Changed,
}

/// What of an attempt is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptChange {
    None,
    New,
    Changed,
}

/// The rows.
#[derive(Debug, Default)]
pub(in crate::store) struct Known {
    tasks: HashMap<TaskId, KnownTask>,
    codebases: HashMap<CodebaseId, Codebase>,
    /// Workers that register in this batch, each once; nothing where there is none of that id.
    registered: HashMap<WorkerId, Option<Registered>>,
    /// Keys that are submitted with in this batch.
    keys: HashMap<(PrincipalId, String), Option<KnownKey>>,
    /// Which tasks are to be written.
    changed: Vec<TaskId>,
}

macro_rules! read {
    ($ids:literal) => {
        concat!(
            "SELECT t.*, a.attempt AS a_attempt, a.worker_id AS a_worker_id, a.instance AS a_instance, a.state AS a_state, a.outcome AS a_outcome,
            a.session_id AS a_session_id, a.assigned_at AS a_assigned_at, a.started_at AS a_started_at, a.ended_at AS a_ended_at,
            a.next_seq AS a_next_seq, a.bytes AS a_bytes, a.hash AS a_hash, w.former_instances,
            c.id AS c_id, c.owner AS c_owner, c.worker_id AS c_worker_id, c.codebase_id AS c_codebase_id, c.session_id AS c_session_id,
            c.fork_of AS c_fork_of,
            CAST(CASE WHEN EXISTS (SELECT 1 FROM tasks n WHERE n.context_id = t.context_id AND n.completed_at IS NULL AND n.id <> t.id)
                THEN 1 ELSE 0 END AS BIGINT) AS turn_waits
            FROM (SELECT ",
            columns!(),
            " FROM tasks WHERE id IN (",
            $ids,
            ")) t LEFT JOIN attempts a ON a.task_id = t.id AND a.attempt = t.attempt LEFT JOIN workers w ON w.id = a.worker_id
            LEFT JOIN contexts c ON c.id = t.context_id"
        )
    };
}

statements! {
    FIND_KEYS: "SELECT principal, key, hash, task_id, created_at FROM idempotency
        WHERE (principal, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
    postgres: "SELECT principal, key, hash, task_id, created_at FROM idempotency
        WHERE (principal, key) IN (SELECT v ->> 0, v ->> 1 FROM json_array_elements($1::text::json) v)";
    READ_TASKS: read!("SELECT value FROM json_each($1)"), postgres: read!("SELECT json_array_elements_text($1::text::json)");
}

impl KnownTask {
    fn read(row: &AnyRow) -> sqlx::Result<Self> {
        let attempt = if row.maybe_int("a_attempt")?.is_some() { Some(Attempt::read_as(row, "a_")?) } else { None };
        let context = if row.maybe_text("c_id")?.is_some() { Some(contexts::read_as(row, "c_")?) } else { None };
        Ok(Self {
            record: TaskRecord::read(row)?,
            attempt,
            context,
            turn_waits: row.flag("turn_waits")?,
            former: row.maybe_text("former_instances")?.unwrap_or_default(),
            task_change: TaskChange::None,
            attempt_change: AttemptChange::None,
        })
    }

    /// Whether a start of the attempt's worker was superseded by a newer one.
    pub(in crate::store) fn is_superseded(&self, instance: Option<InstanceId>) -> bool {
        instance.is_some_and(|instance| self.former.contains(&instance.to_string()))
    }

    /// Whether it is worth keeping: somebody has it, so that more will be said of it.
    fn is_kept(&self) -> bool {
        let task = &self.record.task;
        self.record.held && task.prompt.len() + task.result.as_ref().map_or(0, String::len) <= LONGEST_KEPT
    }
}

impl Known {
    /// Keeps for the next batch what is likely to be asked for again. All of it is written by now.
    pub(in crate::store) fn keep(&mut self) {
        self.registered.clear();
        self.keys.clear();
        self.tasks.retain(|_, known| known.is_kept());
        if self.tasks.len() > MOST_KEPT {
            self.tasks.clear();
        }
        if self.codebases.len() > MOST_KEPT {
            self.codebases.clear();
        }
    }

    /// Forgets everything. What is to be written must have been.
    pub(super) fn forget(&mut self) {
        debug_assert!(self.changed.is_empty(), "changes would be lost");
        self.tasks.clear();
        self.codebases.clear();
        self.registered.clear();
    }

    /// Forgets what was read of a worker that registers.
    pub(super) fn forget_registered(&mut self, worker: &WorkerId) {
        self.registered.remove(worker);
    }

    /// Whether anything is to be written.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Hands over what is to be written.
    pub(super) fn take_changes(&mut self, mut take: impl FnMut(&KnownTask, TaskChange, AttemptChange)) {
        for id in std::mem::take(&mut self.changed) {
            if let Some(known) = self.tasks.get_mut(&id) {
                let (task, attempt) = (known.task_change, known.attempt_change);
                (known.task_change, known.attempt_change) = (TaskChange::None, AttemptChange::None);
                take(known, task, attempt);
            }
        }
    }

    fn change(&mut self, id: TaskId, change: TaskChange) -> Option<&mut KnownTask> {
        let known = self.tasks.get_mut(&id)?;
        if known.task_change == TaskChange::None && known.attempt_change == AttemptChange::None {
            self.changed.push(id);
        }
        known.task_change = known.task_change.max(change);
        Some(known)
    }
}

impl Tx<'_> {
    /// Reads tasks that are not known yet, all together.
    pub(in crate::store) async fn read_tasks(&mut self, mut ids: Vec<TaskId>) -> sqlx::Result<()> {
        ids.retain(|id| !self.known.tasks.contains_key(id));
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(());
        }
        for row in self.all(READ_TASKS.on(self.dialect()).bind(to_json(&ids))).await? {
            let known = KnownTask::read(&row)?;
            self.known.tasks.insert(known.record.task.id, known);
        }
        Ok(())
    }

    /// A task with what decides about it.
    pub(in crate::store) async fn known(&mut self, id: TaskId) -> sqlx::Result<Option<&KnownTask>> {
        self.read_tasks(vec![id]).await?;
        Ok(self.known.tasks.get(&id))
    }

    /// A task.
    pub(in crate::store) async fn task(&mut self, id: TaskId) -> sqlx::Result<Option<TaskRecord>> {
        Ok(self.known(id).await?.map(|known| known.record.clone()))
    }

    /// Changes a task and answers it as it is then.
    ///
    /// # Errors
    /// If it is not there.
    pub(in crate::store) async fn change_task(&mut self, id: TaskId, change: impl FnOnce(&mut TaskRecord)) -> sqlx::Result<TaskRecord> {
        self.read_tasks(vec![id]).await?;
        let known = self.known.change(id, TaskChange::Changed).ok_or(sqlx::Error::RowNotFound)?;
        let before = known.record.task.state;
        change(&mut known.record);
        known.record.show();
        let task = &known.record.task;
        if task.state != before {
            self.waiting.count_tasks(&task.owner, before, -1);
            self.waiting.count_tasks(&task.owner, task.state, 1);
        }
        Ok(known.record.clone())
    }

    /// Counts entries that are added to a task's stream; answers how many there are then.
    ///
    /// # Errors
    /// If it is not there.
    pub(in crate::store) async fn count_entries(&mut self, id: TaskId, more: u64, now: Timestamp) -> sqlx::Result<u64> {
        self.read_tasks(vec![id]).await?;
        let known = self.known.change(id, TaskChange::Counted).ok_or(sqlx::Error::RowNotFound)?;
        let task = &mut known.record.task;
        task.entries += more;
        task.updated_at = now;
        Ok(task.entries)
    }

    /// Changes a task's newest attempt, if it is the one of that number.
    pub(in crate::store) async fn change_attempt(
        &mut self,
        task: TaskId,
        number: u64,
        change: impl FnOnce(&mut Attempt),
    ) -> sqlx::Result<()> {
        self.read_tasks(vec![task]).await?;
        let Some(known) = self.known.change(task, TaskChange::None) else { return Ok(()) };
        if let Some(newest) = known.attempt.as_mut().filter(|newest| newest.attempt == number) {
            change(newest);
            if known.attempt_change == AttemptChange::None {
                known.attempt_change = AttemptChange::Changed;
            }
        }
        Ok(())
    }

    /// Begins an attempt of a task. `former` is what is stored of its worker's former instances.
    pub(in crate::store) async fn begin_attempt(&mut self, task: TaskId, attempt: Attempt, former: &str) -> sqlx::Result<()> {
        self.read_tasks(vec![task]).await?;
        if self.known.tasks.get(&task).is_some_and(|known| known.attempt_change != AttemptChange::None) {
            // The row of the attempt before it is to be written first.
            self.write_waiting().await?;
        }
        let known = self.known.change(task, TaskChange::None).ok_or(sqlx::Error::RowNotFound)?;
        known.attempt = Some(attempt);
        known.attempt_change = AttemptChange::New;
        former.clone_into(&mut known.former);
        Ok(())
    }

    /// Another turn of a conversation waits from now on.
    pub(in crate::store) fn turn_waits(&mut self, context: &ContextId) {
        for known in self.known.tasks.values_mut().filter(|known| known.record.task.context_id == *context) {
            known.turn_waits = true;
        }
    }

    /// Reads codebases that are not known yet, all together.
    pub(in crate::store) async fn read_codebases(&mut self, mut ids: Vec<CodebaseId>) -> sqlx::Result<()> {
        ids.retain(|id| !self.known.codebases.contains_key(id));
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(());
        }
        for row in self.all(codebases_by_id().on(self.dialect()).bind(to_json(&ids))).await? {
            let codebase = codebases::read(&row)?;
            self.known.codebases.insert(codebase.id.clone(), codebase);
        }
        Ok(())
    }

    /// Reads workers that register, and their codebases, all together.
    pub(in crate::store) async fn read_registered(&mut self, mut ids: Vec<WorkerId>) -> sqlx::Result<()> {
        ids.retain(|id| !self.known.registered.contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        let mut found = Registered::read_all(self, &ids).await?;
        for id in ids {
            let registered = found.remove(&id);
            self.known.registered.insert(id, registered);
        }
        Ok(())
    }

    /// Reads what was submitted with keys, all together.
    pub(in crate::store) async fn read_keys(&mut self, mut keys: Vec<(PrincipalId, String)>) -> sqlx::Result<()> {
        keys.retain(|key| !self.known.keys.contains_key(key));
        if keys.is_empty() {
            return Ok(());
        }
        let rows = self.all(FIND_KEYS.on(self.dialect()).bind(to_json(&keys))).await?;
        self.known.keys.extend(keys.into_iter().map(|key| (key, None)));
        for row in rows {
            let known = KnownKey { hash: row.text("hash")?, task: row.parsed("task_id")?, at: row.time("created_at")? };
            self.known.keys.insert((PrincipalId(row.text("principal")?), row.text("key")?), Some(known));
        }
        Ok(())
    }

    /// What was submitted with a key.
    pub(in crate::store) async fn find_key(&mut self, who: &PrincipalId, key: &str) -> sqlx::Result<Option<KnownKey>> {
        let key = (who.clone(), key.to_owned());
        self.read_keys(vec![key.clone()]).await?;
        Ok(self.known.keys.get(&key).cloned().flatten())
    }

    /// Remembers what was submitted with a key.
    pub(in crate::store) fn keep_key(&mut self, who: &PrincipalId, key: &str, known: KnownKey) {
        self.waiting.add_key(&(who, key, &known.hash, known.task, known.at.0));
        self.known.keys.insert((who.clone(), key.to_owned()), Some(known));
    }

    /// A worker that registers, as it is stored. It is handed over: after it has registered it is another.
    pub(in crate::store) async fn registered(&mut self, id: &WorkerId) -> sqlx::Result<Option<Registered>> {
        self.read_registered(vec![id.clone()]).await?;
        Ok(self.known.registered.remove(id).flatten())
    }

    /// A codebase.
    pub(in crate::store) async fn codebase(&mut self, id: &CodebaseId) -> sqlx::Result<Option<Codebase>> {
        self.read_codebases(vec![id.clone()]).await?;
        Ok(self.known.codebases.get(id).cloned())
    }
}
