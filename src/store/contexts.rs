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
}

statements! {
    GET: "SELECT id, owner, worker_id, codebase_id, session_id FROM contexts WHERE id = $1";
    INSERT: "INSERT INTO contexts (id, owner, worker_id, codebase_id, session_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)";
    BIND: "UPDATE contexts SET worker_id = $2, codebase_id = $3, session_id = $4, updated_at = $5 WHERE id = $1";
    BIND_QUEUED: "UPDATE tasks SET target_worker = $2, target_codebase = $3 WHERE context_id = $1 AND completed_at IS NULL
        AND state = 'submitted'";
}

fn read(row: &AnyRow) -> sqlx::Result<Context> {
    Ok(Context {
        id: ContextId(row.text("id")?),
        owner: PrincipalId(row.text("owner")?),
        worker_id: row.maybe_text("worker_id")?.map(WorkerId),
        codebase_id: row.maybe_text("codebase_id")?.map(CodebaseId),
        session_id: row.maybe_text("session_id")?.map(SessionId),
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

    pub(in crate::store) async fn insert_context(&mut self, context: &Context, now: Timestamp) -> sqlx::Result<()> {
        let statement = INSERT.on(self.dialect()).bind(context.id.0.clone()).bind(context.owner.0.clone());
        let statement = statement.bind(context.worker_id.as_ref().map(|id| id.0.clone()));
        let statement = statement.bind(context.codebase_id.as_ref().map(|id| id.0.clone()));
        let statement = statement.bind(context.session_id.as_ref().map(|id| id.0.clone())).bind(now.0);
        self.execute(statement).await.map(|_| ())
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
}
