//! Who asks what of whom.

use super::error::{A2aError, Outcome};
use super::version::Version;
use crate::agents::Agent;
use crate::app::App;
use crate::auth::Principal;
use crate::store::a2a::{OfAgent, ToldTask};
use muster_protocol::ids::TaskId;

/// A request, as far as every operation needs it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) app: App,
    pub(crate) who: Principal,
    /// The agent at whose address it came; none at the server's own.
    pub(crate) agent: Option<Agent>,
    pub(crate) version: Version,
    /// The server's address as the caller sees it, without a slash at its end.
    pub(crate) base: String,
}

impl Asked {
    /// A task of the caller's.
    ///
    /// # Errors
    /// There is none, it is somebody else's, or another agent's than the one that was asked.
    pub(super) async fn own(&self, id: &str) -> Outcome<ToldTask> {
        let Ok(task) = id.parse::<TaskId>() else { return Err(A2aError::no_task(id)) };
        let told = self.app.store.told_task(task).await?;
        told.filter(|told| self.may_see(told)).ok_or_else(|| A2aError::no_task(id))
    }

    fn may_see(&self, told: &ToldTask) -> bool {
        told.record.task.owner == self.who.id && self.agent.as_ref().is_none_or(|agent| self.is_of(agent, told))
    }

    fn is_of(&self, agent: &Agent, told: &ToldTask) -> bool {
        match self.app.tasks_of(agent) {
            OfAgent::Machine(worker) => told.record.target_worker.as_ref() == Some(&worker),
            OfAgent::Own(names) => told.record.task.target.agent.as_ref().is_some_and(|agent| names.contains(agent)),
        }
    }
}
