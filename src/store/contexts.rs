//! Conversations: which worker and session they are bound to.

use super::row::Columns as _;
use super::sql::statements;
use super::{Store, StoreError, Tx};
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, SessionId, WorkerId};
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its id.
    pub id: ContextId,
    /// Who began it.
    pub owner: PrincipalId,
    /// The worker that has its session.
    pub worker_id: Option<WorkerId>,
    /// Where it runs.
    pub codebase_id: Option<CodebaseId>,
    /// Its OpenCode session.
    pub session_id: Option<SessionId>,
    /// The session that its own is copied from: it has none of its own before a worker reported the copy.
    pub fork_of: Option<SessionId>,
}

impl Context {
    /// The session that its next attempt continues, and whether it continues a copy of it.
    #[must_use]
    pub fn to_continue(self) -> (Option<SessionId>, bool) {
        match (self.session_id, self.fork_of) {
            (None, Some(original)) => (Some(original), true),
            (own, _) => (own, false),
        }
    }
}

statements! {
    GET: "SELECT id, owner, worker_id, codebase_id, session_id, fork_of FROM contexts WHERE id = $1";
    // Of several, which an earlier version could make, the one used last is meant.
    OF_SESSION: "SELECT id, owner, worker_id, codebase_id, session_id, fork_of FROM contexts WHERE worker_id = $1 AND session_id = $2
        ORDER BY updated_at DESC LIMIT 1";
    // The original of a copy is never the conversation's own session.
    BIND: "UPDATE contexts SET worker_id = $2, codebase_id = $3, session_id = $4, updated_at = $5 WHERE id = $1
        AND (fork_of IS NULL OR fork_of <> $4)";
    BIND_QUEUED: "UPDATE tasks SET target_worker = $2, target_codebase = $3 WHERE context_id = $1 AND completed_at IS NULL
        AND state = 'submitted'";
    LEAD: "UPDATE contexts SET worker_id = $2, updated_at = $3 WHERE id = $1 AND worker_id IS NULL";
    LEAD_QUEUED: "UPDATE tasks SET target_worker = $2 WHERE context_id = $1 AND state = 'submitted' AND held = 0 AND target_worker = ''
        AND target_codebase = ''";
}

fn read(row: &AnyRow) -> sqlx::Result<Context> {
    read_as(row, "")
}

/// Reads columns whose names begin with `prefix`.
pub(in crate::store) fn read_as(row: &AnyRow, prefix: &str) -> sqlx::Result<Context> {
    let named = |name: &str| format!("{prefix}{name}");
    Ok(Context {
        id: ContextId(row.text(&named("id"))?),
        owner: PrincipalId(row.text(&named("owner"))?),
        worker_id: row.maybe_text(&named("worker_id"))?.map(WorkerId),
        codebase_id: row.maybe_text(&named("codebase_id"))?.map(CodebaseId),
        session_id: row.maybe_text(&named("session_id"))?.map(SessionId),
        fork_of: row.maybe_text(&named("fork_of"))?.map(SessionId),
    })
}

impl Store {
    /// A conversation.
    ///
    /// # Errors
    /// Of the database.
    pub async fn context(&self, id: &ContextId) -> Result<Option<Context>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.0.clone()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }
}

impl Tx<'_> {
    pub(in crate::store) async fn context(&mut self, id: &ContextId) -> sqlx::Result<Option<Context>> {
        let row = self.optional(GET.on(self.dialect()).bind(id.0.clone())).await?;
        row.as_ref().map(read).transpose()
    }

    /// The conversation whose session it is.
    pub(in crate::store) async fn context_of_session(&mut self, worker: &WorkerId, session: &SessionId) -> sqlx::Result<Option<Context>> {
        let row = self.optional(OF_SESSION.on(self.dialect()).bind(worker.0.clone()).bind(session.0.clone())).await?;
        row.as_ref().map(read).transpose()
    }

    /// Binds a conversation, and its turns that wait, to the worker that now has its session.
    pub(in crate::store) async fn bind_context(
        &mut self,
        id: &ContextId,
        worker: &WorkerId,
        codebase: &CodebaseId,
        session: &SessionId,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let dialect = self.dialect();
        let (context, worker, codebase) = (id.0.clone(), worker.0.clone(), codebase.0.clone());
        let bind = BIND.on(dialect).bind(context.clone()).bind(worker.clone()).bind(codebase.clone()).bind(session.0.clone());
        self.execute(bind.bind(now.0)).await?;
        self.execute(BIND_QUEUED.on(dialect).bind(context).bind(worker).bind(codebase)).await?;
        Ok(())
    }

    /// Leads a conversation that is nowhere yet, and its turns that wait, to who gets its next turn.
    pub(in crate::store) async fn lead_context(&mut self, id: &ContextId, to: &WorkerId, now: Timestamp) -> sqlx::Result<()> {
        let dialect = self.dialect();
        self.execute(LEAD.on(dialect).bind(id.0.clone()).bind(to.0.clone()).bind(now.0)).await?;
        self.execute(LEAD_QUEUED.on(dialect).bind(id.0.clone()).bind(to.0.clone())).await?;
        Ok(())
    }
}
