//! Where a chat talks to: a codebase, a machine's home directory, or any machine's.

use crate::cli::exit::Failure;
use crate::cli::lookup;
use crate::cli::session::Session;
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::model::ModelList;
use muster_protocol::session::Session as OpencodeSession;
use muster_protocol::task::{PENDING_CODEBASE, Target, Task};
use muster_protocol::worker::{Worker, WorkerStatus};

/// A place, as tasks name it and as people read it.
pub(super) struct Place {
    /// What tasks say; none where their conversation says it.
    pub(super) target: Option<Target>,
    /// For people.
    pub(super) label: String,
    /// Why nothing would be answered now, if it is so.
    pub(super) problem: Option<String>,
    /// The machine by id and name, if it is known.
    pub(super) worker: Option<(String, String)>,
    pub(super) models: ModelList,
}

impl Place {
    /// The place that the options name. Names are looked up once, so that all turns mean the same.
    pub(super) async fn find(session: &Session<'_>, worker: Option<&str>, codebase: Option<&str>) -> Result<Self, Failure> {
        let worker = match worker {
            Some(typed) => Some(lookup::worker(session, typed).await?),
            None => None,
        };
        let codebase = match codebase {
            Some(typed) => Some(lookup::codebase(session, typed, worker.as_deref()).await?),
            None => None,
        };
        let target = Target { codebase: codebase.clone(), worker: worker.clone(), ..Target::default() };
        let target = (target != Target::default()).then_some(target);
        Self::describe(session, target, worker.map(WorkerId), codebase.map(CodebaseId)).await
    }

    /// The place of a conversation: that of its newest task.
    pub(super) async fn of_task(session: &Session<'_>, task: &Task) -> Result<Self, Failure> {
        let codebase = (task.codebase_id.as_str() != PENDING_CODEBASE).then(|| task.codebase_id.clone());
        Self::describe(session, None, task.worker_id.clone(), codebase).await
    }

    /// The place of an OpenCode session.
    pub(super) async fn of_session(session: &Session<'_>, of: &OpencodeSession) -> Result<Self, Failure> {
        Self::describe(session, None, Some(of.worker_id.clone()), of.codebase_id.clone()).await
    }

    async fn describe(
        session: &Session<'_>,
        target: Option<Target>,
        worker: Option<WorkerId>,
        codebase: Option<CodebaseId>,
    ) -> Result<Self, Failure> {
        let workers = session.client.workers(&[]).await?;
        let codebase = match &codebase {
            // What was removed since is told by the server when it is asked to run something there.
            Some(id) => session.client.codebase(id).await.ok(),
            None => None,
        };
        let worker = worker.or_else(|| codebase.as_ref()?.worker_id.clone());
        let known = worker.as_ref().and_then(|id| workers.iter().find(|worker| worker.worker_id == *id));
        let query: Vec<(&str, &str)> = worker.iter().map(|id| ("worker", id.as_str())).collect();
        let models = session.client.models(&query).await?;
        let machine = known.map_or_else(|| worker.as_ref().map_or("any machine", WorkerId::as_str), |worker| &worker.name);
        let label = match &codebase {
            Some(codebase) if !codebase.is_global => format!("{} on {machine} ({})", codebase.name, codebase.path),
            _ => format!("the home directory of {machine}"),
        };
        let problem = match known {
            Some(worker) => trouble(worker),
            None if workers.iter().any(|worker| worker.status == WorkerStatus::Active) => None,
            None => Some("there is no active machine; what you send waits for one".to_owned()),
        };
        let worker = known.map(|worker| (worker.worker_id.to_string(), worker.name.clone()));
        Ok(Self { target, label, problem, worker, models })
    }

    /// The model of a turn that asks for none.
    pub(super) fn default_model(&self) -> String {
        self.models.default.as_ref().map_or_else(|| "the machine's default model".to_owned(), |model| format!("{model} (the default)"))
    }

    /// The ids of the models that can be chosen.
    pub(super) fn model_ids(&self) -> Vec<String> {
        self.models.models.iter().map(|offer| offer.model.id.clone()).collect()
    }
}

fn trouble(worker: &Worker) -> Option<String> {
    (worker.status != WorkerStatus::Active).then(|| format!("{} is {}; what you send waits for it", worker.name, worker.status))
}
