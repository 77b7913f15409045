//! Tasks: their rows, and reading them.

use super::row::{Columns, to_json};
use super::sql::statements;
use super::{Store, StoreError, Tx};
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, SessionId, TaskId, WorkerId};
use muster_protocol::task::{OnLost, PENDING_CODEBASE, Task, TaskState};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A task with what only the store and the decisions need to know of it.
#[derive(Debug, Clone)]
pub struct TaskRecord {
    /// The task as it is shown.
    pub task: Task,
    /// The only worker that may take it.
    pub target_worker: Option<WorkerId>,
    /// Where it must run.
    pub target_codebase: Option<CodebaseId>,
    /// Where it runs, or ran last; nothing before a worker took it.
    pub runs_in: Option<CodebaseId>,
    /// Whether it counts against its codebase's `parallel`.
    pub writing: bool,
    /// Whether a worker has an attempt that has not ended.
    pub held: bool,
    /// Who has it, or had it last.
    pub holder: Option<WorkerId>,
    /// How many started attempts were lost.
    pub losses: u32,
    /// Whether the next attempt continues an interrupted run.
    pub continuation: bool,
    /// Since when its worker has not been heard of.
    pub disconnected_at: Option<Timestamp>,
    /// Since when a cancel is on its way.
    pub cancel_asked_at: Option<Timestamp>,
}

/// The columns of [`TaskRecord`].
macro_rules! columns {
    () => {
        "id, owner, context_id, parent_id, retry_of, title, prompt, mode, model, target, target_worker, target_codebase, capabilities, \
         labels, priority, not_before, deadline, on_lost, max_attempts, metadata, state, held, attempt, losses, holder, codebase_id, \
         session_id, continuation, writing, disconnected_at, cancel_asked_at, cancel_confirmed, verified, result, error, error_code, usage, changes, \
         entries, created_at, updated_at, started_at, completed_at"
    };
}
pub(in crate::store) use columns;

/// Which tasks a list shows.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only these states; all if empty.
    pub states: Vec<TaskState>,
    /// Only of this codebase.
    pub codebase: Option<CodebaseId>,
    /// Only of this worker: it has them, had them, or is the only one that may take them.
    pub worker: Option<WorkerId>,
    /// Only of this owner.
    pub owner: Option<PrincipalId>,
    /// Only of this conversation.
    pub context: Option<ContextId>,
    /// Only parts of this task.
    pub parent: Option<TaskId>,
    /// Only with this in id, title or prompt, in any case.
    pub text: Option<String>,
    /// The newest first, instead of by priority and age.
    pub newest_first: bool,
    /// Only after this place.
    pub after: Option<(i64, TaskId)>,
    /// At most so many.
    pub limit: u32,
}

/// The conditions of a list. An absent one is '' or, for the states, an empty JSON array; each combination is planned well enough by the index
/// on the order. Case is the database's on both sides: SQLite knows only ASCII's.
macro_rules! filtered {
    ($states:literal, $position:literal) => {
        filtered!($states, $position, "")
    };
    ($states:literal, $position:literal, $only:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM tasks WHERE ",
            $only,
            "($1 = '[]' OR state IN (",
            $states,
            "))
            AND ($2 = '' OR codebase_id = $2 OR target_codebase = $2)
            AND ($3 = '' OR holder = $3 OR target_worker = $3)
            AND ($4 = '' OR owner = $4)
            AND ($5 = '' OR context_id = $5)
            AND ($6 = '' OR ",
            $position,
            "(lower(title), lower($6)) > 0 OR ",
            $position,
            "(lower(prompt), lower($6)) > 0 OR ",
            $position,
            "(id, lower($6)) > 0)"
        )
    };
}

macro_rules! by_priority {
    () => {
        " AND ($7 = '' OR priority < $8 OR (priority = $8 AND id > $7)) ORDER BY priority DESC, id LIMIT $9"
    };
}

// An id begins with the time it was made. The priority of the place is named so that both orders take the same values.
macro_rules! newest {
    () => {
        " AND ($7 = '' OR (id < $7 AND $8 = $8)) ORDER BY id DESC LIMIT $9"
    };
}

statements! {
    GET: concat!("SELECT ", columns!(), " FROM tasks WHERE id = $1");
    BY_PRIORITY: concat!(filtered!("SELECT value FROM json_each($1)", "instr"), by_priority!()),
    postgres: concat!(filtered!("SELECT json_array_elements_text($1::text::json)", "strpos"), by_priority!());
    NEWEST: concat!(filtered!("SELECT value FROM json_each($1)", "instr"), newest!()),
    postgres: concat!(filtered!("SELECT json_array_elements_text($1::text::json)", "strpos"), newest!());
    // Of one task there are few parts, by the index on it.
    PARTS_BY_PRIORITY: concat!(filtered!("SELECT value FROM json_each($1)", "instr", "parent_id = $10 AND "), by_priority!()),
    postgres: concat!(filtered!("SELECT json_array_elements_text($1::text::json)", "strpos", "parent_id = $10 AND "), by_priority!());
    NEWEST_PARTS: concat!(filtered!("SELECT value FROM json_each($1)", "instr", "parent_id = $10 AND "), newest!()),
    postgres: concat!(filtered!("SELECT json_array_elements_text($1::text::json)", "strpos", "parent_id = $10 AND "), newest!());
    COUNT_BY_STATE: "SELECT state, CAST(SUM(n) AS BIGINT) AS n FROM task_counts GROUP BY state HAVING SUM(n) > 0";
    HELD: concat!("SELECT ", columns!(), " FROM tasks WHERE held = 1");
    HELD_BY_AGENTS: concat!("SELECT ", columns!(), " FROM tasks WHERE held = 1 AND holder LIKE 'agents/%'");
    HELD_BY: concat!("SELECT ", columns!(), " FROM tasks WHERE held = 1 AND holder = $1");
    HELD_IN: concat!("SELECT ", columns!(), " FROM tasks WHERE held = 1 AND codebase_id = $1");
    RUNNING_BY_WORKER: "SELECT holder, COUNT(*) AS n FROM tasks WHERE held = 1 GROUP BY holder";
    WRITING_BY_CODEBASE: "SELECT codebase_id, COUNT(*) AS n FROM tasks WHERE held = 1 AND writing = 1 GROUP BY codebase_id";
    AHEAD_IN_CONTEXT: "SELECT id FROM tasks WHERE context_id = $1 AND completed_at IS NULL AND id <> $2 AND (held = 1 OR id < $2) ORDER BY held DESC, id LIMIT 1";
    QUEUED_FOR: concat!("SELECT ", columns!(), " FROM tasks WHERE target_codebase = $1 AND state = 'submitted' AND held = 0");
    DUE: "SELECT DISTINCT target_worker FROM tasks WHERE state = 'submitted' AND not_before > 0 AND not_before > $1
        AND not_before <= $2";
    OVERDUE: "SELECT id FROM tasks WHERE completed_at IS NULL AND deadline <= $1 AND (cancel_asked_at IS NULL OR disconnected_at IS NOT NULL)
        ORDER BY deadline LIMIT 100";
}

impl TaskRecord {
    pub(in crate::store) fn read(row: &AnyRow) -> sqlx::Result<Self> {
        let state: String = row.text("state")?;
        let state = TaskState::from_word(&state).ok_or_else(|| super::row::wrong("state", format!("unknown state `{state}`")))?;
        let on_lost = OnLost::from_word(&row.text("on_lost")?).unwrap_or_default();
        let mode = row.text("mode")?;
        let task = Task {
            id: row.parsed("id")?,
            codebase_id: CodebaseId::from(PENDING_CODEBASE),
            title: row.text("title")?,
            prompt: row.text("prompt")?,
            agent_type: mode.clone(),
            mode,
            status: state.status(),
            state,
            priority: i32::try_from(row.int("priority")?).unwrap_or_default(),
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            started_at: row.maybe_time("started_at")?,
            completed_at: row.maybe_time("completed_at")?,
            result: row.maybe_text("result")?,
            error: row.maybe_text("error")?,
            error_code: row.maybe_text("error_code")?,
            session_id: row.maybe_text("session_id")?.map(SessionId),
            metadata: row.json("metadata")?,
            attempt: row.count("attempt")?,
            worker_id: None,
            context_id: ContextId(row.text("context_id")?),
            parent_id: row.maybe_parsed("parent_id")?,
            retry_of: row.maybe_parsed("retry_of")?,
            target: row.json("target")?,
            model: row.maybe_text("model")?,
            capabilities: row.json("capabilities")?,
            labels: row.json("labels")?,
            on_lost,
            max_attempts: row.small("max_attempts")?,
            not_before: row.maybe_time("not_before")?.filter(|at| at.0 > 0),
            deadline: row.maybe_time("deadline")?,
            owner: PrincipalId(row.text("owner")?),
            usage: row.maybe_json("usage")?,
            changes: row.json("changes")?,
            disconnected: false,
            cancel_requested: false,
            confirmed: row.maybe_int("cancel_confirmed")?.map(|flag| flag != 0),
            verified: row.maybe_int("verified")?.map(|flag| flag != 0),
            entries: row.count("entries")?,
        };
        let mut record = Self {
            task,
            target_worker: named(row.text("target_worker")?).map(WorkerId),
            target_codebase: named(row.text("target_codebase")?).map(CodebaseId),
            runs_in: named(row.text("codebase_id")?).map(CodebaseId),
            writing: row.flag("writing")?,
            held: row.flag("held")?,
            holder: row.maybe_text("holder")?.map(WorkerId),
            losses: row.small("losses")?,
            continuation: row.flag("continuation")?,
            disconnected_at: row.maybe_time("disconnected_at")?,
            cancel_asked_at: row.maybe_time("cancel_asked_at")?,
        };
        record.show();
        Ok(record)
    }

    /// Brings what is shown of the task in line with the rest of the record.
    pub(in crate::store) fn show(&mut self) {
        let task = &mut self.task;
        let codebase = self.runs_in.as_ref().or(self.target_codebase.as_ref());
        task.codebase_id = codebase.cloned().unwrap_or_else(|| CodebaseId::from(PENDING_CODEBASE));
        task.worker_id = self.holder.clone().or_else(|| self.target_worker.clone());
        task.status = task.state.status();
        task.disconnected = self.disconnected_at.is_some();
        task.cancel_requested = self.cancel_asked_at.is_some() && !task.state.is_terminal();
    }
}

/// Columns that must not be NULL hold '' for nothing.
fn named(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn read_all(rows: &[AnyRow]) -> sqlx::Result<Vec<TaskRecord>> {
    rows.iter().map(TaskRecord::read).collect()
}

impl Store {
    /// A task.
    ///
    /// # Errors
    /// Of the database.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.to_string()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(TaskRecord::read).transpose()?)
    }

    /// Tasks: highest priority first and oldest first, or the newest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
        let (priority, id) = filter.after.map_or((0, String::new()), |(priority, id)| (priority, id.to_string()));
        let statement = match (&filter.parent, filter.newest_first) {
            (None, false) => BY_PRIORITY,
            (None, true) => NEWEST,
            (Some(_), false) => PARTS_BY_PRIORITY,
            (Some(_), true) => NEWEST_PARTS,
        };
        let mut query = statement
            .on(self.dialect())
            .bind(to_json(&states))
            .bind(filter.codebase.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(filter.worker.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(filter.owner.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(filter.context.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(filter.text.clone().unwrap_or_default())
            .bind(id)
            .bind(priority)
            .bind(i64::from(filter.limit));
        if let Some(parent) = filter.parent {
            query = query.bind(parent.to_string());
        }
        Ok(read_all(&query.fetch_all(self.readers()).await?)?)
    }

    /// How many tasks there are in each state.
    ///
    /// # Errors
    /// Of the database.
    pub async fn count_tasks(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows = COUNT_BY_STATE.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| Ok((row.text("state")?, row.count("n")?))).collect::<sqlx::Result<_>>()?)
    }

    /// Every task that a worker has.
    ///
    /// # Errors
    /// Of the database.
    pub async fn held_tasks(&self) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(read_all(&HELD.on(self.dialect()).fetch_all(self.readers()).await?)?)
    }

    /// Every task that an agent of others has.
    ///
    /// # Errors
    /// Of the database.
    pub async fn held_by_agents(&self) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(read_all(&HELD_BY_AGENTS.on(self.dialect()).fetch_all(self.readers()).await?)?)
    }

    /// The tasks that a worker has: not more than it has slots.
    ///
    /// # Errors
    /// Of the database.
    pub async fn held_by(&self, worker: &WorkerId) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(read_all(&HELD_BY.on(self.dialect()).bind(worker.0.clone()).fetch_all(self.readers()).await?)?)
    }

    /// The tasks that a worker has in a codebase.
    ///
    /// # Errors
    /// Of the database.
    pub async fn held_in(&self, codebase: &CodebaseId) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(read_all(&HELD_IN.on(self.dialect()).bind(codebase.0.clone()).fetch_all(self.readers()).await?)?)
    }

    /// How many tasks each worker has.
    ///
    /// # Errors
    /// Of the database.
    pub async fn running_by_worker(&self) -> Result<BTreeMap<WorkerId, u32>, StoreError> {
        let rows = RUNNING_BY_WORKER.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| Ok((WorkerId(row.text("holder")?), row.small("n")?))).collect::<sqlx::Result<_>>()?)
    }

    /// How many writing tasks run in each codebase.
    ///
    /// # Errors
    /// Of the database.
    pub async fn writing_by_codebase(&self) -> Result<BTreeMap<CodebaseId, u32>, StoreError> {
        let rows = WRITING_BY_CODEBASE.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| Ok((CodebaseId(row.text("codebase_id")?), row.small("n")?))).collect::<sqlx::Result<_>>()?)
    }

    /// The task that a task's conversation must run first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn ahead_in_context(&self, task: &Task) -> Result<Option<TaskId>, StoreError> {
        let query = AHEAD_IN_CONTEXT.on(self.dialect()).bind(task.context_id.0.clone()).bind(task.id.to_string());
        let row = query.fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.parsed("id")).transpose()?)
    }

    /// Whose tasks became due between two times (`not_before`); `None` for tasks that any worker may take.
    ///
    /// # Errors
    /// Of the database.
    pub async fn due_between(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Option<WorkerId>>, StoreError> {
        let rows = DUE.on(self.dialect()).bind(from.0).bind(to.0).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| Ok(named(row.text("target_worker")?).map(WorkerId))).collect::<sqlx::Result<_>>()?)
    }

    /// Up to 100 tasks that have not ended by their deadline, without those whose worker is there and has been asked to stop them.
    ///
    /// # Errors
    /// Of the database.
    pub async fn overdue(&self, now: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        let rows = OVERDUE.on(self.dialect()).bind(now.0).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.parsed("id")).collect::<sqlx::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// The tasks that wait for a codebase.
    pub(in crate::store) async fn tasks_queued_for(&mut self, codebase: &CodebaseId) -> sqlx::Result<Vec<TaskRecord>> {
        read_all(&self.all(QUEUED_FOR.on(self.dialect()).bind(codebase.0.clone())).await?)
    }

    /// The tasks that a worker has.
    pub(in crate::store) async fn tasks_held_by(&mut self, worker: &WorkerId) -> sqlx::Result<Vec<TaskRecord>> {
        read_all(&self.all(HELD_BY.on(self.dialect()).bind(worker.0.clone())).await?)
    }
}
