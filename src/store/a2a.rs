//! What A2A reads and keeps: tasks by their status, and what is said in them.

use super::interactions::{AnswerInteraction, AnswerOutcome};
use super::row::{Columns as _, to_int, to_json};
use super::sql::statements;
use super::tasks::{TaskRecord, columns};
use super::{Store, StoreError, Tx, Write};
use muster_protocol::a2a::Message;
use muster_protocol::ids::{ContextId, PrincipalId, TaskId, WorkerId};
use muster_protocol::stream::StreamEntry;
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// A task, and since when it has its status.
#[derive(Debug, Clone)]
pub struct ToldTask {
    /// The task.
    pub record: TaskRecord,
    /// Since when.
    pub status_at: Timestamp,
}

impl ToldTask {
    /// A task that an agent of this server has just answered, as it would be read.
    #[must_use]
    pub fn answered(task: Task) -> Self {
        let status_at = task.completed_at.unwrap_or(task.created_at);
        let record = TaskRecord {
            target_worker: task.worker_id.clone(),
            target_codebase: None,
            runs_in: None,
            writing: false,
            held: false,
            holder: None,
            losses: 0,
            continuation: false,
            disconnected_at: None,
            cancel_asked_at: None,
            task,
        };
        Self { record, status_at }
    }
}

/// Which agent's tasks a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfAgent {
    /// A machine's: those that only it may take.
    Machine(WorkerId),
    /// An agent's of this server, by its names. They are names as the configuration allows them.
    Own([String; 2]),
}

/// Which of an owner's tasks a list shows.
#[derive(Debug, Clone)]
pub struct ToldFilter {
    /// Whose.
    pub owner: PrincipalId,
    /// Only of this conversation.
    pub context: Option<ContextId>,
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only of this agent.
    pub agent: Option<OfAgent>,
    /// Only with a status from then or later.
    pub since: Option<Timestamp>,
}

/// The time of a task's status, as the index has it.
macro_rules! status_at {
    () => {
        "COALESCE(completed_at, asked_at, started_at, created_at)"
    };
}

/// The conditions of a list; an absent one is ''. The target is looked into for a name that needs no escape in JSON.
macro_rules! told {
    ($position:literal) => {
        concat!(
            " FROM tasks WHERE owner = $1 AND ",
            status_at!(),
            " >= $2 AND ($3 = '' OR context_id = $3) AND ($4 = '' OR state = $4) AND ($5 = '' OR target_worker = $5)
            AND ($6 = '' OR ",
            $position,
            "(target, $6) > 0 OR ",
            $position,
            "(target, $7) > 0)"
        )
    };
}

macro_rules! page {
    () => {
        concat!(
            " AND ",
            status_at!(),
            " <= $8 AND (",
            status_at!(),
            " < $8 OR id < $9) ORDER BY ",
            status_at!(),
            " DESC, id DESC LIMIT $10"
        )
    };
}

statements! {
    TOLD: concat!("SELECT ", columns!(), ", ", status_at!(), " AS status_at FROM tasks WHERE id = $1");
    LIST_TOLD: concat!("SELECT ", columns!(), ", ", status_at!(), " AS status_at", told!("instr"), page!()),
    postgres: concat!("SELECT ", columns!(), ", ", status_at!(), " AS status_at", told!("strpos"), page!());
    TOTAL: "SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT) AS n FROM task_counts WHERE owner = $1 AND ($2 = '' OR state = $2)";
    COUNT_TOLD: concat!("SELECT COUNT(*) AS n", told!("instr")), postgres: concat!("SELECT COUNT(*) AS n", told!("strpos"));
    // What artifacts and states are made of, without what a task thinks and the tools it uses.
    SAID: "SELECT task_seq, attempt, at, kind, data FROM stream_entries WHERE task_id = $1 AND task_seq > $2 AND task_seq <= $3
        AND kind IN ('text', 'output', 'status', 'interaction', 'artifact') ORDER BY task_seq LIMIT $4";
    ADD_MESSAGE: "INSERT INTO a2a_messages (task_id, n, at, message)
        SELECT $1, COALESCE(MAX(n), 0) + 1, $2, $3 FROM a2a_messages WHERE task_id = $1";
    MESSAGES: "SELECT task_id, message FROM a2a_messages WHERE task_id IN (SELECT value FROM json_each($1)) ORDER BY task_id, n",
    postgres: "SELECT task_id, message FROM a2a_messages WHERE task_id IN (SELECT json_array_elements_text($1::text::json)) ORDER BY task_id, n";
}

fn read(row: &AnyRow) -> sqlx::Result<ToldTask> {
    Ok(ToldTask { record: TaskRecord::read(row)?, status_at: row.time("status_at")? })
}

impl ToldFilter {
    /// Whether what it lets through is counted as it changes.
    fn is_of_states_alone(&self) -> bool {
        self.context.is_none() && self.agent.is_none() && self.since.is_none()
    }

    /// The values of `$3` to `$7`.
    fn values(&self) -> [String; 5] {
        let (worker, names) = match &self.agent {
            None => (String::new(), [String::new(), String::new()]),
            Some(OfAgent::Machine(worker)) => (worker.0.clone(), [String::new(), String::new()]),
            Some(OfAgent::Own(names)) => (String::new(), names.clone().map(|name| format!("\"agent\":\"{name}\""))),
        };
        let [one, other] = names;
        let context = self.context.as_ref().map(|context| context.0.clone()).unwrap_or_default();
        [context, self.state.map(|state| state.as_str().to_owned()).unwrap_or_default(), worker, one, other]
    }
}

impl Store {
    /// A task, and since when it has its status.
    ///
    /// # Errors
    /// Of the database.
    pub async fn told_task(&self, id: TaskId) -> Result<Option<ToldTask>, StoreError> {
        let row = TOLD.on(self.dialect()).bind(id.to_string()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Up to `limit` tasks, the newest status first, after the place `before`.
    ///
    /// # Errors
    /// Of the database.
    pub async fn told_tasks(
        &self,
        filter: &ToldFilter,
        before: Option<(Timestamp, TaskId)>,
        limit: u32,
    ) -> Result<Vec<ToldTask>, StoreError> {
        let query = LIST_TOLD.on(self.dialect()).bind(filter.owner.0.clone()).bind(filter.since.map_or(i64::MIN, |at| at.0));
        let query = filter.values().into_iter().fold(query, sqlx::query::Query::bind);
        // A letter after `f` is after every id.
        let (at, id) = before.map_or((i64::MAX, "g".to_owned()), |(at, id)| (at.0, id.to_string()));
        let rows = query.bind(at).bind(id).bind(i64::from(limit)).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// How many tasks there are.
    ///
    /// # Errors
    /// Of the database.
    pub async fn count_told(&self, filter: &ToldFilter) -> Result<u64, StoreError> {
        if filter.is_of_states_alone() {
            let state = filter.state.map(|state| state.as_str().to_owned()).unwrap_or_default();
            let total = TOTAL.on(self.dialect()).bind(filter.owner.0.clone()).bind(state);
            return Ok(total.fetch_one(self.readers()).await?.count("n")?);
        }
        let query = COUNT_TOLD.on(self.dialect()).bind(filter.owner.0.clone()).bind(filter.since.map_or(i64::MIN, |at| at.0));
        let query = filter.values().into_iter().fold(query, sqlx::query::Query::bind);
        Ok(query.fetch_one(self.readers()).await?.count("n")?)
    }

    /// Up to `limit` entries after one place and up to another, of those that artifacts and states are made of.
    ///
    /// # Errors
    /// Of the database.
    pub async fn said(&self, task: TaskId, after: u64, upto: u64, limit: u32) -> Result<Vec<StreamEntry>, StoreError> {
        let query = SAID.on(self.dialect()).bind(task.to_string()).bind(to_int(after)).bind(to_int(upto)).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(super::stream::read).collect::<sqlx::Result<_>>()?)
    }

    /// What was said in tasks after their first messages, in order.
    ///
    /// # Errors
    /// Of the database.
    pub async fn later_messages(&self, tasks: &[TaskId]) -> Result<HashMap<TaskId, Vec<Message>>, StoreError> {
        let rows = MESSAGES.on(self.dialect()).bind(to_json(&tasks)).fetch_all(self.readers()).await?;
        let mut by_task: HashMap<TaskId, Vec<Message>> = HashMap::new();
        for row in &rows {
            by_task.entry(row.parsed("task_id")?).or_default().push(row.json("message")?);
        }
        Ok(by_task)
    }
}

/// Keeps what was said in a task after its first message.
pub(in crate::store) async fn add_message(tx: &mut Tx<'_>, task: TaskId, message: &Message, now: Timestamp) -> sqlx::Result<()> {
    let add = ADD_MESSAGE.on(tx.dialect()).bind(task.to_string()).bind(now.0).bind(to_json(message));
    tx.execute_aside(add).await.map(drop)
}

/// Takes somebody's answer to an interaction, and keeps what was asked and answered.
#[derive(Debug, Clone)]
pub struct AnswerByMessage {
    /// The answer.
    pub answer: AnswerInteraction,
    /// The task.
    pub task: TaskId,
    /// What was said.
    pub messages: [Message; 2],
}

impl Write for AnswerByMessage {
    const NAME: &'static str = "answer_by_message";
    type Output = AnswerOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<AnswerOutcome> {
        let outcome = self.answer.apply(tx).await?;
        if matches!(outcome, AnswerOutcome::Taken(_)) {
            for message in &self.messages {
                add_message(tx, self.task, message, self.answer.now).await?;
            }
        }
        Ok(outcome)
    }
}
