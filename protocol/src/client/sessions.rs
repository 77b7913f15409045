//! OpenCode's sessions at the server.

use super::{Client, ClientError};
use crate::ids::{CodebaseId, SessionId};
use crate::session::{MessageList, MessagesSynced, ResumeSession, Session, SessionResumed, SessionsSynced, SyncMessages, SyncSessions};

impl Client {
    /// `GET /v1/opencode/sessions` with query parameters: the sessions of all machines, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self, query: &[(&str, &str)]) -> Result<Vec<Session>, ClientError> {
        self.get("v1/opencode/sessions", query).await
    }

    /// `GET /v1/opencode/codebases/{id}/sessions/{sid}/messages`: the last `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn session_messages(&self, codebase: &CodebaseId, session: &SessionId, limit: u32) -> Result<MessageList, ClientError> {
        let path = format!("v1/opencode/codebases/{codebase}/sessions/{session}/messages");
        self.get(&path, &[("limit", &limit.to_string())]).await
    }

    /// `POST /v1/opencode/codebases/{id}/sessions/{sid}/resume`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_session(
        &self,
        codebase: &CodebaseId,
        session: &SessionId,
        body: &ResumeSession,
    ) -> Result<SessionResumed, ClientError> {
        self.post(&format!("v1/opencode/codebases/{codebase}/sessions/{session}/resume"), body).await
    }

    /// `POST /v1/opencode/codebases/{id}/sessions/sync`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_sessions(&self, codebase: &CodebaseId, body: &SyncSessions) -> Result<SessionsSynced, ClientError> {
        self.post(&format!("v1/opencode/codebases/{codebase}/sessions/sync"), body).await
    }

    /// `POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_messages(
        &self,
        codebase: &CodebaseId,
        session: &SessionId,
        body: &SyncMessages,
    ) -> Result<MessagesSynced, ClientError> {
        self.post(&format!("v1/opencode/codebases/{codebase}/sessions/{session}/messages/sync"), body).await
    }
}
