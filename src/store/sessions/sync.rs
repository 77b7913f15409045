//! Taking in what a worker tells of its sessions. Whoever calls sends it in small pieces, so that no write takes long; the same again changes
//! nothing.

use super::super::row::{Columns as _, to_int, to_json};
use super::super::sql::statements;
use super::super::{Tx, Write};
use crate::domain::session::{MESSAGES_KEPT, merged};
use muster_protocol::ids::{CodebaseId, SessionId, WorkerId};
use muster_protocol::session::SessionReport;
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::collections::HashMap;

/// How many messages of removed sessions go in one write.
const REMOVED_AT_ONCE: i64 = 500;

/// What became of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOutcome {
    /// The worker has no such codebase.
    NoCodebase,
    /// Taken in; so many rows were new or had changed.
    Taken(u64),
}

/// Keeps sessions of a worker.
#[derive(Debug, Clone)]
pub struct PutSessions {
    /// Whose they are.
    pub worker: WorkerId,
    /// Where they belong.
    pub codebase: CodebaseId,
    /// The sessions, each once.
    pub sessions: Vec<SessionReport>,
    /// When.
    pub now: Timestamp,
}

/// Keeps messages of a session, and forgets some.
#[derive(Debug, Clone)]
pub struct PutMessages {
    /// Whose it is.
    pub worker: WorkerId,
    /// Where it belongs, if it is not known yet.
    pub codebase: CodebaseId,
    /// The session; made if it is not known yet.
    pub session: SessionId,
    /// The messages, each once: id, when it was begun, and the whole as JSON.
    pub messages: Vec<(String, Timestamp, String)>,
    /// The ids of those to be forgotten.
    pub deleted: Vec<String>,
    /// When.
    pub now: Timestamp,
}

/// Forgets sessions of a worker with some of their messages. To be repeated until it is done: a session can have many messages.
#[derive(Debug, Clone)]
pub struct RemoveSessions {
    /// Whose they are.
    pub worker: WorkerId,
    /// A codebase of the worker.
    pub codebase: CodebaseId,
    /// The sessions.
    pub sessions: Vec<SessionId>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// The worker has no such codebase.
    NoCodebase,
    /// There are messages of them left.
    More,
    /// They are gone.
    Done,
}

statements! {
    HAS_CODEBASE: "SELECT COUNT(*) AS n FROM codebases WHERE id = $1 AND worker_id = $2";
    KNOWN: "SELECT id, codebase_id, data, created_at, updated_at FROM sessions WHERE worker_id = $1
        AND id IN (SELECT value FROM json_each($2))",
    postgres: "SELECT id, codebase_id, data, created_at, updated_at FROM sessions WHERE worker_id = $1
        AND id IN (SELECT json_array_elements_text($2::text::json))";
    PUT: "INSERT INTO sessions (worker_id, id, codebase_id, title, directory, data, created_at, updated_at, parent_id)
        SELECT $1, value ->> 'i', $2, value ->> 't', value ->> 'd', value ->> 'r', value ->> 'c', value ->> 'u', value ->> 'p'
        FROM json_each($3) WHERE 1 = 1
        ON CONFLICT (worker_id, id) DO UPDATE SET codebase_id = excluded.codebase_id, title = excluded.title, directory = excluded.directory,
            data = excluded.data, created_at = excluded.created_at, updated_at = excluded.updated_at, parent_id = excluded.parent_id",
    postgres: "INSERT INTO sessions (worker_id, id, codebase_id, title, directory, data, created_at, updated_at, parent_id)
        SELECT $1, e ->> 'i', $2, e ->> 't', e ->> 'd', e ->> 'r', (e ->> 'c')::bigint, (e ->> 'u')::bigint, e ->> 'p'
        FROM json_array_elements($3::text::json) e
        ON CONFLICT (worker_id, id) DO UPDATE SET codebase_id = excluded.codebase_id, title = excluded.title, directory = excluded.directory,
            data = excluded.data, created_at = excluded.created_at, updated_at = excluded.updated_at, parent_id = excluded.parent_id";
    BEGIN: "INSERT INTO sessions (worker_id, id, codebase_id, title, directory, data, created_at, updated_at, parent_id)
        VALUES ($1, $2, $3, '', '', $4, $5, $5, '') ON CONFLICT (worker_id, id) DO NOTHING";
    PUT_MESSAGES: "INSERT INTO session_messages (worker_id, session_id, id, created_at, data)
        SELECT $1, $2, value ->> 'i', value ->> 'c', value ->> 'd' FROM json_each($3) WHERE 1 = 1
        ON CONFLICT (worker_id, session_id, id) DO UPDATE SET created_at = excluded.created_at, data = excluded.data
            WHERE session_messages.data <> excluded.data OR session_messages.created_at <> excluded.created_at",
    postgres: "INSERT INTO session_messages (worker_id, session_id, id, created_at, data)
        SELECT $1, $2, e ->> 'i', (e ->> 'c')::bigint, e ->> 'd' FROM json_array_elements($3::text::json) e
        ON CONFLICT (worker_id, session_id, id) DO UPDATE SET created_at = excluded.created_at, data = excluded.data
            WHERE session_messages.data <> excluded.data OR session_messages.created_at <> excluded.created_at";
    FORGET_MESSAGES: "DELETE FROM session_messages WHERE worker_id = $1 AND session_id = $2 AND id IN (SELECT value FROM json_each($3))",
    postgres: "DELETE FROM session_messages WHERE worker_id = $1 AND session_id = $2 AND id IN (SELECT json_array_elements_text($3::text::json))";
    PRUNE: "DELETE FROM session_messages WHERE worker_id = $1 AND session_id = $2 AND (created_at, id) < (SELECT created_at, id
        FROM session_messages WHERE worker_id = $1 AND session_id = $2 ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET $3)";
    COUNT: "UPDATE sessions SET messages = (SELECT COUNT(*) FROM session_messages m WHERE m.worker_id = $1 AND m.session_id = $2),
        updated_at = CASE WHEN updated_at < $3 THEN $3 ELSE updated_at END WHERE worker_id = $1 AND id = $2";
    REMOVE_MESSAGES: "DELETE FROM session_messages WHERE worker_id = $1 AND (session_id, id) IN (SELECT session_id, id FROM session_messages
        WHERE worker_id = $1 AND session_id IN (SELECT value FROM json_each($2)) LIMIT $3)",
    postgres: "DELETE FROM session_messages WHERE worker_id = $1 AND (session_id, id) IN (SELECT session_id, id FROM session_messages
        WHERE worker_id = $1 AND session_id IN (SELECT json_array_elements_text($2::text::json)) LIMIT $3)";
    REMOVE: "DELETE FROM sessions WHERE worker_id = $1 AND id IN (SELECT value FROM json_each($2))",
    postgres: "DELETE FROM sessions WHERE worker_id = $1 AND id IN (SELECT json_array_elements_text($2::text::json))";
    PLACE: "SELECT codebase_id FROM sessions WHERE worker_id = $1 AND id = $2";
}

impl Write for PutSessions {
    const NAME: &'static str = "put_sessions";
    type Output = SyncOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<SyncOutcome> {
        if !tx.has_codebase(&self.codebase, &self.worker).await? {
            return Ok(SyncOutcome::NoCodebase);
        }
        let known = self.known(tx).await?;
        let changed: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|report| {
                let before = known.get(&report.id);
                let after = merged(before.map(|(report, _)| report), report, self.now);
                (before != Some(&(after.clone(), Some(self.codebase.clone())))).then_some(after)
            })
            .collect();
        if changed.is_empty() {
            return Ok(SyncOutcome::Taken(0));
        }
        let rows: Vec<_> = changed.iter().map(row).collect();
        let put = PUT.on(tx.dialect()).bind(self.worker.0.clone()).bind(self.codebase.0.clone()).bind(to_json(&rows));
        tx.execute_aside(put).await.map(SyncOutcome::Taken)
    }
}

impl PutSessions {
    /// Those that are stored, with where they belong.
    async fn known(&self, tx: &mut Tx<'_>) -> sqlx::Result<HashMap<SessionId, (SessionReport, Option<CodebaseId>)>> {
        let ids: Vec<_> = self.sessions.iter().map(|session| &session.id).collect();
        let rows = tx.all(KNOWN.on(tx.dialect()).bind(self.worker.0.clone()).bind(to_json(&ids))).await?;
        let read = |row: &sqlx::any::AnyRow| {
            let told: SessionReport = row.json("data")?;
            let report = SessionReport { created: row.maybe_time("created_at")?, updated: row.maybe_time("updated_at")?, ..told };
            Ok((SessionId(row.text("id")?), (report, row.maybe_text("codebase_id")?.map(CodebaseId))))
        };
        rows.iter().map(read).collect()
    }
}

/// A session as the statement reads it. Columns that are searched must not hold U+0000; the report as JSON keeps it.
fn row(report: &SessionReport) -> serde_json::Value {
    let shown = |text: &Option<String>| text.as_deref().unwrap_or_default().replace('\0', "\u{fffd}");
    json!({
        "i": report.id, "t": shown(&report.title), "d": shown(&report.directory), "r": to_json(report),
        "c": report.created.map(|at| at.0), "u": report.updated.map(|at| at.0), "p": report.parent_id.as_ref().map_or("", |id| id.as_str()),
    })
}

impl Write for PutMessages {
    const NAME: &'static str = "put_messages";
    type Output = SyncOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<SyncOutcome> {
        if !tx.has_codebase(&self.codebase, &self.worker).await? {
            return Ok(SyncOutcome::NoCodebase);
        }
        let (dialect, worker, session) = (tx.dialect(), &self.worker.0, &self.session.0);
        let mut changed = 0;
        if let Some(newest) = self.newest() {
            let bare: SessionReport = bare(&self.session);
            let begin = BEGIN.on(dialect).bind(worker.clone()).bind(session.clone()).bind(self.codebase.0.clone());
            changed += tx.execute_aside(begin.bind(to_json(&bare)).bind(newest.0)).await?;
            let rows: Vec<_> = self.messages.iter().map(|(id, at, data)| json!({ "i": id, "c": at.0, "d": data })).collect();
            changed += tx.execute_aside(PUT_MESSAGES.on(dialect).bind(worker.clone()).bind(session.clone()).bind(to_json(&rows))).await?;
        }
        if !self.deleted.is_empty() {
            let forget = FORGET_MESSAGES.on(dialect).bind(worker.clone()).bind(session.clone()).bind(to_json(&self.deleted));
            changed += tx.execute_aside(forget).await?;
        }
        if changed > 0 {
            let last_kept = to_int(MESSAGES_KEPT as u64 - 1);
            tx.execute_aside(PRUNE.on(dialect).bind(worker.clone()).bind(session.clone()).bind(last_kept)).await?;
            let newest = self.newest().unwrap_or(Timestamp(0));
            tx.execute_aside(COUNT.on(dialect).bind(worker.clone()).bind(session.clone()).bind(newest.0)).await?;
        }
        Ok(SyncOutcome::Taken(changed))
    }
}

impl PutMessages {
    /// When the newest of them was begun, not later than now: a clock that is wrong must not keep a session on top of every list.
    fn newest(&self) -> Option<Timestamp> {
        self.messages.iter().map(|(_, at, _)| *at).max().map(|at| at.min(self.now))
    }
}

/// A session of which nothing is known but its messages.
fn bare(id: &SessionId) -> SessionReport {
    SessionReport {
        id: id.clone(),
        title: None,
        directory: None,
        project_id: None,
        created: None,
        updated: None,
        message_count: None,
        summary: serde_json::Value::Null,
        version: None,
        parent_id: None,
    }
}

impl Write for RemoveSessions {
    const NAME: &'static str = "remove_sessions";
    type Output = RemoveOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<RemoveOutcome> {
        if !tx.has_codebase(&self.codebase, &self.worker).await? {
            return Ok(RemoveOutcome::NoCodebase);
        }
        let ids = to_json(&self.sessions);
        let messages = REMOVE_MESSAGES.on(tx.dialect()).bind(self.worker.0.clone()).bind(ids.clone()).bind(REMOVED_AT_ONCE);
        if tx.execute_aside(messages).await? >= REMOVED_AT_ONCE.unsigned_abs() {
            return Ok(RemoveOutcome::More);
        }
        tx.execute_aside(REMOVE.on(tx.dialect()).bind(self.worker.0.clone()).bind(ids)).await?;
        Ok(RemoveOutcome::Done)
    }
}

impl Tx<'_> {
    async fn has_codebase(&mut self, codebase: &CodebaseId, worker: &WorkerId) -> sqlx::Result<bool> {
        let statement = HAS_CODEBASE.on(self.dialect()).bind(codebase.0.clone()).bind(worker.0.clone());
        Ok(self.optional(statement).await?.map(|row| row.int("n")).transpose()?.unwrap_or(0) > 0)
    }

    /// The codebase that a session belongs to, as its worker told it last.
    pub(in crate::store) async fn codebase_of_session(
        &mut self,
        worker: &WorkerId,
        session: &SessionId,
    ) -> sqlx::Result<Option<CodebaseId>> {
        let row = self.optional(PLACE.on(self.dialect()).bind(worker.0.clone()).bind(session.0.clone())).await?;
        Ok(row.map(|row| row.maybe_text("codebase_id")).transpose()?.flatten().map(CodebaseId))
    }
}
