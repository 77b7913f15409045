//! The directory: every agent with its address here and whether it is there.

use super::directory::{Agent, Machine};
use super::told::machine_told;
use crate::app::App;
use crate::error::ApiError;
use crate::store::codebases::CodebaseFilter;
use crate::store::external::ExternalAgent;
use crate::store::peer_agents::StoredPeerAgent;
use muster_protocol::agent::{AgentEntry, AgentHealth, AgentKind, AgentState};
use muster_protocol::codebase::Codebase;
use serde_json::Value;

/// The server's address as a caller sees it, without a slash at its end.
#[derive(Debug, Clone)]
pub struct AgentAddress(pub String);

impl App {
    /// Every agent: this server's own, its machines, and those of others without their cards.
    ///
    /// # Errors
    /// Of the store.
    pub async fn directory(&self, at: &AgentAddress) -> Result<Vec<AgentEntry>, ApiError> {
        let mut entries: Vec<_> = self.own().iter().map(|agent| self.own_entry(agent, at)).collect();
        let codebases = self.store.codebases(&CodebaseFilter::default()).await?;
        entries.extend(self.machines().await?.iter().map(|machine| self.machine_entry(machine, &codebases, at)));
        entries.extend(self.store.external_agents().await?.into_iter().map(|agent| external_entry(agent, at, false)));
        entries.extend(self.store.peer_agents().await?.into_iter().map(|agent| self.peer_entry(agent, at)));
        Ok(entries)
    }

    /// One agent, with its card if it is one of others.
    ///
    /// # Errors
    /// 404.
    pub async fn directory_entry(&self, name: &str, at: &AgentAddress) -> Result<AgentEntry, ApiError> {
        let gone = || ApiError::not_found("agent", name);
        match self.agent_named(name).await? {
            Agent::External(name) if self.is_of_peer(&name).await? => {
                let agents = self.store.peer_agents().await?;
                agents.into_iter().find(|agent| agent.name == name).map(|agent| self.peer_entry(agent, at)).ok_or_else(gone)
            }
            Agent::External(name) => self.store.external_agent(&name).await?.map(|agent| external_entry(agent, at, true)).ok_or_else(gone),
            Agent::Machine(id, _) => {
                let machines = self.machines().await?;
                let machine = machines.iter().find(|machine| machine.worker.worker_id == id);
                let filter = CodebaseFilter { worker: Some(id), ..CodebaseFilter::default() };
                let codebases = self.store.codebases(&filter).await?;
                machine.map(|machine| self.machine_entry(machine, &codebases, at)).ok_or_else(gone)
            }
            own => Ok(self.own_entry(&own, at)),
        }
    }

    /// What an agent of this server is, for people.
    pub(super) fn describe_own(&self, agent: &Agent) -> String {
        match agent {
            Agent::Monitor => "Answers from the event log: workers, tasks, events".to_owned(),
            Agent::Coordinator => "Splits work among agents, which do their parts side by side, and says who did what".to_owned(),
            Agent::Specialist(n) => self.config.agents.get(*n).map(|agent| agent.specialty.clone()).unwrap_or_default(),
            _ => "An agent of this server".to_owned(),
        }
    }

    fn own_entry(&self, agent: &Agent, at: &AgentAddress) -> AgentEntry {
        let health = AgentHealth { state: AgentState::Up, reason: None, since: None, checked_at: None };
        self.entry(self.agent_name(agent), AgentKind::Own, self.describe_own(agent), health, at)
    }

    fn machine_entry(&self, machine: &Machine, codebases: &[Codebase], at: &AgentAddress) -> AgentEntry {
        let told = machine_told(machine, codebases);
        let state = if told.up { AgentState::Up } else { AgentState::Down };
        let health = AgentHealth { state, reason: told.reason, since: None, checked_at: Some(machine.worker.last_seen) };
        let entry = self.entry(machine.name.clone(), AgentKind::Machine, told.description, health, at);
        AgentEntry { skills: told.skills, machine: told.machine, ..entry }
    }

    /// Whether an agent of others is a peer's.
    pub(super) async fn is_of_peer(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.store.external_agent(name).await?.is_some_and(|agent| agent.home.is_some()))
    }

    /// An agent of a peer: there if its server is, and says so.
    fn peer_entry(&self, agent: StoredPeerAgent, at: &AgentAddress) -> AgentEntry {
        let link = self.network.link(agent.home);
        let (home, url) = link.as_ref().map_or_else(|| (agent.home.to_string(), String::new()), |link| (link.name(), link.url()));
        let away = match &link {
            Some(link) if link.is_reached() => None,
            Some(link) => Some(format!("{home} is {}{}", link.state(), link.reason().map(|why| format!(": {why}")).unwrap_or_default())),
            None => Some(format!("{home} is not known any more")),
        };
        let told = agent.told;
        let reason = away.or(told.reason.filter(|_| !told.up));
        let state = if reason.is_none() && told.up { AgentState::Up } else { AgentState::Down };
        let seen = link.map(|link| link.shown());
        let (since, checked_at) = seen.map(|peer| (peer.since, peer.last_seen)).unwrap_or_default();
        AgentEntry {
            home,
            remote_url: Some(format!("{url}/agents/{}", told.name)),
            skills: told.skills,
            machine: told.machine,
            ..self.entry(agent.name, AgentKind::Peer, told.description, AgentHealth { state, reason, since, checked_at }, at)
        }
    }

    fn entry(&self, name: String, kind: AgentKind, description: String, health: AgentHealth, at: &AgentAddress) -> AgentEntry {
        AgentEntry {
            url: format!("{}/agents/{name}", at.0),
            home: self.store.identity().name.clone(),
            name,
            kind,
            description,
            health,
            speaks: None,
            remote_url: None,
            has_token: None,
            card: None,
            skills: Vec::new(),
            machine: None,
            note: None,
        }
    }
}

fn external_entry(agent: ExternalAgent, at: &AgentAddress, with_card: bool) -> AgentEntry {
    let ExternalAgent { name, url, card, raw, token, health, .. } = agent;
    let state = if health.up { AgentState::Up } else { AgentState::Down };
    let health = AgentHealth { state, reason: health.reason, since: Some(health.since), checked_at: Some(health.checked_at) };
    let lacks = card.wants_credential && token.is_none();
    AgentEntry {
        url: format!("{}/agents/{name}", at.0),
        name,
        kind: AgentKind::External,
        description: card.description,
        home: url.to_string(),
        health,
        speaks: serde_json::to_value(card.dialect).ok().as_ref().and_then(Value::as_str).map(str::to_owned),
        remote_url: Some(card.url.to_string()),
        has_token: Some(token.is_some()),
        card: with_card.then_some(raw),
        skills: card.skills.into_iter().map(|skill| skill.name).collect(),
        machine: None,
        note: lacks.then(|| "its card says that it wants a credential, and it was added without a token".to_owned()),
    }
}
