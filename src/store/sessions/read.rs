//! Reading sessions: the newest first, page by page.

use super::super::row::{Columns as _, to_json};
use super::super::sql::statements;
use super::super::{Store, StoreError};
use futures_util::TryStreamExt as _;
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, SessionId, WorkerId};
use muster_protocol::session::{Session, SessionMessage, SessionReport};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;

/// How large the messages of one answer may be together, in bytes.
const LARGEST_ANSWER: usize = 32 << 20;
/// How many workers with one session id are looked at, where none is named.
const NAMESAKES: i64 = 20;

/// Which sessions a list shows.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only of these workers.
    pub workers: Option<Vec<WorkerId>>,
    /// Only of these codebases.
    pub codebases: Option<Vec<CodebaseId>>,
    /// Only with this in id, title or directory, in any case.
    pub text: Option<String>,
    /// Also those that are a part of another one.
    pub children: bool,
    /// Only after this place.
    pub after: Option<SessionPlace>,
    /// At most so many.
    pub limit: u32,
}

/// The place of a session in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlace {
    /// When it changed last.
    pub updated: Timestamp,
    /// Whose it is.
    pub worker: WorkerId,
    /// Its id.
    pub session: SessionId,
}

impl SessionPlace {
    /// The place of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let updated = session.report.updated.unwrap_or(Timestamp(0));
        Self { updated, worker: session.worker_id.clone(), session: session.report.id.clone() }
    }
}

// A conversation is looked for by worker and session. Of several, which an earlier version could make, the one used last is meant.
macro_rules! select {
    () => {
        "SELECT s.id, s.worker_id, s.codebase_id, s.data, s.created_at, s.updated_at, s.messages, w.name AS worker_name, \
         b.name AS codebase_name, (SELECT c.id FROM contexts c WHERE c.worker_id = s.worker_id AND c.session_id = s.id \
         ORDER BY c.updated_at DESC LIMIT 1) AS context_id FROM sessions s LEFT JOIN workers w ON w.id = s.worker_id \
         LEFT JOIN codebases b ON b.id = s.codebase_id "
    };
}

macro_rules! page {
    ($position:literal) => {
        concat!(
            "(s.updated_at, s.worker_id, s.id) < ($1, $2, $3) AND ($4 <> '' OR s.parent_id = '')
            AND ($5 = '' OR ",
            $position,
            "(lower(s.title), lower($5)) > 0 OR ",
            $position,
            "(lower(s.directory), lower($5)) > 0 OR ",
            $position,
            "(lower(s.id), lower($5)) > 0)
            ORDER BY s.updated_at DESC, s.worker_id DESC, s.id DESC LIMIT $6"
        )
    };
}

statements! {
    ALL_SESSIONS: concat!(select!(), "WHERE ", page!("instr")),
    postgres: concat!(select!(), "WHERE ", page!("strpos"));
    // One is read in the order of an index; several are sorted.
    SESSIONS_OF_WORKER: concat!(select!(), "WHERE s.worker_id = $7 AND ", page!("instr")),
    postgres: concat!(select!(), "WHERE s.worker_id = $7 AND ", page!("strpos"));
    SESSIONS_OF_CODEBASE: concat!(select!(), "WHERE s.codebase_id = $7 AND ", page!("instr")),
    postgres: concat!(select!(), "WHERE s.codebase_id = $7 AND ", page!("strpos"));
    SESSIONS_OF_WORKERS: concat!(select!(), "WHERE s.worker_id IN (SELECT value FROM json_each($7)) AND ", page!("instr")),
    postgres: concat!(select!(), "WHERE s.worker_id IN (SELECT json_array_elements_text($7::text::json)) AND ", page!("strpos"));
    SESSIONS_OF_CODEBASES: concat!(select!(), "WHERE s.codebase_id IN (SELECT value FROM json_each($7))
        AND ($8 = '' OR s.worker_id IN (SELECT value FROM json_each($8))) AND ", page!("instr")),
    postgres: concat!(select!(), "WHERE s.codebase_id IN (SELECT json_array_elements_text($7::text::json))
        AND ($8 = '' OR s.worker_id IN (SELECT json_array_elements_text((CASE WHEN $8 = '' THEN '[]' ELSE $8 END)::json))) AND ", page!("strpos"));
    BY_ID: concat!(select!(), "WHERE s.id = $1 AND ($2 = '' OR s.worker_id = $2) AND ($3 = '' OR $3 = (SELECT c.owner FROM contexts c
        WHERE c.worker_id = s.worker_id AND c.session_id = s.id ORDER BY c.updated_at DESC LIMIT 1)) ORDER BY s.updated_at DESC LIMIT $4");
    IN_CODEBASE: concat!(select!(), "WHERE s.id = $1 AND s.codebase_id = $2 LIMIT 1");
    ANY_IN_CODEBASE: "SELECT worker_id FROM sessions WHERE codebase_id = $1 LIMIT 1";
    LAST_MESSAGES: "SELECT data FROM session_messages WHERE worker_id = $1 AND session_id = $2 ORDER BY created_at DESC, id DESC LIMIT $3";
}

fn read(row: &AnyRow) -> sqlx::Result<Session> {
    let told: SessionReport = row.json("data")?;
    let stored = row.count("messages")?;
    Ok(Session {
        report: SessionReport {
            created: row.maybe_time("created_at")?,
            updated: row.maybe_time("updated_at")?,
            message_count: Some(told.message_count.unwrap_or(0).max(stored)),
            ..told
        },
        worker_id: WorkerId(row.text("worker_id")?),
        worker_name: row.maybe_text("worker_name")?,
        codebase_id: row.maybe_text("codebase_id")?.map(CodebaseId),
        codebase_name: row.maybe_text("codebase_name")?,
        context_id: row.maybe_text("context_id")?.map(ContextId),
    })
}

impl Store {
    /// Sessions, the newest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<Session>, StoreError> {
        let (statement, places) = match (filter.codebases.as_deref(), filter.workers.as_deref()) {
            (None, None) => (ALL_SESSIONS, Vec::new()),
            (None, Some([worker])) => (SESSIONS_OF_WORKER, vec![worker.0.clone()]),
            (None, Some(workers)) => (SESSIONS_OF_WORKERS, vec![to_json(&workers)]),
            (Some([codebase]), None) => (SESSIONS_OF_CODEBASE, vec![codebase.0.clone()]),
            (Some(codebases), workers) => {
                (SESSIONS_OF_CODEBASES, vec![to_json(&codebases), workers.map(|ids| to_json(&ids)).unwrap_or_default()])
            }
        };
        let after = filter.after.as_ref();
        let query = statement
            .on(self.dialect())
            .bind(after.map_or(i64::MAX, |place| place.updated.0))
            .bind(after.map(|place| place.worker.0.clone()).unwrap_or_default())
            .bind(after.map(|place| place.session.0.clone()).unwrap_or_default())
            .bind(if filter.children { "all" } else { "" })
            .bind(filter.text.clone().unwrap_or_default())
            .bind(i64::from(filter.limit));
        let query = places.into_iter().fold(query, sqlx::query::Query::bind);
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// The sessions with an id, one a worker, up to 20; with `worker` that of this worker, with `owner` those whose conversation is theirs.
    ///
    /// # Errors
    /// Of the database.
    pub async fn sessions_with_id(
        &self,
        id: &SessionId,
        worker: Option<&WorkerId>,
        owner: Option<&PrincipalId>,
    ) -> Result<Vec<Session>, StoreError> {
        let query = BY_ID
            .on(self.dialect())
            .bind(id.0.clone())
            .bind(worker.map(|id| id.0.clone()).unwrap_or_default())
            .bind(owner.map(|id| id.0.clone()).unwrap_or_default())
            .bind(NAMESAKES);
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// A session of a codebase.
    ///
    /// # Errors
    /// Of the database.
    pub async fn session(&self, codebase: &CodebaseId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let row = IN_CODEBASE.on(self.dialect()).bind(id.0.clone()).bind(codebase.0.clone()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Whose sessions belong to a codebase; also where the codebase is no longer in the registry. None if there are no sessions.
    ///
    /// # Errors
    /// Of the database.
    pub async fn worker_of_sessions_in(&self, codebase: &CodebaseId) -> Result<Option<WorkerId>, StoreError> {
        let row = ANY_IN_CODEBASE.on(self.dialect()).bind(codebase.0.clone()).fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.text("worker_id")).transpose()?.map(WorkerId))
    }

    /// The last messages of a session, oldest first: up to `limit`, and not more than 32 MiB.
    ///
    /// # Errors
    /// Of the database.
    pub async fn session_messages(&self, worker: &WorkerId, session: &SessionId, limit: u32) -> Result<Vec<SessionMessage>, StoreError> {
        let query = LAST_MESSAGES.on(self.dialect()).bind(worker.0.clone()).bind(session.0.clone()).bind(i64::from(limit));
        let mut rows = query.fetch(self.readers());
        let (mut messages, mut size) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            size += row.text("data")?.len();
            if size > LARGEST_ANSWER && !messages.is_empty() {
                break;
            }
            messages.push(row.json("data")?);
        }
        messages.reverse();
        Ok(messages)
    }
}
