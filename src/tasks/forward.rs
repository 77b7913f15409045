//! Work that no worker of this server can take goes to a machine of a peer that can. It stays a task of this server: the machine is reached as an
//! agent, and what it says is told here.

use super::resolve::Place;
use crate::app::App;
use crate::domain::forwarding::{Candidate, choose};
use crate::domain::matching::{Needs, Offer, misfits};
use crate::error::ApiError;
use crate::store::StoreError;
use crate::store::external::{agent_of, holder_of};
use crate::store::forward::ForwardTask;
use muster_protocol::ids::WorkerId;
use muster_protocol::task::{SubmitTask as Wanted, Task};
use muster_protocol::worker::{OPENCODE, Worker, WorkerStatus};
use serde_json::{Value, json};

/// How many waiting tasks are looked at in a round.
const LOOKED_AT: u32 = 200;

/// Where a task goes, and why it does not stay.
#[derive(Debug, Clone)]
struct Forward {
    agent: String,
    server: String,
    reason: String,
}

impl Forward {
    /// For the task's metadata and for events.
    fn as_json(&self) -> Value {
        json!({ "agent": self.agent, "server": self.server, "reason": self.reason })
    }

    fn place(&self) -> Place {
        Place { worker: Some(holder_of(&self.agent)), forwarded: Some(self.as_json()), ..Place::default() }
    }
}

impl App {
    /// The place of a task, or that at a peer where nobody here can take it.
    pub(super) async fn here_or_forwarded(&self, wanted: &Wanted, here: Result<Place, ApiError>) -> Result<Place, ApiError> {
        let is_free = |place: &Place| place.worker.is_none() && place.codebase.is_none();
        let reason = match &here {
            Ok(place) if !is_free(place) => return here,
            Ok(_) => None,
            Err(ApiError::Invalid { fields }) if fields.iter().all(|field| matches!(field.field.as_str(), "target.codebase" | "model")) => {
                Some(fields.iter().map(|field| field.message.clone()).collect::<Vec<_>>().join("; "))
            }
            Err(_) => return here,
        };
        let is_bound = wanted.resume_session_id.is_some() || wanted.target.as_ref().is_some_and(|target| target.worker.is_some());
        if is_bound {
            return here;
        }
        // Its conversation is at a machine of a peer, which knows what is there.
        if let Some(holder) = self.led_to(wanted).await? {
            return Ok(Place { worker: Some(holder), ..Place::default() });
        }
        let candidates = self.machines_of_peers().await?;
        if candidates.is_empty() {
            return here;
        }
        let needs = needs_of(wanted, here.as_ref().ok());
        let reason = match reason {
            Some(reason) => reason,
            None if self.somebody_fits(&needs).await? => return here,
            None => "no worker of this server can take it".to_owned(),
        };
        let codebase = wanted.target.as_ref().and_then(|target| target.codebase.as_deref());
        let Some(chosen) = choose(&needs, codebase, &candidates) else { return here };
        let place = Forward { agent: chosen.agent.clone(), server: chosen.server.clone(), reason }.place();
        Ok(Place { prompt: here.ok().and_then(|place| place.prompt), ..place })
    }

    /// What holds the tasks of a conversation that goes on at a machine of a peer. Whether it is the caller's is for the store to say.
    async fn led_to(&self, wanted: &Wanted) -> Result<Option<WorkerId>, StoreError> {
        let Some(context) = &wanted.context_id else { return Ok(None) };
        let holder = self.store.context(context).await?.and_then(|context| context.worker_id);
        Ok(holder.filter(|holder| agent_of(holder).is_some()))
    }

    /// The machines of peers that are reached.
    async fn machines_of_peers(&self) -> Result<Vec<Candidate>, StoreError> {
        let reached: Vec<_> = self.network.connected().into_iter().filter(|link| link.is_reached()).collect();
        let has_machine = |link: &std::sync::Arc<crate::network::Link>| {
            link.told().is_some_and(|told| told.agents.iter().any(|agent| agent.up && agent.machine.is_some()))
        };
        if !reached.iter().any(has_machine) {
            return Ok(Vec::new());
        }
        let agents = self.store.peer_agents().await?;
        let candidate = |agent: crate::store::peer_agents::StoredPeerAgent| {
            let link = reached.iter().find(|link| link.id == agent.home)?;
            let machine = agent.told.machine.filter(|_| agent.told.up)?;
            Some(Candidate { agent: agent.name, server: link.name(), machine })
        };
        Ok(agents.into_iter().filter_map(candidate).collect())
    }

    /// Whether a worker of this server could take it, once it has time.
    async fn somebody_fits(&self, needs: &Needs) -> Result<bool, StoreError> {
        let workers = self.workers(None).await?;
        Ok(workers.iter().filter(|worker| worker.status != WorkerStatus::Offline).any(|worker| fits(needs, worker)))
    }
}

fn fits(needs: &Needs, worker: &Worker) -> bool {
    let models: Vec<_> = worker.models.iter().map(|model| model.id.clone()).collect();
    let implied = worker.has_opencode().then(|| OPENCODE.to_owned());
    let capabilities: Vec<_> = worker.capabilities.iter().cloned().chain(implied).collect();
    misfits(needs, &Offer { worker: &worker.worker_id, capabilities: &capabilities, labels: &worker.labels, models: &models }).is_empty()
}

fn needs_of(wanted: &Wanted, place: Option<&Place>) -> Needs {
    Needs {
        worker: None,
        codebase: None,
        model: wanted.model.clone().or_else(|| place.and_then(|place| place.model.clone())),
        capabilities: wanted.capabilities.iter().cloned().chain(place.and_then(|place| place.capability.clone())).collect(),
        labels: wanted.labels.clone(),
        mode: wanted.mode.clone().unwrap_or_else(|| super::DEFAULT_MODE.to_owned()),
    }
}

/// Forwards tasks that wait here in vain, because who could take them left, or a peer that can has come.
///
/// # Errors
/// Of the store.
pub async fn forward_waiting(app: &App) -> Result<(), StoreError> {
    let candidates = app.machines_of_peers().await?;
    if candidates.is_empty() {
        return Ok(());
    }
    for task in app.store.waiting_for_anybody(app.now(), LOOKED_AT).await? {
        let needs = Needs::of(&task, None, None);
        if app.somebody_fits(&needs).await? {
            continue;
        }
        let Some(chosen) = choose(&needs, None, &candidates) else { continue };
        let reason = "no worker of this server can take it".to_owned();
        forward(app, &task, &Forward { agent: chosen.agent.clone(), server: chosen.server.clone(), reason }).await?;
    }
    Ok(())
}

async fn forward(app: &App, task: &Task, to: &Forward) -> Result<(), StoreError> {
    let said = format!("forwarded to {} of {}: {}", to.agent, to.server, to.reason);
    app.store.write(ForwardTask { task: task.id, to: holder_of(&to.agent), said, data: to.as_json(), now: app.now() }).await
}
