//! `GET /v1/opencode/status`.

use crate::ids::ServerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The server at a glance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerStatus {
    /// Whether an active worker with OpenCode is there.
    pub available: bool,
    /// The same in a sentence.
    pub message: String,
    /// The server's name.
    pub name: String,
    /// The server's id.
    pub server_id: ServerId,
    /// The server's version.
    pub version: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// Workers by status.
    pub workers: BTreeMap<String, u64>,
    /// Codebases of workers that are there.
    pub codebases: u64,
    /// Models of workers that are there.
    pub models: u64,
    /// Tasks by status.
    pub tasks: BTreeMap<String, u64>,
    /// Other servers by state.
    #[serde(default)]
    pub peers: BTreeMap<String, u64>,
    /// The newest place in the event log.
    pub events: u64,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// As `codebases`; the name that earlier clients read.
    #[serde(default)]
    pub registered_codebases: u64,
    /// None: OpenCode runs on the workers. Earlier clients read it.
    #[serde(default)]
    pub opencode_binary: Option<String>,
    /// False, for the same reason.
    #[serde(default)]
    pub auto_start: bool,
}
