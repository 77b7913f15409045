//! What other servers are told of the agents here.

use super::directory::{Agent, Machine};
use crate::app::App;
use crate::presence::is_there;
use crate::store::StoreError;
use crate::store::codebases::CodebaseFilter;
use muster_protocol::agent::AgentKind;
use muster_protocol::codebase::Codebase;
use muster_protocol::peer::{PeerAgent, PeerMachine, ServerState};
use muster_protocol::worker::OPENCODE;

/// The role of worker agents among those that a peer tells of.
pub(super) const WORKER: &str = "worker";

impl App {
    /// What there is at this server, for its peers.
    ///
    /// # Errors
    /// Of the store.
    pub async fn what_is_told(&self) -> Result<ServerState, StoreError> {
        let codebases = self.store.codebases(&CodebaseFilter::default()).await?;
        let mut agents: Vec<_> = self.own().iter().map(|agent| self.own_told(agent)).collect();
        agents.extend(self.machines().await?.iter().map(|machine| machine_told(machine, &codebases)));
        agents.extend(self.store.external_agents().await?.into_iter().map(|agent| PeerAgent {
            name: agent.name,
            kind: AgentKind::External,
            role: String::new(),
            description: agent.card.description,
            skills: agent.card.skills.into_iter().map(|skill| skill.name).collect(),
            up: agent.health.up,
            reason: agent.health.reason,
            machine: None,
        }));
        Ok(ServerState {
            name: self.store.identity().name.clone(),
            url: self.network.address().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agents,
            peers: Vec::new(),
            complaints: Vec::new(),
        })
    }

    /// The names that agents of others cannot have here.
    ///
    /// # Errors
    /// Of the store.
    pub async fn taken_names(&self) -> Result<Vec<String>, StoreError> {
        let mut taken: Vec<_> = self.own().iter().flat_map(|agent| self.names_of(agent)).collect();
        taken.extend(self.machines().await?.into_iter().map(|machine| machine.name));
        Ok(taken)
    }

    fn own_told(&self, agent: &Agent) -> PeerAgent {
        let role = match agent {
            Agent::Coordinator => "coordinator",
            Agent::Specialist(_) => WORKER,
            Agent::Monitor => "monitor",
            _ => "",
        };
        let skill = match agent {
            Agent::Specialist(n) => self.config.agents.get(*n).map(|agent| agent.name.clone()).unwrap_or_default(),
            _ => role.to_owned(),
        };
        PeerAgent {
            name: self.agent_name(agent),
            kind: AgentKind::Own,
            role: role.to_owned(),
            description: self.describe_own(agent),
            skills: vec![skill],
            up: true,
            reason: None,
            machine: None,
        }
    }
}

pub(super) fn machine_told(machine: &Machine, codebases: &[Codebase]) -> PeerAgent {
    let worker = &machine.worker;
    let up = is_there(worker);
    let of_it = codebases.iter().filter(|codebase| codebase.worker_id.as_ref() == Some(&worker.worker_id));
    let is_implied = worker.has_opencode() && !worker.capabilities.iter().any(|own| own == OPENCODE);
    let implied = is_implied.then(|| OPENCODE.to_owned());
    let names: Vec<_> = of_it.map(|codebase| codebase.name.clone()).collect();
    PeerAgent {
        name: machine.name.clone(),
        kind: AgentKind::Machine,
        role: String::new(),
        description: format!("OpenCode on {}", worker.hostname.as_deref().unwrap_or("a machine")),
        skills: names.clone(),
        up,
        reason: (!up).then(|| format!("the worker is {}", worker.status)),
        machine: Some(PeerMachine {
            capabilities: worker.capabilities.iter().cloned().chain(implied).collect(),
            labels: worker.labels.clone(),
            models: worker.models.iter().map(|model| model.id.clone()).collect(),
            default_model: worker.default_model.clone(),
            codebases: names,
            slots: worker.slots,
            free: if up { worker.slots.saturating_sub(worker.running) } else { 0 },
        }),
    }
}
