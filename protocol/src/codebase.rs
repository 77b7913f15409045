//! Codebases: directories on workers. The *global codebase* is the home directory and exists on every worker.

use crate::ids::{CodebaseId, WorkerId};
use crate::keyword::keywords;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of every worker's global codebase.
pub const GLOBAL_NAME: &str = "global";

keywords! {
    /// Whether tasks can run in a codebase now.
    CodebaseStatus {
        /// Its worker is there.
        Active = "active",
        /// Its worker is away, or no longer has the directory.
        Offline = "offline",
    }
}

/// The state of a git work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GitState {
    /// The branch that is checked out; none on a detached head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit that is checked out, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The address of the remote `origin`, without user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Whether tracked files are changed or untracked ones are there.
    #[serde(default)]
    pub dirty: bool,
}

/// A codebase as a worker registers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterCodebase {
    /// A name for people, unique on its worker by choice of the worker's owner.
    pub name: String,
    /// The absolute path on the worker.
    pub path: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Whether it is the global one; exactly one of a worker's is.
    #[serde(default)]
    pub is_global: bool,
    /// How many writing tasks may run in it at once; 1 if absent. Without meaning for the global one.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Its git state; none if it is no git work tree.
    #[serde(default)]
    pub git: Option<GitState>,
    /// Why the worker cannot use it now, for example a missing directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A codebase as the server shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Codebase {
    /// Its id.
    pub id: CodebaseId,
    /// Its name.
    pub name: String,
    /// Its path on its worker.
    pub path: String,
    /// What it is.
    pub description: String,
    /// The worker that has it.
    pub worker_id: Option<WorkerId>,
    /// The name of that worker.
    #[serde(default)]
    pub worker_name: Option<String>,
    /// Whether tasks can run there now.
    pub status: CodebaseStatus,
    /// Why not, if the worker says so.
    #[serde(default)]
    pub problem: Option<String>,
    /// Whether it is its worker's home directory.
    pub is_global: bool,
    /// How many writing tasks may run in it at once.
    #[serde(default = "one")]
    pub parallel: u32,
    /// Its git state, as last reported.
    pub git: Option<GitState>,
    /// Settings of earlier clients, kept as they came.
    #[serde(default)]
    pub agent_config: Value,
    /// When it was registered first.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

fn one() -> u32 {
    1
}

/// `POST /v1/opencode/codebases`, as earlier clients send it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateCodebase {
    /// A name for people.
    pub name: String,
    /// The absolute path on the worker.
    pub path: String,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// Settings of earlier clients, kept as they came.
    #[serde(default)]
    pub agent_config: Option<Value>,
    /// The worker that has it. Without, a worker that has the path is looked for.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
}
