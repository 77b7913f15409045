//! Servers that know each other: who joins, what one tells the other, and what people see of it.
//!
//! One server says hello to another, which calls it back at the address that it gave. From then on each follows the other's feed: lines of JSON
//! that tell what there is and what happens.

use crate::agent::AgentKind;
use crate::event::Event;
use crate::ids::ServerId;
use crate::keyword::keywords;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of what servers say to each other.
pub const VERSION: u32 = 1;

keywords! {
    /// What a server is to this one.
    PeerState {
        /// It is followed.
        Up = "up",
        /// It was, or is to be, and does not answer.
        Down = "down",
        /// It is heard of, but cannot be reached from here: it follows this server, and sends what it has.
        OutboundOnly = "outbound-only",
        /// It was never reached yet.
        Connecting = "connecting",
        /// One of the two does not want the other.
        Refused = "refused",
    }
}

/// `POST /v1/network/hello`: one server to another. Also the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hello {
    /// [`VERSION`].
    pub protocol: u32,
    /// Who it is.
    pub server_id: ServerId,
    /// What it is called.
    pub name: String,
    /// This start of it.
    pub epoch: String,
    /// Where it says that it is reached.
    pub url: String,
    /// The version of Muster.
    pub version: String,
    /// Something new each time, in hexadecimal digits: the other side proves with it that it knows the network's key. In an answer it is the asker's.
    pub challenge: String,
    /// Proves that the sender knows it: an HMAC in hexadecimal digits.
    pub proof: String,
}

/// The answer to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Welcome {
    /// Who answers.
    #[serde(flatten)]
    pub hello: Hello,
    /// Whether the asker was found at the address that it gave.
    pub reached: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What of the asker's log it has: where the asker goes on if it must send it.
    pub place: Place,
}

/// A place in a server's log: where it was during one of its starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Place {
    /// The start during which it was told; empty for none.
    pub epoch: String,
    /// The `sequence`; 0 for the beginning.
    pub sequence: u64,
}

/// `POST /v1/network/callback`: asks a server whether it is the one that said hello with this challenge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Callback {
    /// The challenge of the hello.
    pub challenge: String,
}

/// The answer to a call back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalledBack {
    /// Who answers.
    pub server_id: ServerId,
    /// This start of it.
    pub epoch: String,
    /// Whether it said hello with this challenge just now.
    pub is_mine: bool,
}

/// A line of a feed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line: from which place of the log it goes on.
    Begin {
        /// Where it goes on. Not where it was asked for, if the log is not what the asker remembers.
        place: Place,
        /// Why it is another place than the one that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// What there is at the server.
    State(Box<ServerState>),
    /// What happened; `sequence` is the place in the log of the server that tells it.
    Event(Box<Event>),
    /// All that has happened up to there was told, or is not to be.
    Told(Place),
    /// Whether the server hears of the one that it tells this. Who is not heard says hello again.
    Heard(bool),
}

/// What a server tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerState {
    /// What it is called.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// The version of Muster.
    pub version: String,
    /// Its agents.
    pub agents: Vec<PeerAgent>,
    /// The servers that it knows, other than the one that it tells this.
    #[serde(default)]
    pub peers: Vec<KnownPeer>,
    /// What is wrong, in its eyes, with the one that it tells this.
    #[serde(default)]
    pub complaints: Vec<Complaint>,
}

/// A server that another one knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Who.
    pub server_id: ServerId,
    /// What it is called.
    pub name: String,
    /// Where it is reached.
    pub url: String,
}

/// What is wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Whom it is about.
    pub server_id: ServerId,
    /// What, in a sentence.
    pub message: String,
}

/// An agent of another server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerAgent {
    /// The name under which it is reached there.
    pub name: String,
    /// What kind it is.
    pub kind: AgentKind,
    /// What it is among its server's own: `coordinator`, `worker`, `monitor`; empty for others.
    #[serde(default)]
    pub role: String,
    /// What it is, for people.
    pub description: String,
    /// What it can do: names of skills. Of a machine, its codebases.
    #[serde(default)]
    pub skills: Vec<String>,
    /// Whether it is there.
    pub up: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a machine: what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<PeerMachine>,
}

/// What a machine of another server has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeerMachine {
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The ids of its models.
    pub models: Vec<String>,
    /// The model that it takes by default.
    #[serde(default)]
    pub default_model: Option<String>,
    /// The names of its codebases.
    pub codebases: Vec<String>,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many more it would take now.
    pub free: u32,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Who; none for an address that was never reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<ServerId>,
    /// What it is called; its address until that is known.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// What it is to this server.
    pub state: PeerState,
    /// Why it is not `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it did that it must not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Since when the state is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was heard of last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// The version of Muster that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How far its log was read.
    pub place: Place,
    /// How many agents it has, and how many tasks its machines would take now.
    pub agents: u32,
    /// How many tasks its machines would take now.
    pub free_slots: u32,
}

/// `POST /v1/peers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddPeer {
    /// The address of a server.
    pub url: String,
}

/// `POST /v1/network/push`: what a server sends to one that cannot reach it, as lines of a feed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pushed {
    /// Each a [`Line`].
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub lines: Vec<Value>,
}

/// The answer to a push.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PushTaken {
    /// What of the sender's log is kept now.
    pub place: Place,
    /// Whether the sender is reached by now, so that it need not send any more.
    #[serde(default)]
    pub followed: bool,
}
