//! Taking in what a worker tells, in pieces that each take the store a few milliseconds.

use crate::app::App;
use crate::domain::session::{MESSAGES_KEPT, begun_at, kept};
use crate::error::{ApiError, FieldError};
use crate::store::Write;
use crate::store::sessions::{PutMessages, PutSessions, RemoveOutcome, RemoveSessions, SyncOutcome};
use muster_protocol::ids::{CodebaseId, MAX_ID_LEN, SessionId, WorkerId, is_acceptable_id};
use muster_protocol::session::{MessagesSynced, SessionMessage, SessionReport, SessionsSynced, SyncMessages, SyncSessions};
use muster_protocol::time::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;

/// How many sessions, messages or deleted ones a call may name.
const MOST: usize = 10_000;
/// How many of them go in one write.
const CHUNK: usize = 100;
/// How many bytes of messages go in one write, unless a single one is larger.
const CHUNK_SIZE: usize = 512 << 10;
/// How many wrong fields are told.
const WRONG_SHOWN: usize = 20;

impl App {
    /// Takes in sessions of a worker; those that are not named stay as they are.
    ///
    /// # Errors
    /// 404 if the worker has no such codebase; 422 with the fields named.
    pub async fn sync_sessions(&self, codebase: &CodebaseId, told: SyncSessions) -> Result<SessionsSynced, ApiError> {
        let mut wrong = Wrong::default();
        wrong.id("worker_id", told.worker_id.as_str());
        wrong.count("sessions", told.sessions.len());
        wrong.count("deleted", told.deleted.len());
        for (n, session) in told.sessions.iter().enumerate() {
            wrong.id(format!("sessions[{n}].id"), session.id.as_str());
            if let Some(parent) = &session.parent_id {
                wrong.id(format!("sessions[{n}].parent_id"), parent.as_str());
            }
        }
        for (n, id) in told.deleted.iter().enumerate() {
            wrong.id(format!("deleted[{n}]"), id.as_str());
        }
        wrong.none()?;
        let (worker, now) = (told.worker_id, self.now());
        let sessions_count = told.sessions.len();
        let sessions = last_of_each(told.sessions, |session: &SessionReport| session.id.clone());
        // An empty list asks too whether the codebase is the worker's.
        for piece in pieces(sessions, |_| 0) {
            let (worker, codebase) = (worker.clone(), codebase.clone());
            self.sync(PutSessions { worker, codebase, sessions: piece, now }).await?;
        }
        for piece in told.deleted.chunks(CHUNK) {
            self.remove_sessions(&worker, codebase, piece).await?;
        }
        self.plain_called(&worker).await?;
        Ok(SessionsSynced { success: true, sessions_count })
    }

    async fn remove_sessions(&self, worker: &WorkerId, codebase: &CodebaseId, sessions: &[SessionId]) -> Result<(), ApiError> {
        loop {
            let write = RemoveSessions { worker: worker.clone(), codebase: codebase.clone(), sessions: sessions.to_vec() };
            match self.store.write(write).await? {
                RemoveOutcome::Done => return Ok(()),
                RemoveOutcome::More => {}
                RemoveOutcome::NoCodebase => return Err(no_codebase(worker, codebase)),
            }
        }
    }

    /// Takes in messages of a session; those that are not named stay as they are. Only the newest 2,000 of a session are kept.
    ///
    /// # Errors
    /// 404 if the worker has no such codebase; 422 with the fields named.
    pub async fn sync_messages(&self, codebase: &CodebaseId, session: &SessionId, told: SyncMessages) -> Result<MessagesSynced, ApiError> {
        let mut wrong = Wrong::default();
        wrong.id("worker_id", told.worker_id.as_str());
        wrong.count("messages", told.messages.len());
        wrong.count("deleted", told.deleted.len());
        for (n, message) in told.messages.iter().enumerate() {
            wrong.id(format!("messages[{n}].id"), &message.id);
        }
        for (n, id) in told.deleted.iter().enumerate() {
            wrong.id(format!("deleted[{n}]"), id);
        }
        wrong.none()?;
        let messages_count = told.messages.len();
        let messages = to_keep(told.messages);
        let write = |messages, deleted| {
            let (worker, codebase, session) = (told.worker_id.clone(), codebase.clone(), session.clone());
            PutMessages { worker, codebase, session, messages, deleted, now: self.now() }
        };
        for piece in pieces(messages, |(_, _, json)| json.len()) {
            self.sync(write(piece, Vec::new())).await?;
        }
        for piece in told.deleted.chunks(CHUNK) {
            self.sync(write(Vec::new(), piece.to_vec())).await?;
        }
        self.plain_called(&told.worker_id).await?;
        Ok(MessagesSynced { success: true, messages_count })
    }

    async fn sync<W: Write<Output = SyncOutcome> + Whose>(&self, write: W) -> Result<(), ApiError> {
        let refusal = no_codebase(write.worker(), write.codebase());
        match self.store.write(write).await? {
            SyncOutcome::Taken(_) => Ok(()),
            SyncOutcome::NoCodebase => Err(refusal),
        }
    }
}

/// Writes of which the refusal says whose and where.
trait Whose {
    fn worker(&self) -> &WorkerId;
    fn codebase(&self) -> &CodebaseId;
}

macro_rules! whose {
    ($($write:ty),+) => {$(
        impl Whose for $write {
            fn worker(&self) -> &WorkerId {
                &self.worker
            }

            fn codebase(&self) -> &CodebaseId {
                &self.codebase
            }
        }
    )+};
}

whose!(PutSessions, PutMessages);

/// 404: a worker of the earlier system then registers its codebase again and repeats the sync.
fn no_codebase(worker: &WorkerId, codebase: &CodebaseId) -> ApiError {
    let shown = |id: &str| crate::error::shown(id);
    ApiError::NotFound { what: format!("codebase `{}` of the worker `{}`", shown(codebase.as_str()), shown(worker.as_str())) }
}

/// The newest messages in their order, as they are stored.
fn to_keep(messages: Vec<SessionMessage>) -> Vec<(String, Timestamp, String)> {
    let mut messages = last_of_each(messages, |message: &SessionMessage| message.id.clone());
    messages.sort_by_cached_key(|message| (begun_at(message), message.id.clone()));
    let surplus = messages.len().saturating_sub(MESSAGES_KEPT);
    messages.drain(..surplus);
    messages.into_iter().map(|message| (message.id.clone(), begun_at(&message), kept(&message))).collect()
}

/// Of those with one key the last; a statement takes each row once.
fn last_of_each<T, K: Eq + Hash>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let last: HashMap<K, usize> = items.iter().enumerate().map(|(n, item)| (key(item), n)).collect();
    let numbered = items.into_iter().enumerate();
    numbered.filter(|(n, item)| last.get(&key(item)) == Some(n)).map(|(_, item)| item).collect()
}

/// At least one piece, each not too long and not too large.
fn pieces<T>(items: Vec<T>, size_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut pieces, mut size) = (vec![Vec::new()], 0);
    for item in items {
        let own = size_of(&item);
        if pieces.last().is_none_or(|piece| piece.len() >= CHUNK || (size + own > CHUNK_SIZE && !piece.is_empty())) {
            pieces.push(Vec::new());
            size = 0;
        }
        size += own;
        if let Some(piece) = pieces.last_mut() {
            piece.push(item);
        }
    }
    pieces
}

/// What is wrong with a call.
#[derive(Default)]
struct Wrong(Vec<FieldError>);

impl Wrong {
    fn add(&mut self, field: impl Into<String>, message: String) {
        if self.0.len() < WRONG_SHOWN {
            self.0.push(FieldError::new(field, message));
        }
    }

    fn id(&mut self, field: impl Into<String>, id: &str) {
        if !is_acceptable_id(id) {
            self.add(field, format!("must be 1 to {MAX_ID_LEN} printable ASCII characters without space or slash"));
        }
    }

    fn count(&mut self, field: &str, count: usize) {
        if count > MOST {
            self.add(field, format!("has {count} items; send at most {MOST} at a time"));
        }
    }

    fn none(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid { fields: self.0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, CHUNK_SIZE, last_of_each, pieces};

    #[test]
    fn a_piece_is_neither_too_long_nor_too_large() {
        let sizes = |items: Vec<usize>| pieces(items, |size| *size).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0]);
        assert_eq!(sizes(vec![0; CHUNK * 2 + 1]), [CHUNK, CHUNK, 1]);
        assert_eq!(sizes(vec![CHUNK_SIZE / 2; 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![CHUNK_SIZE * 3, 1, CHUNK_SIZE * 3]), [1, 1, 1]);
    }

    #[test]
    fn of_those_with_one_key_the_last_is_taken() {
        assert_eq!(last_of_each(vec![("a", 1), ("b", 2), ("a", 3)], |item| item.0), [("b", 2), ("a", 3)]);
    }
}
