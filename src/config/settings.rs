//! The options as they are written in `config/server.toml`: one field a key, text where the value has its own syntax.

use serde::Deserialize;

/// The file as a whole. Every key is there, because the embedded file has every key.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) data_dir: String,
    pub(super) listen: Vec<String>,
    pub(super) port: u16,
    pub(super) public_url: String,
    pub(super) insecure: bool,
    pub(super) database: DatabaseSettings,
    pub(super) limits: LimitSettings,
    pub(super) leases: LeaseSettings,
    pub(super) log: LogSettings,
    pub(super) a2a: A2aSettings,
    pub(super) network: NetworkSettings,
    pub(super) coordination: CoordinationSettings,
    pub(super) agents: Vec<AgentSettings>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DatabaseSettings {
    pub(super) url: String,
    pub(super) readers: u32,
    pub(super) queue: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LimitSettings {
    pub(super) max_body: String,
    pub(super) request_timeout: String,
    pub(super) max_requests: u32,
    pub(super) shutdown_grace: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LeaseSettings {
    pub(super) lease: String,
    pub(super) wait: String,
    pub(super) plain_lease: String,
    pub(super) reservation: String,
    pub(super) lost_after: String,
    pub(super) offline_after: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogSettings {
    pub(super) filter: String,
    pub(super) format: String,
    pub(super) http: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "settings that do not depend on each other")]
pub(super) struct A2aSettings {
    pub(super) card: String,
    pub(super) push_notifications: bool,
    pub(super) webhooks_to_private: bool,
    pub(super) conformance_agent: bool,
    pub(super) required_extension: String,
    pub(super) grpc: bool,
    pub(super) agent_check: String,
    pub(super) agent_answer: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct NetworkSettings {
    pub(super) connect: Vec<String>,
    pub(super) key: String,
    pub(super) share: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct CoordinationSettings {
    pub(super) deadline_s: u32,
    pub(super) patience_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct AgentSettings {
    pub(super) name: String,
    #[serde(default)]
    pub(super) specialty: String,
    #[serde(default)]
    pub(super) instructions: String,
    #[serde(default)]
    pub(super) capability: String,
    #[serde(default)]
    pub(super) model: String,
}
