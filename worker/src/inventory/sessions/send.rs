//! Telling the server: in requests of bounded size, and so that what it refuses does not keep back the rest.

use super::{Teller, Trouble};
use muster_protocol::client::ClientError;
use muster_protocol::ids::{CodebaseId, SessionId};
use muster_protocol::session::{SessionMessage, SessionReport, SyncMessages, SyncSessions};
use std::collections::HashSet;

/// How many sessions or messages are sent at once.
pub(super) const SEND: usize = 200;
/// How many bytes of messages are sent at once.
const SEND_BYTES: usize = 1_000_000;

impl Teller {
    /// Sends sessions, each with its fingerprint, and notes what was told.
    pub(super) async fn send_sessions(&mut self, codebase: &CodebaseId, chunk: &[(SessionReport, u64)]) -> Result<(), Trouble> {
        let body = |sessions| SyncSessions { worker_id: self.shared.worker_id.clone(), sessions, deleted: Vec::new() };
        let all = body(chunk.iter().map(|(report, _)| report.clone()).collect());
        let refused = match self.shared.server.sync_sessions(codebase, &all).await {
            Ok(_) => HashSet::new(),
            // One that is refused must not keep the others back: they are told one by one.
            Err(error) if is_about_one(&error) => {
                let mut refused = HashSet::new();
                for (report, _) in chunk {
                    match self.shared.server.sync_sessions(codebase, &body(vec![report.clone()])).await {
                        Ok(_) => {}
                        Err(error) if is_about_one(&error) => {
                            tracing::warn!("the server does not take the session {}: {error}", report.id);
                            refused.insert(report.id.0.clone());
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                refused
            }
            Err(error) => return Err(error.into()),
        };
        self.shared.contact.reached();
        for (report, print) in chunk {
            let updated = report.updated.map_or(0, |updated| updated.0);
            if refused.contains(&report.id.0) {
                self.refused.insert(report.id.0.clone(), updated);
                continue;
            }
            let row = self.known.row_mut(&report.id.0);
            row.told = *print;
            row.updated = updated;
            codebase.as_str().clone_into(&mut row.codebase);
        }
        self.known.save_soon();
        Ok(())
    }

    /// Sends messages in requests of bounded size.
    pub(super) async fn send_messages(
        &self,
        codebase: &CodebaseId,
        session: &str,
        messages: Vec<(SessionMessage, usize)>,
        deleted: Vec<String>,
    ) -> Result<(), Trouble> {
        let mut body = SyncMessages { worker_id: self.shared.worker_id.clone(), messages: Vec::new(), deleted };
        let mut bytes = 0;
        for (message, size) in messages {
            if !body.messages.is_empty() && (bytes + size > SEND_BYTES || body.messages.len() == SEND) {
                self.shared.server.sync_messages(codebase, &SessionId(session.to_owned()), &body).await?;
                body.messages.clear();
                bytes = 0;
            }
            bytes += size;
            body.messages.push(message);
        }
        if !body.messages.is_empty() || !body.deleted.is_empty() {
            self.shared.server.sync_messages(codebase, &SessionId(session.to_owned()), &body).await?;
        }
        Ok(())
    }
}

/// Whether a refusal is about what was sent, so that sending something else is worth a try.
pub(super) fn is_about_one(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 400 | 413 | 422, .. })
}
