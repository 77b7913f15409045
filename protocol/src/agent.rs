//! The directory of agents: this server's own, its machines, and agents of others.

use crate::keyword::keywords;
use crate::peer::PeerMachine;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

keywords! {
    /// What kind of agent it is.
    AgentKind {
        /// One of this server's own: coordinator, monitor, worker agents.
        Own = "own",
        /// OpenCode on a registered machine.
        Machine = "machine",
        /// An agent of somebody else's that was added.
        External = "external",
        /// An agent of a peer.
        Peer = "peer",
    }
}

keywords! {
    /// Whether an agent is there.
    AgentState {
        /// It is there.
        Up = "up",
        /// It is not; `reason` says why.
        Down = "down",
    }
}

/// Whether an agent is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentHealth {
    /// Whether it is.
    pub state: AgentState,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when, where that is known.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// When it was looked at last.
    #[serde(default)]
    pub checked_at: Option<Timestamp>,
}

/// An agent of the directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentEntry {
    /// The name under which it is reached here.
    pub name: String,
    /// What kind it is.
    pub kind: AgentKind,
    /// What it is, for people.
    pub description: String,
    /// Where it is reached at this server.
    pub url: String,
    /// Its home: the name of this server, or where its card is.
    pub home: String,
    /// Whether it is there.
    pub health: AgentHealth,
    /// Of an external one: how it is spoken to, such as `JSONRPC 1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaks: Option<String>,
    /// Of an external one: its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_url: Option<String>,
    /// Of an external one: whether a credential is kept for it. The credential itself is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_token: Option<bool>,
    /// Of an external one: its card as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub card: Option<Value>,
    /// What it can do: names of skills; of a machine its codebases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// Of a machine: its models, its slots and what else it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<PeerMachine>,
    /// What else is to be known, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `POST /v1/agents`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddAgent {
    /// The agent's address, below which its card is, or the address of the card.
    pub url: String,
    /// The name under which it is to be reached here; made of its card's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A bearer token that it is shown; what is known stays if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether it may be at another scheme, host or port than its card.
    #[serde(default)]
    pub other_host: bool,
}
