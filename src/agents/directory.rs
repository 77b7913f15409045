//! Who there is: this server's own agents, and a machine for each registered worker.

use super::Message;
use crate::app::App;
use crate::domain::naming::unique_names;
use crate::domain::routing::{Route, by_content};
use crate::error::ApiError;
use crate::store::StoreError;
use crate::store::a2a::OfAgent;
use crate::store::external::holder_of;
use muster_protocol::ids::WorkerId;
use muster_protocol::worker::Worker;

/// An agent of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Answers from the event log and the registry.
    Monitor,
    /// Splits work.
    Coordinator,
    /// One of `[[agents]]`, by its place.
    Specialist(usize),
    /// Does what the official conformance kit wants.
    Conformance,
    /// A registered worker, with its name.
    Machine(WorkerId, String),
    /// An agent of somebody else's, by the name under which it is reached here.
    External(String),
}

/// A registered machine as an agent.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The name under which it is reached.
    pub name: String,
    /// The worker.
    pub worker: Worker,
}

impl App {
    /// The names of this server's own agents.
    #[must_use]
    pub fn own_agents(&self) -> Vec<String> {
        self.own().iter().map(|agent| self.agent_name(agent)).collect()
    }

    /// This server's own agents, for its banner: their names, and the specialty of those that have one.
    #[must_use]
    pub fn own_specialties(&self) -> Vec<(String, String)> {
        let specialty = |agent: &Agent| match agent {
            Agent::Specialist(n) => self.config.agents.get(*n).map(|agent| agent.name.clone()).unwrap_or_default(),
            _ => String::new(),
        };
        self.own().iter().map(|agent| (self.agent_name(agent), specialty(agent))).collect()
    }

    /// This server's own agents.
    #[must_use]
    pub fn own(&self) -> Vec<Agent> {
        let conformance = self.config.a2a.conformance_agent.then_some(Agent::Conformance);
        let specialists = (0..self.config.agents.len()).map(Agent::Specialist);
        std::iter::once(Agent::Coordinator).chain(specialists).chain([Agent::Monitor]).chain(conformance).collect()
    }

    /// The machines, without those that left. Who registered first keeps its name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        let running = self.store.running_by_worker().await?;
        let mut workers: Vec<_> = self.store.workers(None).await?;
        workers.retain(|record| !record.gone);
        workers.sort_by(|a, b| (a.worker.registered_at, &a.worker.worker_id).cmp(&(b.worker.registered_at, &b.worker.worker_id)));
        let mut taken: Vec<_> = self.own().iter().flat_map(|agent| self.names_of(agent)).collect();
        taken.extend(self.store.agent_names().await?);
        let names = unique_names(&taken, workers.iter().map(|record| record.worker.name.as_str()));
        Ok(names.into_iter().zip(&workers).map(|(name, record)| Machine { name, worker: self.shown(record, &running) }).collect())
    }

    /// The agent of a name: one of this server's, one of others, a machine by the name under which it is reached, or by its own name or its id.
    ///
    /// # Errors
    /// 404.
    pub async fn agent_named(&self, name: &str) -> Result<Agent, ApiError> {
        if let Some(agent) = self.own().into_iter().find(|agent| self.names_of(agent).iter().any(|own| own == name)) {
            return Ok(agent);
        }
        if let Some(external) = self.store.external_agent(name).await? {
            return Ok(Agent::External(external.name));
        }
        let machines = self.machines().await?;
        let found = machines.iter().find(|machine| machine.name == name);
        let by_worker = || machines.iter().find(|machine| machine.worker.name == name || machine.worker.worker_id.as_str() == name);
        let machine = found.or_else(by_worker).ok_or_else(|| ApiError::not_found("agent", name))?;
        Ok(Agent::Machine(machine.worker.worker_id.clone(), machine.name.clone()))
    }

    /// The agent that is to answer a message.
    pub(super) async fn agent_for(&self, message: &Message) -> Result<Agent, ApiError> {
        match &message.agent {
            Some(name) => self.agent_named(name).await,
            None => Ok(match by_content(&message.text) {
                Route::Monitor => Agent::Monitor,
                Route::Coordinator => Agent::Coordinator,
                Route::Default if self.config.a2a.conformance_agent => Agent::Conformance,
                Route::Default => Agent::Specialist(0),
            }),
        }
    }

    /// The name under which an agent is reached.
    #[must_use]
    pub fn agent_name(&self, agent: &Agent) -> String {
        let server = &self.store.identity().name;
        match agent {
            Agent::Monitor => format!("Monitor-{server}"),
            Agent::Coordinator => format!("Coordinator-{server}"),
            Agent::Specialist(n) => format!("Worker-{}-{server}", letter(*n)),
            Agent::Conformance => format!("Conformance-{server}"),
            Agent::Machine(_, name) | Agent::External(name) => name.clone(),
        }
    }

    /// Both names of an agent: the one under which it is reached, and the short one.
    pub(super) fn names_of(&self, agent: &Agent) -> [String; 2] {
        let short = match agent {
            Agent::Monitor => "monitor".to_owned(),
            Agent::Coordinator => "coordinator".to_owned(),
            Agent::Specialist(n) => self.config.agents[*n].name.clone(),
            Agent::Conformance => "conformance".to_owned(),
            Agent::Machine(id, _) => id.0.clone(),
            Agent::External(name) => name.clone(),
        };
        [self.agent_name(agent), short]
    }

    /// Which tasks are an agent's.
    #[must_use]
    pub fn tasks_of(&self, agent: &Agent) -> OfAgent {
        match agent {
            Agent::Machine(worker, _) => OfAgent::Machine(worker.clone()),
            Agent::External(name) => OfAgent::Machine(holder_of(name)),
            own => OfAgent::Own(self.names_of(own)),
        }
    }
}

/// A, B, .. Z, then 27, 28, ..
pub(super) fn letter(n: usize) -> String {
    let letter = u8::try_from(n).ok().and_then(|n| b'A'.checked_add(n)).filter(u8::is_ascii_uppercase);
    letter.map_or_else(|| (n + 1).to_string(), |letter| char::from(letter).to_string())
}
