//! What A2A reads and keeps: tasks by their status, what is said in them, webhooks.

use super::interactions::{AnswerInteraction, AnswerOutcome};
use super::row::{Columns as _, to_int, to_json};
use super::sql::statements;
use super::tasks::{TaskRecord, columns};
use super::{Store, StoreError, Tx, Write};
use muster_protocol::a2a::{Message, TaskPushNotificationConfig};
use muster_protocol::ids::{ContextId, PrincipalId, TaskId, WorkerId};
use muster_protocol::stream::StreamEntry;
use muster_protocol::task::TaskState;
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

/// The most webhooks that a task may have.
pub const MOST_PUSH_CONFIGS: u64 = 32;

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
    COUNT_TOLD: concat!("SELECT COUNT(*) AS n", told!("instr")), postgres: concat!("SELECT COUNT(*) AS n", told!("strpos"));
    // What artifacts and states are made of, without what a task thinks and the tools it uses.
    SAID: "SELECT task_seq, attempt, at, kind, data FROM stream_entries WHERE task_id = $1 AND task_seq > $2 AND task_seq <= $3
        AND kind IN ('text', 'output', 'status', 'interaction', 'artifact') ORDER BY task_seq LIMIT $4";
    ADD_MESSAGE: "INSERT INTO a2a_messages (task_id, n, at, message)
        SELECT $1, COALESCE(MAX(n), 0) + 1, $2, $3 FROM a2a_messages WHERE task_id = $1";
    MESSAGES: "SELECT task_id, message FROM a2a_messages WHERE task_id IN (SELECT value FROM json_each($1)) ORDER BY task_id, n",
    postgres: "SELECT task_id, message FROM a2a_messages WHERE task_id IN (SELECT json_array_elements_text($1::text::json)) ORDER BY task_id, n";
    PUT_PUSH: "INSERT INTO a2a_push_configs (task_id, id, version, config, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (task_id, id) DO UPDATE SET version = excluded.version, config = excluded.config";
    COUNT_PUSH: "SELECT COUNT(*) AS n FROM a2a_push_configs WHERE task_id = $1 AND id <> $2";
    GET_PUSH: "SELECT config FROM a2a_push_configs WHERE task_id = $1 AND id = $2";
    LIST_PUSH: "SELECT config FROM a2a_push_configs WHERE task_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    DELETE_PUSH: "DELETE FROM a2a_push_configs WHERE task_id = $1 AND id = $2";
}

fn read(row: &AnyRow) -> sqlx::Result<ToldTask> {
    Ok(ToldTask { record: TaskRecord::read(row)?, status_at: row.time("status_at")? })
}

impl ToldFilter {
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

    /// A webhook of a task.
    ///
    /// # Errors
    /// Of the database.
    pub async fn push_config(&self, task: TaskId, id: &str) -> Result<Option<TaskPushNotificationConfig>, StoreError> {
        let query = GET_PUSH.on(self.dialect()).bind(task.to_string()).bind(id.to_owned());
        let row = query.fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.json("config")).transpose()?)
    }

    /// Up to `limit` webhooks of a task by their ids, after `after`.
    ///
    /// # Errors
    /// Of the database.
    pub async fn push_configs(&self, task: TaskId, after: &str, limit: u32) -> Result<Vec<TaskPushNotificationConfig>, StoreError> {
        let query = LIST_PUSH.on(self.dialect()).bind(task.to_string()).bind(after.to_owned()).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.json("config")).collect::<sqlx::Result<_>>()?)
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

/// Keeps a webhook of a task, instead of the one of the same id.
#[derive(Debug, Clone)]
pub struct PutPushConfig {
    /// The task.
    pub task: TaskId,
    /// The webhook, with its id.
    pub config: TaskPushNotificationConfig,
    /// The version of A2A that its owner speaks.
    pub version: &'static str,
    /// When.
    pub now: Timestamp,
}

impl Write for PutPushConfig {
    const NAME: &'static str = "put_push_config";
    /// Whether it is kept: a task has no more than [`MOST_PUSH_CONFIGS`].
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let (task, id) = (self.task.to_string(), self.config.id.clone());
        let others = tx.optional(COUNT_PUSH.on(tx.dialect()).bind(task.clone()).bind(id.clone())).await?;
        if others.map(|row| row.count("n")).transpose()?.unwrap_or(0) >= MOST_PUSH_CONFIGS {
            return Ok(false);
        }
        let put = PUT_PUSH.on(tx.dialect()).bind(task).bind(id).bind(self.version).bind(to_json(&self.config)).bind(self.now.0);
        tx.execute_aside(put).await?;
        Ok(true)
    }
}

/// Forgets a webhook of a task, if it is there.
#[derive(Debug, Clone)]
pub struct DeletePushConfig {
    /// The task.
    pub task: TaskId,
    /// Which.
    pub id: String,
}

impl Write for DeletePushConfig {
    const NAME: &'static str = "delete_push_config";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(DELETE_PUSH.on(tx.dialect()).bind(self.task.to_string()).bind(self.id.clone())).await.map(|_| ())
    }
}
