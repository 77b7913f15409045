//! The directory: every agent with its address here and whether it is there.

use super::directory::{Agent, Machine};
use crate::app::App;
use crate::error::ApiError;
use crate::presence::is_there;
use crate::store::external::ExternalAgent;
use muster_protocol::agent::{AgentEntry, AgentHealth, AgentKind, AgentState};
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
        entries.extend(self.machines().await?.iter().map(|machine| self.machine_entry(machine, at)));
        entries.extend(self.store.external_agents().await?.into_iter().map(|agent| external_entry(agent, at, false)));
        Ok(entries)
    }

    /// One agent, with its card if it is one of others.
    ///
    /// # Errors
    /// 404.
    pub async fn directory_entry(&self, name: &str, at: &AgentAddress) -> Result<AgentEntry, ApiError> {
        let gone = || ApiError::not_found("agent", name);
        match self.agent_named(name).await? {
            Agent::External(name) => self.store.external_agent(&name).await?.map(|agent| external_entry(agent, at, true)).ok_or_else(gone),
            Agent::Machine(id, _) => {
                let machines = self.machines().await?;
                let machine = machines.iter().find(|machine| machine.worker.worker_id == id);
                machine.map(|machine| self.machine_entry(machine, at)).ok_or_else(gone)
            }
            own => Ok(self.own_entry(&own, at)),
        }
    }

    fn own_entry(&self, agent: &Agent, at: &AgentAddress) -> AgentEntry {
        let description = match agent {
            Agent::Monitor => "Answers from the event log: workers, tasks, events".to_owned(),
            Agent::Coordinator => "Splits work among agents, which do their parts side by side, and says who did what".to_owned(),
            Agent::Specialist(n) => self.config.agents.get(*n).map(|agent| agent.specialty.clone()).unwrap_or_default(),
            _ => "An agent of this server".to_owned(),
        };
        let health = AgentHealth { state: AgentState::Up, reason: None, since: None, checked_at: None };
        self.entry(self.agent_name(agent), AgentKind::Own, description, health, at)
    }

    fn machine_entry(&self, machine: &Machine, at: &AgentAddress) -> AgentEntry {
        let worker = &machine.worker;
        let (state, reason) =
            if is_there(worker) { (AgentState::Up, None) } else { (AgentState::Down, Some(format!("the worker is {}", worker.status))) };
        let health = AgentHealth { state, reason, since: None, checked_at: Some(worker.last_seen) };
        let description = format!("OpenCode on {}", worker.hostname.as_deref().unwrap_or("a machine"));
        self.entry(machine.name.clone(), AgentKind::Machine, description, health, at)
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
        note: lacks.then(|| "its card says that it wants a credential, and it was added without a token".to_owned()),
    }
}
