//! Who can take part in a coordination.

use crate::agents::Agent;
use crate::agents::told::WORKER;
use crate::app::App;
use crate::error::ApiError;
use crate::store::peer_agents::StoredPeerAgent;
use std::collections::{BTreeMap, BTreeSet};

/// An agent that can take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Participant {
    /// Its name here.
    pub(super) name: String,
    /// The name of the server where it is at home.
    pub(super) server: String,
}

/// The agents of the directory by each of their names, without this coordinator.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Participant>);

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<&Participant> {
        self.0.get(name)
    }

    /// The names under which they are reached.
    pub(super) fn all(&self) -> BTreeSet<&str> {
        self.0.values().map(|one| one.name.as_str()).collect()
    }

    /// Whoever has a name first keeps it.
    fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, one: &Participant) {
        for name in names {
            self.0.entry(name.to_owned()).or_insert_with(|| one.clone());
        }
    }
}

impl App {
    /// The agents that work on a coordination which names none: the worker agents of this server, and of all peers that are reached.
    pub(super) async fn participants(&self) -> Result<Vec<Participant>, ApiError> {
        let own = self.own().into_iter().filter(|agent| matches!(agent, Agent::Specialist(_)));
        let own = own.map(|agent| self.own_participant(self.agent_name(&agent)));
        let reached = self.network.connected().into_iter().filter(|link| link.is_reached()).map(|link| link.id).collect::<BTreeSet<_>>();
        let agents = if reached.is_empty() { Vec::new() } else { self.store.peer_agents().await? };
        let works = |agent: &StoredPeerAgent| agent.told.role == WORKER && agent.told.up && reached.contains(&agent.home);
        Ok(own.chain(agents.iter().filter(|agent| works(agent)).map(|agent| self.participant_of_peer(agent))).collect())
    }

    /// Every agent that can be named.
    pub(super) async fn names(&self) -> Result<Names, ApiError> {
        let mut names = Names::default();
        for agent in self.own().into_iter().filter(|agent| *agent != Agent::Coordinator) {
            let both = self.names_of(&agent);
            names.add(both.iter().map(String::as_str), &self.own_participant(self.agent_name(&agent)));
        }
        for agent in self.store.external_agents().await? {
            names.add([agent.name.as_str()], &Participant { name: agent.name.clone(), server: agent.url.to_string() });
        }
        for agent in self.store.peer_agents().await? {
            names.add([agent.name.as_str()], &self.participant_of_peer(&agent));
        }
        let machines = self.machines().await?;
        for machine in &machines {
            names.add([machine.name.as_str()], &self.own_participant(machine.name.clone()));
        }
        for machine in &machines {
            let others = [machine.worker.name.as_str(), machine.worker.worker_id.as_str()];
            names.add(others, &self.own_participant(machine.name.clone()));
        }
        Ok(names)
    }

    fn participant_of_peer(&self, agent: &StoredPeerAgent) -> Participant {
        let server = self.network.link(agent.home).map_or_else(|| agent.home.to_string(), |link| link.name());
        Participant { name: agent.name.clone(), server }
    }

    fn own_participant(&self, name: String) -> Participant {
        Participant { name, server: self.store.identity().name.clone() }
    }
}
