//! Where a task is to run: names become ids, and what cannot be anywhere is refused at once.

use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::store::codebases::CodebaseFilter;
use muster_protocol::codebase::{Codebase, CodebaseStatus};
use muster_protocol::ids::{CodebaseId, ContextId, SessionId, WorkerId};
use muster_protocol::task::{SubmitTask as Wanted, Target, builtin_mode};
use muster_protocol::worker::{Worker, WorkerStatus};
use serde_json::Value;

/// Where a task is to run, and what that place adds to it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The only worker that may take it.
    pub worker: Option<WorkerId>,
    /// Where it must run.
    pub codebase: Option<CodebaseId>,
    /// What the worker must have besides.
    pub capability: Option<String>,
    /// The model, where none was asked for.
    pub model: Option<String>,
    /// The prompt, where instructions go before it.
    pub prompt: Option<String>,
    /// To which machine of a peer it goes, and why, if it does.
    pub forwarded: Option<Value>,
}

/// How many names a refusal lists.
const NAMES_SHOWN: usize = 12;

impl App {
    /// Finds the place that a task asks for.
    ///
    /// # Errors
    /// 422 with the field named: an unknown or ambiguous name, a model that is nowhere.
    pub async fn resolve(&self, who: &Principal, wanted: &Wanted) -> Result<Place, ApiError> {
        let here = self.resolve_here(who, wanted).await;
        self.here_or_forwarded(wanted, here).await
    }

    async fn resolve_here(&self, who: &Principal, wanted: &Wanted) -> Result<Place, ApiError> {
        let target = wanted.target.clone().unwrap_or_default();
        let kinds = [target.codebase.is_some(), target.agent.is_some(), target.any];
        if kinds.into_iter().filter(|given| *given).count() > 1 || (target.worker.is_some() && (target.agent.is_some() || target.any)) {
            return Err(ApiError::invalid("target", "name one of codebase, worker, agent, any; a worker may go with a codebase"));
        }
        let place = self.place(&target, wanted).await?;
        let place = match (&place.worker, &wanted.context_id) {
            // Its conversation may say where: the store decides, in the transaction.
            (None, Some(context)) if target == Target::default() => self.place_of_context(who, context, place).await?,
            _ => place,
        };
        let place = match &wanted.resume_session_id {
            Some(session) if target.codebase.is_none() => self.place_of_session(who, session, &target, place).await?,
            _ => place,
        };
        if wanted.fork {
            self.check_fork(place.worker.as_ref()).await?;
        }
        self.check_model(wanted, &place).await?;
        Ok(place)
    }

    async fn place(&self, target: &Target, wanted: &Wanted) -> Result<Place, ApiError> {
        let worker = match &target.worker {
            Some(name) => Some(self.worker_named(name, "target.worker").await?),
            None => None,
        };
        if let Some(name) = &target.codebase {
            let codebase = self.codebase_named(name, worker.as_ref()).await?;
            return Ok(Place { worker: codebase.worker_id.clone(), codebase: Some(codebase.id), ..Place::default() });
        }
        if let Some(worker) = worker {
            return Ok(home_of(&worker));
        }
        let Some(name) = &target.agent else { return Ok(Place::default()) };
        if let Some(agent) = self.config.agents.iter().find(|agent| agent.name == *name) {
            let prompt = format!("{}\n\n{}", agent.instructions.trim(), wanted.prompt);
            let prompt = (!agent.instructions.trim().is_empty()).then_some(prompt);
            return Ok(Place { capability: agent.capability.clone(), model: agent.model.clone(), prompt, ..Place::default() });
        }
        self.worker_named(name, "target.agent").await.map(|worker| home_of(&worker))
    }

    /// The registry is large: all of it is looked at only where an id does not say enough.
    async fn worker_named(&self, name: &str, field: &str) -> Result<Worker, ApiError> {
        match self.worker(&WorkerId::from(name)).await? {
            Some(worker) => Ok(worker),
            None => worker_named(&self.workers(None).await?, name, field).cloned(),
        }
    }

    /// A model that no worker in question has is a mistake, not something to wait for.
    async fn check_model(&self, wanted: &Wanted, place: &Place) -> Result<(), ApiError> {
        let Some(model) = wanted.model.as_ref().filter(|_| !builtin_mode::contains(wanted.mode.as_deref().unwrap_or("build"))) else {
            return Ok(());
        };
        let workers = match &place.worker {
            Some(only) => self.worker(only).await?.into_iter().collect(),
            None if self.workers(Some(model)).await?.iter().any(is_not_offline) => return Ok(()),
            None => self.workers(None).await?,
        };
        let in_question = workers.iter().filter(|worker| place.worker.is_some() || is_not_offline(worker));
        let models: std::collections::BTreeSet<_> = in_question.flat_map(|worker| worker.models.iter().map(|m| m.id.as_str())).collect();
        // Nobody there has told any models yet: wait for one that does.
        if models.is_empty() || models.contains(model.as_str()) {
            return Ok(());
        }
        let models: Vec<_> = models.into_iter().collect();
        Err(ApiError::invalid("model", unknown("model", model, &models)))
    }

    async fn place_of_context(&self, who: &Principal, context: &ContextId, place: Place) -> Result<Place, ApiError> {
        let known = self.store.context(context).await?.filter(|context| who.sees_everything() || context.owner == who.id);
        Ok(known.map_or(place, |context| Place { worker: context.worker_id, codebase: context.codebase_id, ..Place::default() }))
    }

    /// Where a session is, as its worker told it: only there it can be continued. For a caller who sees only what is theirs, the sessions of others
    /// are not there.
    async fn place_of_session(&self, who: &Principal, session: &SessionId, target: &Target, place: Place) -> Result<Place, ApiError> {
        let owner = (!who.sees_everything()).then_some(&who.id);
        let known = self.store.sessions_with_id(session, place.worker.as_ref(), owner).await?;
        let found = match (known.as_slice(), &place.worker) {
            ([only], _) if place.worker.is_some() || *target == Target::default() => only,
            // The worker says whether it has it.
            ([], Some(_)) => return Ok(place),
            ([_, _, ..], None) => {
                let on: Vec<_> = known.iter().map(|known| known.worker_name.as_deref().unwrap_or(known.worker_id.as_str())).collect();
                let message = format!("several workers have a session of this id ({}); name the worker too", on.join(", "));
                return Err(ApiError::invalid("target", message));
            }
            _ => return Err(ApiError::invalid("target", "name the worker or codebase that has the session of resume_session_id")),
        };
        let codebase = match &found.codebase_id {
            // One that is not in the registry any more cannot be where a task runs.
            Some(codebase) => self.store.codebase(codebase).await?.map(|codebase| codebase.id),
            None => None,
        };
        Ok(Place { worker: Some(found.worker_id.clone()), codebase: codebase.or(place.codebase), ..place })
    }

    /// A worker of the earlier system continues a session itself whatever it is told.
    async fn check_fork(&self, worker: Option<&WorkerId>) -> Result<(), ApiError> {
        let Some(worker) = worker else { return Ok(()) };
        match self.store.worker(worker).await? {
            Some(record) if record.is_plain() => {
                let message = format!("the worker {worker} polls, and cannot copy a session; continue the session itself");
                Err(ApiError::invalid("fork", message))
            }
            _ => Ok(()),
        }
    }

    async fn codebase_named(&self, name: &str, worker: Option<&Worker>) -> Result<Codebase, ApiError> {
        let of_worker = |codebase: &Codebase| worker.is_none_or(|worker| codebase.worker_id.as_ref() == Some(&worker.worker_id));
        if let Some(codebase) = self.store.codebase(&CodebaseId::from(name)).await?.filter(of_worker) {
            return Ok(codebase);
        }
        let filter = CodebaseFilter { worker: worker.map(|worker| worker.worker_id.clone()), ..CodebaseFilter::default() };
        let all = self.codebases(&filter).await?;
        let mut found: Vec<_> = all.iter().filter(|codebase| codebase.name == name).cloned().collect();
        // Of several with one name, those whose worker is there are meant.
        if found.iter().any(|codebase| codebase.status == CodebaseStatus::Active) {
            found.retain(|codebase| codebase.status == CodebaseStatus::Active);
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => {
                let names: Vec<_> = all.iter().map(|codebase| codebase.name.as_str()).collect();
                Err(ApiError::invalid("target.codebase", unknown("codebase", name, &names)))
            }
            _ => {
                let on: Vec<_> = found.iter().map(|c| c.worker_name.clone().unwrap_or_default()).collect();
                let message = format!(
                    "`{}` is on several workers ({}); name the worker too, or use its id",
                    crate::error::shown(name),
                    on.join(", ")
                );
                Err(ApiError::invalid("target.codebase", message))
            }
        }
    }
}

fn home_of(worker: &Worker) -> Place {
    Place { worker: Some(worker.worker_id.clone()), codebase: worker.global_codebase_id.clone(), ..Place::default() }
}

fn worker_named<'a>(workers: &'a [Worker], name: &str, field: &str) -> Result<&'a Worker, ApiError> {
    let found: Vec<_> = workers.iter().filter(|worker| worker.name == name).collect();
    // Of several with one name, those that are there are meant.
    let there: Vec<_> = found.iter().filter(|worker| is_not_offline(worker)).collect();
    match (found.as_slice(), there.as_slice()) {
        ([only], _) => Ok(only),
        (_, [only]) => Ok(only),
        ([], _) => {
            let names: Vec<_> = workers.iter().map(|worker| worker.name.as_str()).collect();
            let noun = field.trim_start_matches("target.");
            Err(ApiError::invalid(field, unknown(noun, name, &names)))
        }
        _ => Err(ApiError::invalid(field, format!("several workers are named `{}`; use the id of one", crate::error::shown(name)))),
    }
}

fn is_not_offline(worker: &Worker) -> bool {
    worker.status != WorkerStatus::Offline
}

fn unknown(noun: &str, name: &str, known: &[&str]) -> String {
    let mut names: Vec<_> = known.to_vec();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    let known = match (names.is_empty(), more) {
        (true, _) => "there is none yet".to_owned(),
        (false, 0) => format!("known: {}", names.join(", ")),
        (false, more) => format!("known: {} and {more} more", names.join(", ")),
    };
    format!("there is no {noun} `{}`; {known}", crate::error::shown(name))
}
