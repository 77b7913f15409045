//! The monitor's routes, `/v1/monitor/*`, and `GET /agents`: names and types of fields are the earlier system's, so that its dashboards and scripts
//! read them as they are.

use crate::ids::TaskId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An event of the log as a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MonitorMessage {
    /// The event's id.
    pub id: String,
    /// When.
    pub timestamp: Timestamp,
    /// `agent`, `human` or `system`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "agent"))]
    pub kind: String,
    /// Who says it.
    pub agent_name: String,
    /// A sentence.
    pub content: String,
    /// More of it. Texts only: some earlier clients read nothing else.
    pub metadata: BTreeMap<String, String>,
    /// How long a task took, in milliseconds.
    pub response_time: Option<f64>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// An agent as the monitor lists it: a row of `GET /v1/monitor/agents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MonitorAgent {
    /// What `intervene` takes: a worker's id, or the name of an agent of this server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `active`, or what the server makes of a worker.
    pub status: String,
    /// What it is.
    pub description: String,
    /// How many events of the log tell of it.
    pub messages_count: u64,
    /// When it was heard of last.
    pub last_seen: Timestamp,
}

/// An agent whose status changed: the event `agent_status` of `GET /v1/monitor/stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStatus {
    /// As [`MonitorAgent::id`].
    pub agent_id: String,
    /// Its name.
    pub name: String,
    /// As [`MonitorAgent::status`].
    pub status: String,
    /// As [`MonitorAgent::messages_count`].
    pub messages_count: u64,
}

/// `GET /v1/monitor/messages/search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundMessages {
    /// What was looked for.
    pub query: String,
    /// The newest first.
    pub results: Vec<MonitorMessage>,
    /// How many `results` there are.
    pub count: u64,
}

/// `GET /v1/monitor/messages/count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageCount {
    /// How many there are.
    pub total: u64,
    /// Of which type; of all if none.
    pub type_filter: Option<String>,
}

/// `GET /v1/monitor/stats`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MonitorStats {
    /// Events of the log.
    pub total_messages: u64,
    /// Messages of the type `tool`: none, tool calls are in the streams of their tasks.
    pub tool_calls: u64,
    /// Events that tell of an error.
    pub errors: u64,
    /// Tokens of all tasks that have ended.
    pub tokens: u64,
    /// How long the last hundred tasks took on average, in milliseconds.
    pub avg_response_time: f64,
    /// Agents that are there.
    pub active_agents: u64,
    /// Times that somebody intervened.
    pub interventions: u64,
}

/// `POST /v1/monitor/intervene`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Intervene {
    /// A task's id, a worker's id or name, or an agent's name.
    pub agent_id: String,
    /// What it is to be told.
    pub message: String,
    /// When, by the caller's clock; not looked at.
    #[serde(default)]
    pub timestamp: Option<String>,
}

/// The answer to [`Intervene`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Intervened {
    /// Always true.
    pub success: bool,
    /// What was done.
    pub intervention: Intervention,
}

/// What an intervention became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Intervention {
    /// As it was asked.
    pub agent_id: String,
    /// As it was asked.
    pub message: String,
    /// When it was taken.
    pub timestamp: Timestamp,
    /// Whom it reaches.
    pub agent_name: String,
    /// The task that carries the message.
    pub task_id: TaskId,
    /// The task whose conversation it continues; none if it begins a new one.
    pub continues: Option<TaskId>,
}

/// An agent in `GET /agents`: the earlier system's card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EarlierCard {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Where it is reached; with `metadata.agent` its name, where it shares an address with others.
    pub url: String,
    /// Who provides it.
    pub provider: Provider,
    /// What of the protocol it can do.
    pub capabilities: EarlierCapabilities,
    /// How to authenticate.
    pub authentication: Vec<EarlierScheme>,
    /// What it can do.
    pub skills: Vec<EarlierSkill>,
    /// The version of this server.
    pub version: String,
}

/// Who provides an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provider {
    /// A name.
    pub organization: String,
    /// An address.
    pub url: String,
}

/// What an agent can do of the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EarlierCapabilities {
    /// Answers as a stream.
    pub streaming: bool,
    /// Calls back.
    pub push_notifications: bool,
    /// Tells the states that a task went through.
    pub state_transition_history: bool,
}

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EarlierScheme {
    /// `Bearer`.
    pub scheme: String,
    /// In words.
    pub description: String,
}

/// Something that an agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EarlierSkill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// What it reads.
    pub input_modes: Vec<String>,
    /// What it writes.
    pub output_modes: Vec<String>,
}
