//! Agents of peers: what a peer told of them last. They are reached as agents of others are.

use super::external::Card;
use super::row::{Columns as _, to_json};
use super::sql::statements;
use super::{Store, StoreError, Tx, Write};
use crate::domain::foreign::{ForeignCard, ForeignSkill};
use crate::domain::health::Health;
use crate::domain::naming::unique_names;
use muster_protocol::client::a2a::Dialect;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::PeerAgent;
use muster_protocol::time::Timestamp;
use std::collections::HashMap;
use url::Url;

/// The word of `agents.kind`.
const PEER: &str = "peer";

/// An agent of a peer.
#[derive(Debug, Clone)]
pub struct StoredPeerAgent {
    /// The name under which it is reached here.
    pub name: String,
    /// Whose it is.
    pub home: ServerId,
    /// What its server told of it.
    pub told: PeerAgent,
}

statements! {
    LIST: "SELECT name, home, card FROM agents WHERE kind = 'peer' ORDER BY home, name";
    OF_HOME: "SELECT name, card FROM agents WHERE kind = 'peer' AND home = $1";
    NAMES: "SELECT name FROM agents";
    PUT: "INSERT INTO agents (name, kind, home, url, card, health, token, etag, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, '', '', $7, $7)
        ON CONFLICT (name) DO UPDATE SET url = excluded.url, card = excluded.card, updated_at = excluded.updated_at";
    DROP: "DELETE FROM agents WHERE name = $1 AND kind = 'peer'";
}

impl Store {
    /// The names of all agents of others and of peers.
    ///
    /// # Errors
    /// Of the database.
    pub async fn agent_names(&self) -> Result<Vec<String>, StoreError> {
        let rows = NAMES.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.text("name")).collect::<sqlx::Result<_>>()?)
    }

    /// The agents of all peers.
    ///
    /// # Errors
    /// Of the database.
    pub async fn peer_agents(&self) -> Result<Vec<StoredPeerAgent>, StoreError> {
        let rows = LIST.on(self.dialect()).fetch_all(self.readers()).await?;
        let read = |row: &sqlx::any::AnyRow| {
            let Card { raw, .. } = row.json("card")?;
            let told = serde_json::from_value(raw).map_err(|e| super::row::wrong("card", e.to_string()))?;
            Ok(StoredPeerAgent { name: row.text("name")?, home: row.parsed("home")?, told })
        };
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }
}

/// Puts the agents that a peer tells of in the place of those that it told of before.
#[derive(Debug, Clone)]
pub struct PutPeerAgents {
    /// The peer.
    pub home: ServerId,
    /// Where it is reached; empty if it cannot be.
    pub url: String,
    /// The version of Muster that it is.
    pub version: String,
    /// What it told.
    pub agents: Vec<PeerAgent>,
    /// The names of this server's own agents and machines.
    pub taken: Vec<String>,
    /// When.
    pub now: Timestamp,
}

impl Write for PutPeerAgents {
    const NAME: &'static str = "put_peer_agents";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let mut known = HashMap::new();
        for row in tx.all(OF_HOME.on(tx.dialect()).bind(self.home.to_string())).await? {
            let Card { believed, .. } = row.json("card")?;
            known.insert(believed.name, (row.text("name")?, row.text("card")?));
        }
        let mut taken = self.taken.clone();
        for row in tx.all(NAMES.on(tx.dialect())).await? {
            taken.push(row.text("name")?);
        }
        for agent in &self.agents {
            let Some(card) = self.card(agent) else { continue };
            let name = match known.remove(&agent.name) {
                // Most often one agent of many has changed.
                Some((_, same)) if same == to_json(&card) => continue,
                Some((name, _)) => name,
                None => unique_names(&taken, [agent.name.as_str()]).pop().unwrap_or_default(),
            };
            taken.push(name.clone());
            let put = PUT.on(tx.dialect()).bind(name).bind(PEER).bind(self.home.to_string()).bind(card.believed.url.to_string());
            tx.execute_aside(put.bind(to_json(&card)).bind(to_json(&Health::up(self.now))).bind(self.now.0)).await?;
        }
        for (name, _) in known.into_values() {
            tx.execute_aside(DROP.on(tx.dialect()).bind(name)).await?;
        }
        Ok(())
    }
}

impl PutPeerAgents {
    /// What is believed of an agent, in the form of those of others.
    fn card(&self, agent: &PeerAgent) -> Option<Card> {
        // Who cannot be reached has no address; what is shown then is never used.
        let base = if self.url.is_empty() { "http://unreachable.invalid" } else { &self.url };
        let url = Url::parse(&format!("{base}/agents/{}", agent.name)).ok()?;
        let skill = |name: &String| ForeignSkill { id: name.clone(), name: name.clone(), description: String::new(), tags: Vec::new() };
        let believed = ForeignCard {
            name: agent.name.clone(),
            description: agent.description.clone(),
            version: self.version.clone(),
            url,
            dialect: Dialect::Rpc,
            tenant: None,
            streaming: true,
            wants_credential: false,
            skills: agent.skills.iter().map(skill).collect(),
        };
        Some(Card { believed, raw: serde_json::to_value(agent).ok()?, other_host: false })
    }
}

/// Forgets the agents of a peer.
#[derive(Debug, Clone)]
pub struct DropPeerAgents {
    /// The peer.
    pub home: ServerId,
}

impl Write for DropPeerAgents {
    const NAME: &'static str = "drop_peer_agents";
    /// Their names.
    type Output = Vec<String>;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Vec<String>> {
        let mut names = Vec::new();
        for row in tx.all(OF_HOME.on(tx.dialect()).bind(self.home.to_string())).await? {
            names.push(row.text("name")?);
        }
        for name in &names {
            tx.execute_aside(DROP.on(tx.dialect()).bind(name.clone())).await?;
        }
        Ok(names)
    }
}
