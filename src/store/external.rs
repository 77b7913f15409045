//! Agents of others: their cards and their health.

use super::attempts::{End, FinishTask};
use super::row::{Columns as _, to_json};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::domain::foreign::ForeignCard;
use crate::domain::health::Health;
use muster_protocol::event::kind;
use muster_protocol::ids::{ServerId, TaskId, WorkerId};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use std::fmt;
use url::Url;

/// The word of `agents.kind`.
const EXTERNAL: &str = "external";
/// The most agents of others.
pub const MOST_EXTERNAL: u64 = 1_000;
/// How many tasks of a removed agent are ended in one write.
const ENDED_AT_ONCE: i64 = 100;
/// What holds the tasks of an agent of others. A worker's id has no slash.
const HOLDER: &str = "agents/";

/// An agent of somebody else's.
#[derive(Clone)]
pub struct ExternalAgent {
    /// The name under which it is reached here.
    pub name: String,
    /// Where its card is.
    pub url: Url,
    /// What is believed of its card.
    pub card: ForeignCard,
    /// Its card as it came.
    pub raw: Value,
    /// Whether it may be at another scheme, host or port than its card.
    pub other_host: bool,
    /// What it is shown.
    pub token: Option<String>,
    /// The tag of its card.
    pub etag: Option<String>,
    /// Whether it is there.
    pub health: Health,
    /// The peer that it is of.
    pub home: Option<ServerId>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was added last.
    pub updated_at: Timestamp,
}

impl fmt::Debug for ExternalAgent {
    /// Without its credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAgent").field("name", &self.name).field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// What holds the tasks of an agent of others.
#[must_use]
pub fn holder_of(agent: &str) -> WorkerId {
    WorkerId(format!("{HOLDER}{agent}"))
}

/// The agent that holds tasks as this; none for a worker.
#[must_use]
pub fn agent_of(holder: &WorkerId) -> Option<&str> {
    holder.0.strip_prefix(HOLDER)
}

statements! {
    LIST: "SELECT name, home, url, card, health, token, etag, created_at, updated_at FROM agents WHERE kind = 'external' ORDER BY name";
    GET: "SELECT name, home, url, card, health, token, etag, created_at, updated_at FROM agents WHERE name = $1";
    LIKE: "SELECT name, url FROM agents WHERE name = $1 OR url = $2";
    COUNT: "SELECT COUNT(*) AS n FROM agents WHERE kind = 'external' AND name <> $1";
    PUT: "INSERT INTO agents (name, kind, home, url, card, health, token, etag, created_at, updated_at)
        VALUES ($1, $2, '', $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (name) DO UPDATE SET url = excluded.url, card = excluded.card, health = excluded.health, token = excluded.token,
        etag = excluded.etag, updated_at = excluded.updated_at";
    // Not where the agent was added anew since it was looked at.
    HEALTH: "UPDATE agents SET card = $3, health = $4, etag = $5 WHERE name = $1 AND url = $2 AND updated_at = $6";
    DELETE: "DELETE FROM agents WHERE kind = 'external' AND name = $1";
    FORGET_RELAYS: "DELETE FROM relays WHERE agent = $1";
    OPEN_TASKS: "SELECT id FROM tasks WHERE state = 'submitted' AND held = 0 AND target_worker = $1
        UNION ALL SELECT id FROM tasks WHERE held = 1 AND holder = $1 LIMIT $2";
}

/// The column `card`.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Card {
    pub(super) believed: ForeignCard,
    pub(super) raw: Value,
    pub(super) other_host: bool,
}

fn read(row: &AnyRow) -> sqlx::Result<ExternalAgent> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let Card { believed, raw, other_host } = row.json("card")?;
    Ok(ExternalAgent {
        name: row.text("name")?,
        url: row.parsed("url")?,
        card: believed,
        raw,
        other_host,
        token: some(row.text("token")?),
        etag: some(row.text("etag")?),
        health: row.json("health")?,
        home: row.text("home")?.parse().ok(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl ExternalAgent {
    fn card_column(&self) -> String {
        to_json(&Card { believed: self.card.clone(), raw: self.raw.clone(), other_host: self.other_host })
    }
}

impl Store {
    /// The agents of others, by name.
    ///
    /// # Errors
    /// Of the database.
    pub async fn external_agents(&self) -> Result<Vec<ExternalAgent>, StoreError> {
        let rows = LIST.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// An agent of others, or of a peer.
    ///
    /// # Errors
    /// Of the database.
    pub async fn external_agent(&self, name: &str) -> Result<Option<ExternalAgent>, StoreError> {
        let row = GET.on(self.dialect()).bind(name.to_owned()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }
}

/// Adds an agent, or says anew what it is.
#[derive(Debug, Clone)]
pub struct PutAgent {
    /// The agent.
    pub agent: ExternalAgent,
    /// The address under which its name was known; none if it is new.
    pub known: Option<Url>,
}

/// What became of an agent that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is there.
    Kept,
    /// There are as many as may be.
    NoRoom,
    /// Meanwhile its name was given to another, or it got another name.
    Overtaken,
}

impl Write for PutAgent {
    const NAME: &'static str = "put_agent";
    type Output = Added;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Added> {
        let agent = &self.agent;
        let others = tx.optional(COUNT.on(tx.dialect()).bind(agent.name.clone())).await?;
        if others.map(|row| row.count("n")).transpose()?.unwrap_or(0) >= MOST_EXTERNAL {
            return Ok(Added::NoRoom);
        }
        for row in tx.all(LIKE.on(tx.dialect()).bind(agent.name.clone()).bind(agent.url.to_string())).await? {
            let (name, url): (String, String) = (row.text("name")?, row.text("url")?);
            if name != agent.name || self.known.as_ref().is_none_or(|known| known.as_str() != url) {
                return Ok(Added::Overtaken);
            }
        }
        let put = PUT.on(tx.dialect()).bind(agent.name.clone()).bind(EXTERNAL).bind(agent.url.to_string()).bind(agent.card_column());
        let put = put.bind(to_json(&agent.health)).bind(agent.token.clone().unwrap_or_default());
        let put = put.bind(agent.etag.clone().unwrap_or_default()).bind(agent.created_at.0).bind(agent.updated_at.0);
        tx.execute_aside(put).await?;
        let data = json!({ "url": agent.url, "card_name": agent.card.name, "version": agent.card.version, "reached_at": agent.card.url });
        tx.event(event(kind::AGENT_ADDED, &agent.name, agent.updated_at, data));
        Ok(Added::Kept)
    }
}

/// Keeps what a look at an agent found: its card, if that changed, and whether it is there.
#[derive(Debug, Clone)]
pub struct KeepHealth {
    /// The agent as it is now.
    pub agent: ExternalAgent,
    /// Whether it came or went.
    pub changed: bool,
    /// When.
    pub now: Timestamp,
}

impl Write for KeepHealth {
    const NAME: &'static str = "keep_agent_health";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let agent = &self.agent;
        let keep = HEALTH.on(tx.dialect()).bind(agent.name.clone()).bind(agent.url.to_string()).bind(agent.card_column());
        let keep = keep.bind(to_json(&agent.health)).bind(agent.etag.clone().unwrap_or_default()).bind(agent.updated_at.0);
        if tx.execute_aside(keep).await? > 0 && self.changed {
            let kind = if agent.health.up { kind::AGENT_UP } else { kind::AGENT_DOWN };
            tx.event(event(kind, &agent.name, self.now, json!({ "url": agent.url, "reason": agent.health.reason })));
        }
        Ok(())
    }
}

/// Removes an agent. Its tasks that have not ended fail.
#[derive(Debug, Clone)]
pub struct RemoveAgent {
    /// Which.
    pub name: String,
    /// When.
    pub now: Timestamp,
}

impl Write for RemoveAgent {
    const NAME: &'static str = "remove_agent";
    /// Whether there was one.
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        if tx.execute_aside(DELETE.on(tx.dialect()).bind(self.name.clone())).await? == 0 {
            return Ok(false);
        }
        tx.execute_aside(FORGET_RELAYS.on(tx.dialect()).bind(self.name.clone())).await?;
        tx.event(event(kind::AGENT_REMOVED, &self.name, self.now, json!({})));
        end_tasks(tx, &self.name, self.now).await?;
        Ok(true)
    }
}

/// Ends more tasks of an agent that was removed; a write ends some of them.
#[derive(Debug, Clone)]
pub struct EndOrphans {
    /// The agent.
    pub name: String,
    /// When.
    pub now: Timestamp,
}

impl Write for EndOrphans {
    const NAME: &'static str = "end_orphans";
    /// How many were ended.
    type Output = usize;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<usize> {
        // It may have been added again meanwhile.
        if tx.optional(GET.on(tx.dialect()).bind(self.name.clone())).await?.is_some() {
            return Ok(0);
        }
        end_tasks(tx, &self.name, self.now).await
    }
}

async fn end_tasks(tx: &mut Tx<'_>, agent: &str, now: Timestamp) -> sqlx::Result<usize> {
    let open = tx.all(OPEN_TASKS.on(tx.dialect()).bind(holder_of(agent).0).bind(ENDED_AT_ONCE)).await?;
    let ids: Vec<TaskId> = open.iter().map(|row| row.parsed("id")).collect::<sqlx::Result<_>>()?;
    let ended = ids.len();
    for id in ids {
        let Some(record) = tx.task(id).await? else { continue };
        let error = format!("the agent {agent} was removed from this server");
        let end = End::without_result(TaskState::Failed, Some(&error), Some("agent_removed"));
        FinishTask { record: &record, end, now }.apply(tx).await?;
    }
    Ok(ended)
}

fn event(kind: &'static str, name: &str, at: Timestamp, data: Value) -> NewEvent {
    NewEvent { kind, subject: format!("agents/{name}"), at, data }
}
