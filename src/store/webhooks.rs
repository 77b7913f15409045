//! Webhooks: to whom what becomes of a task is told, how far that is, and what came of it.
//!
//! What is to be sent is not kept here: a webhook has a place in its task's stream.

use super::row::{Columns as _, to_int, to_json};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::a2a::TaskPushNotificationConfig;
use muster_protocol::event::kind;
use muster_protocol::ids::TaskId;
use muster_protocol::time::Timestamp;
use serde_json::json;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// The most webhooks that a task may have.
pub const MOST_WEBHOOKS: u64 = 32;

/// How long a webhook is kept after its end.
pub(in crate::store) const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Open webhooks, and whether there is something to tell: the task has more entries than were told, or has ended.
macro_rules! open {
    () => {
        "SELECT c.task_id, c.id, c.revision, c.config, c.not_before,
            CAST(CASE WHEN t.completed_at IS NULL AND t.entries = c.told THEN 0 ELSE 1 END AS BIGINT) AS has_news
            FROM a2a_push_configs c JOIN tasks t ON t.id = c.task_id WHERE c.ended_at IS NULL AND "
    };
}

statements! {
    PUT_WEBHOOK: "INSERT INTO a2a_push_configs (task_id, id, version, config, created_at, revision, begins_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (task_id, id) DO UPDATE SET version = excluded.version, config = excluded.config, revision = excluded.revision,
        begins_at = excluded.begins_at, told = NULL, tried = NULL, failures = 0, not_before = NULL, ended_at = NULL, problem = NULL";
    PLACE: "SELECT t.entries, (SELECT COUNT(*) FROM a2a_push_configs c WHERE c.task_id = t.id AND c.id <> $2) AS n FROM tasks t WHERE t.id = $1";
    GET_CONFIG: "SELECT config FROM a2a_push_configs WHERE task_id = $1 AND id = $2";
    LIST_CONFIGS: "SELECT config FROM a2a_push_configs WHERE task_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    DELETE_WEBHOOK: "DELETE FROM a2a_push_configs WHERE task_id = $1 AND id = $2";
    OPEN_WEBHOOKS: concat!(open!(), "(c.task_id, c.id) > ($1, $2) ORDER BY c.task_id, c.id LIMIT $3");
    OPEN_WEBHOOKS_OF: concat!(open!(), "c.task_id = $1");
    OPEN_WEBHOOK: "SELECT task_id, id, revision, version, config, begins_at, told, tried, failures FROM a2a_push_configs
        WHERE ended_at IS NULL AND task_id = $1 AND id = $2 AND revision = $3";
    NOTE_WEBHOOK: "UPDATE a2a_push_configs SET told = $4, tried = $5, failures = $6, not_before = $7, ended_at = $8, problem = $9
        WHERE task_id = $1 AND id = $2 AND revision = $3 AND ended_at IS NULL";
    FORGET_WEBHOOKS: "DELETE FROM a2a_push_configs WHERE (task_id, id) IN
        (SELECT task_id, id FROM a2a_push_configs WHERE ended_at < $1 ORDER BY ended_at LIMIT 1000)";
}

/// Which webhook, as it was set last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookKey {
    /// Whose task.
    pub task: TaskId,
    /// Its id.
    pub id: String,
    /// Which of those that had this id.
    pub revision: String,
}

/// A webhook to which something may have to be sent.
#[derive(Debug, Clone)]
pub struct OpenWebhook {
    /// Which.
    pub key: WebhookKey,
    /// Where to.
    pub url: String,
    /// Not before then.
    pub not_before: Option<Timestamp>,
    /// Whether there is something to send.
    pub has_news: bool,
}

/// A webhook with all that sending takes.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Which.
    pub key: WebhookKey,
    /// The version of A2A that its owner speaks.
    pub version: String,
    /// Where to, and with which credentials.
    pub config: TaskPushNotificationConfig,
    /// The place of the task as it is told first.
    pub begins_at: u64,
    /// The place that was told last; none if nothing was.
    pub told: Option<u64>,
    /// The place that was told in vain; none if nothing was.
    pub tried: Option<u64>,
    /// Tries in vain since something arrived.
    pub failures: u32,
}

fn key(row: &AnyRow) -> sqlx::Result<WebhookKey> {
    Ok(WebhookKey { task: row.parsed("task_id")?, id: row.text("id")?, revision: row.text("revision")? })
}

fn open(row: &AnyRow) -> sqlx::Result<OpenWebhook> {
    let config: TaskPushNotificationConfig = row.json("config")?;
    Ok(OpenWebhook { key: key(row)?, url: config.url, not_before: row.maybe_time("not_before")?, has_news: row.flag("has_news")? })
}

fn whole(row: &AnyRow) -> sqlx::Result<Webhook> {
    let place = |name| row.maybe_int(name).map(|place| place.and_then(|place| u64::try_from(place).ok()));
    Ok(Webhook {
        key: key(row)?,
        version: row.text("version")?,
        config: row.json("config")?,
        begins_at: row.count("begins_at")?,
        told: place("told")?,
        tried: place("tried")?,
        failures: row.small("failures")?,
    })
}

impl Store {
    /// A webhook of a task as it was set.
    ///
    /// # Errors
    /// Of the database.
    pub async fn webhook_config(&self, task: TaskId, id: &str) -> Result<Option<TaskPushNotificationConfig>, StoreError> {
        let query = GET_CONFIG.on(self.dialect()).bind(task.to_string()).bind(id.to_owned());
        let row = query.fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.json("config")).transpose()?)
    }

    /// Up to `limit` webhooks of a task as they were set, by their ids, after `after`.
    ///
    /// # Errors
    /// Of the database.
    pub async fn webhook_configs(&self, task: TaskId, after: &str, limit: u32) -> Result<Vec<TaskPushNotificationConfig>, StoreError> {
        let query = LIST_CONFIGS.on(self.dialect()).bind(task.to_string()).bind(after.to_owned()).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.json("config")).collect::<sqlx::Result<_>>()?)
    }

    /// Up to `limit` webhooks that have not ended, after one, in the order of their tasks and ids.
    ///
    /// # Errors
    /// Of the database.
    pub async fn open_webhooks(&self, after: Option<&WebhookKey>, limit: u32) -> Result<Vec<OpenWebhook>, StoreError> {
        let (task, id) = after.map(|key| (key.task.to_string(), key.id.clone())).unwrap_or_default();
        let query = OPEN_WEBHOOKS.on(self.dialect()).bind(task).bind(id).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(open).collect::<sqlx::Result<_>>()?)
    }

    /// The webhooks of a task that have not ended.
    ///
    /// # Errors
    /// Of the database.
    pub async fn open_webhooks_of(&self, task: TaskId) -> Result<Vec<OpenWebhook>, StoreError> {
        let rows = OPEN_WEBHOOKS_OF.on(self.dialect()).bind(task.to_string()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(open).collect::<sqlx::Result<_>>()?)
    }

    /// A webhook, if it is still that one and has not ended.
    ///
    /// # Errors
    /// Of the database.
    pub async fn open_webhook(&self, key: &WebhookKey) -> Result<Option<Webhook>, StoreError> {
        let query = OPEN_WEBHOOK.on(self.dialect()).bind(key.task.to_string()).bind(key.id.clone()).bind(key.revision.clone());
        Ok(query.fetch_optional(self.readers()).await?.as_ref().map(whole).transpose()?)
    }
}

/// Keeps a webhook of a task, instead of the one of the same id.
#[derive(Debug, Clone)]
pub struct PutWebhook {
    /// The task.
    pub task: TaskId,
    /// The webhook, with its id.
    pub config: TaskPushNotificationConfig,
    /// The version of A2A that its owner speaks.
    pub version: &'static str,
    /// What tells it from those that had this id before.
    pub revision: Uuid,
    /// The place of the task as it is told first; where the task is now if none is given.
    pub begins_at: Option<u64>,
    /// When.
    pub now: Timestamp,
}

impl Write for PutWebhook {
    const NAME: &'static str = "put_webhook";
    /// Whether it is kept: a task has no more than [`MOST_WEBHOOKS`].
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let (task, id) = (self.task.to_string(), self.config.id.clone());
        let place = tx.optional(PLACE.on(tx.dialect()).bind(task.clone()).bind(id.clone())).await?;
        let Some(place) = place else { return Ok(false) };
        if place.count("n")? >= MOST_WEBHOOKS {
            return Ok(false);
        }
        let entries = place.count("entries")?;
        let begins_at = to_int(self.begins_at.map_or(entries, |at| at.min(entries)));
        let put = PUT_WEBHOOK.on(tx.dialect()).bind(task).bind(id).bind(self.version).bind(to_json(&self.config));
        tx.execute_aside(put.bind(self.now.0).bind(self.revision.to_string()).bind(begins_at)).await?;
        tx.wake(Wake::Webhooks(self.task));
        Ok(true)
    }
}

/// Forgets a webhook of a task, if it is there.
#[derive(Debug, Clone)]
pub struct DeleteWebhook {
    /// The task.
    pub task: TaskId,
    /// Which.
    pub id: String,
}

impl Write for DeleteWebhook {
    const NAME: &'static str = "delete_webhook";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(DELETE_WEBHOOK.on(tx.dialect()).bind(self.task.to_string()).bind(self.id.clone())).await?;
        tx.wake(Wake::Webhooks(self.task));
        Ok(())
    }
}

/// Notes how far a webhook is.
#[derive(Debug, Clone)]
pub struct NoteWebhook {
    /// Which.
    pub key: WebhookKey,
    /// The place that was told last.
    pub told: Option<u64>,
    /// The place that was told in vain.
    pub tried: Option<u64>,
    /// Tries in vain since something arrived.
    pub failures: u32,
    /// When the next try may be.
    pub not_before: Option<Timestamp>,
    /// Whether this is its end: all was told, or it was given up.
    pub end: Option<WebhookEnd>,
    /// When.
    pub now: Timestamp,
}

/// How a webhook ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEnd {
    /// All was told.
    Told,
    /// It was given up. The event log says so.
    GivenUp {
        /// Where to, without what may be secret: scheme, host and port.
        origin: String,
        /// Why.
        problem: String,
    },
}

impl Write for NoteWebhook {
    const NAME: &'static str = "note_webhook";
    /// Whether it is still there, as it was.
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let WebhookKey { task, id, revision } = &self.key;
        let given_up = match &self.end {
            Some(WebhookEnd::GivenUp { origin, problem }) => Some((origin, problem)),
            _ => None,
        };
        let note = NOTE_WEBHOOK.on(tx.dialect()).bind(task.to_string()).bind(id.clone()).bind(revision.clone());
        let note = note.bind(self.told.map(to_int)).bind(self.tried.map(to_int)).bind(i64::from(self.failures));
        let note = note.bind(self.not_before.map(|at| at.0));
        let note = note.bind(self.end.as_ref().map(|_| self.now.0)).bind(given_up.map(|(_, problem)| problem.clone()));
        if tx.execute_aside(note).await? == 0 {
            return Ok(false);
        }
        if let Some((origin, problem)) = given_up {
            let data = json!({ "webhook": id, "origin": origin, "problem": problem, "tries": self.failures });
            tx.event(NewEvent { kind: kind::WEBHOOK_FAILED, subject: format!("tasks/{task}"), at: self.now, data });
        }
        Ok(true)
    }
}

/// Forgets webhooks that ended a while ago, up to 1,000.
pub(in crate::store) async fn forget(tx: &mut Tx<'_>, now: Timestamp) -> sqlx::Result<()> {
    tx.execute_aside(FORGET_WEBHOOKS.on(tx.dialect()).bind(now.0 - KEPT_MS)).await.map(|_| ())
}
