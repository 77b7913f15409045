//! Operations on OpenCode sessions: taking in what workers tell, reading, and continuing one.

mod sync;

use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::store::codebases::CodebaseFilter;
use crate::store::sessions::SessionFilter;
use muster_protocol::ids::{CodebaseId, SessionId, WorkerId};
use muster_protocol::session::{MessageList, ResumeSession, SOURCE, Session, SessionResumed};
use muster_protocol::task::{SubmitTask, Target};
use muster_protocol::token::Scope;
use serde_json::{Map, json};

impl App {
    /// The sessions of a codebase that match, the newest first; also of a codebase that is no longer in the registry.
    ///
    /// # Errors
    /// 404 for a codebase that the caller may not see, or of which nothing is known.
    pub async fn sessions_of(&self, who: &Principal, codebase: &CodebaseId, filter: SessionFilter) -> Result<Vec<Session>, ApiError> {
        let owner = match self.store.codebase(codebase).await? {
            Some(codebase) => codebase.worker_id,
            None => self.store.worker_of_sessions_in(codebase).await?,
        };
        let not_found = || ApiError::not_found("codebase", codebase);
        owner.filter(|owner| may_see(who, owner)).ok_or_else(not_found)?;
        Ok(self.store.sessions(&SessionFilter { codebases: Some(vec![codebase.clone()]), ..filter }).await?)
    }

    /// The sessions of all machines that match, the newest first. `worker` and `codebase` are ids or names; what nobody has matches nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn sessions(
        &self,
        who: &Principal,
        worker: Option<&str>,
        codebase: Option<&str>,
        filter: SessionFilter,
    ) -> Result<Vec<Session>, ApiError> {
        let mut workers = match worker {
            Some(worker) => Some(self.workers_called(worker).await?),
            None => None,
        };
        if let Some(own) = bound_to(who) {
            workers = Some(workers.map_or_else(|| vec![own.clone()], |named| named.into_iter().filter(|id| id == own).collect()));
        }
        let codebases = match codebase {
            Some(codebase) => Some(self.codebases_called(codebase).await?),
            None => None,
        };
        Ok(self.store.sessions(&SessionFilter { workers, codebases, ..filter }).await?)
    }

    async fn workers_called(&self, name: &str) -> Result<Vec<WorkerId>, ApiError> {
        let id = WorkerId::from(name);
        if self.store.worker(&id).await?.is_some() {
            return Ok(vec![id]);
        }
        let all = self.store.workers(None).await?.into_iter().map(|record| record.worker);
        let named: Vec<_> = all.filter(|worker| worker.name == name).map(|worker| worker.worker_id).collect();
        // One that has never registered may have told of sessions.
        Ok(if named.is_empty() { vec![id] } else { named })
    }

    async fn codebases_called(&self, name: &str) -> Result<Vec<CodebaseId>, ApiError> {
        let id = CodebaseId::from(name);
        if self.store.codebase(&id).await?.is_some() {
            return Ok(vec![id]);
        }
        let filter = CodebaseFilter { name: Some(name.to_owned()), ..CodebaseFilter::default() };
        let named: Vec<_> = self.store.codebases(&filter).await?.into_iter().map(|codebase| codebase.id).collect();
        // One that was removed from the registry may have sessions.
        Ok(if named.is_empty() { vec![id] } else { named })
    }

    /// A session of a codebase.
    ///
    /// # Errors
    /// 404 if there is none, or the caller may not see it.
    pub async fn session(&self, who: &Principal, codebase: &CodebaseId, id: &SessionId) -> Result<Session, ApiError> {
        let session = self.store.session(codebase, id).await?;
        session.filter(|session| may_see(who, &session.worker_id)).ok_or_else(|| ApiError::not_found("session", id))
    }

    /// The last messages of a session, oldest first.
    ///
    /// # Errors
    /// 404.
    pub async fn session_messages(
        &self,
        who: &Principal,
        codebase: &CodebaseId,
        id: &SessionId,
        limit: u32,
    ) -> Result<MessageList, ApiError> {
        let session = self.session(who, codebase, id).await?;
        let messages = self.store.session_messages(&session.worker_id, id, limit).await?;
        Ok(MessageList { messages, session_id: id.clone(), source: SOURCE.to_owned() })
    }

    /// Continues a session, or a copy of it, with a task: the next turn of its conversation, or the first of a new one.
    ///
    /// # Errors
    /// 404 for an unknown session or a codebase that is not in the registry; 409 if the session is somebody else's conversation; as a submit.
    pub async fn resume_session(
        &self,
        who: &Principal,
        codebase: &CodebaseId,
        id: &SessionId,
        wanted: ResumeSession,
        key: Option<String>,
    ) -> Result<SessionResumed, ApiError> {
        self.store.codebase(codebase).await?.ok_or_else(|| ApiError::not_found("codebase", codebase))?;
        self.session(who, codebase, id).await?;
        let fork = wanted.fork;
        let is_given = |text: &String| !text.is_empty();
        let submit = SubmitTask {
            prompt: wanted.prompt,
            target: Some(Target { codebase: Some(codebase.0.clone()), ..Target::default() }),
            model: wanted.model.filter(is_given),
            mode: wanted.agent.filter(is_given),
            resume_session_id: Some(id.clone()),
            fork,
            // Where a worker of the earlier system looks for it.
            metadata: if fork { Map::new() } else { Map::from_iter([("resume_session_id".to_owned(), json!(id))]) },
            ..SubmitTask::default()
        };
        let task = self.submit(who, submit, key).await?;
        let what = if fork { "continues a copy of the session" } else { "continues the session" };
        Ok(SessionResumed {
            success: true,
            task_id: task.id,
            session_id: id.clone(),
            message: format!("task {} {what}", task.id),
            codebase_id: codebase.clone(),
            agent: task.mode.clone(),
            error: None,
            task,
        })
    }
}

/// The only worker whose sessions a caller may see.
fn bound_to(who: &Principal) -> Option<&WorkerId> {
    who.worker_id.as_ref().filter(|_| who.scope == Scope::Worker)
}

fn may_see(who: &Principal, owner: &WorkerId) -> bool {
    bound_to(who).is_none_or(|own| own == owner)
}
