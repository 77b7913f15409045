//! Workers: registration, and the pull that is heartbeat, lease renewal, claim and control channel in one.

mod earlier;

use crate::codebase::{Codebase, RegisterCodebase};
use crate::ids::{CodebaseId, InstanceId, InteractionId, TaskId, WorkerId};
use crate::interaction::ReplyInteraction;
use crate::keyword::keywords;
use crate::model::Model;
use crate::task::Assignment;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The capability of a worker that has an OpenCode.
pub const OPENCODE: &str = "opencode";

/// `POST /v1/opencode/workers/register`. Idempotent by `worker_id`; sent again whenever something of it changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterWorker {
    /// The worker's own id, kept over restarts.
    pub worker_id: WorkerId,
    /// A name for people.
    pub name: String,
    /// What it can do: `opencode`, ..
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The machine's name.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The models that its OpenCode has.
    #[serde(default, deserialize_with = "earlier::models")]
    pub models: Vec<Model>,
    /// The model that its OpenCode takes if none is asked for.
    #[serde(default)]
    pub default_model: Option<String>,
    /// Its global codebase, if it knows the id already.
    #[serde(default)]
    pub global_codebase_id: Option<CodebaseId>,
    /// [`crate::PROTOCOL_VERSION`]; absent from plain workers, which only poll.
    #[serde(default)]
    pub protocol_version: Option<u32>,
    /// This start of the daemon. A newer one supersedes the older.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// The worker's version.
    #[serde(default)]
    pub version: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: Option<String>,
    /// The processor architecture.
    #[serde(default)]
    pub arch: Option<String>,
    /// Labels by which tasks can ask for it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many tasks it runs at once; 1 if absent.
    #[serde(default)]
    pub slots: Option<u32>,
    /// All its codebases, the global one among them.
    #[serde(default, deserialize_with = "earlier::codebases")]
    pub codebases: Vec<RegisterCodebase>,
    /// The version of its OpenCode.
    #[serde(default)]
    pub opencode_version: Option<String>,
    /// What is wrong with it, for people: shown as its `alarm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The answer to [`RegisterWorker`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// Always true.
    pub success: bool,
    /// The worker as the server shows it.
    pub worker: Worker,
    /// Rises with every new instance; each pull names it.
    pub registration: u64,
    /// How long an attempt stays the worker's without a renewal.
    pub lease_ms: u64,
    /// How long a pull may wait.
    pub wait_ms: u64,
    /// Its codebases with their ids.
    pub codebases: Vec<Codebase>,
}

keywords! {
    /// What the server makes of a worker; computed when it is asked for.
    WorkerStatus {
        /// Heard of within its lease.
        Active = "active",
        /// Finishes what runs and takes nothing new.
        Draining = "draining",
        /// Not heard of for longer than its lease.
        Stale = "stale",
        /// Unregistered, or not heard of for long.
        Offline = "offline",
    }
}

/// A worker as the server shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Its id.
    pub worker_id: WorkerId,
    /// Its name.
    pub name: String,
    /// The machine's name.
    pub hostname: Option<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The models that its OpenCode has.
    pub models: Vec<Model>,
    /// The model that its OpenCode takes if none is asked for.
    #[serde(default)]
    pub default_model: Option<String>,
    /// Its global codebase.
    pub global_codebase_id: Option<CodebaseId>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many tasks it runs at once.
    #[serde(default)]
    pub slots: u32,
    /// How many it runs now.
    #[serde(default)]
    pub running: u32,
    /// What the server makes of it.
    pub status: WorkerStatus,
    /// Why it drains.
    #[serde(default)]
    pub drain_reason: Option<String>,
    /// When it registered first.
    pub registered_at: Timestamp,
    /// When it was heard of last.
    pub last_seen: Timestamp,
    /// Which protocol it speaks; none for a plain worker.
    #[serde(default)]
    pub protocol_version: Option<u32>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: Option<String>,
    /// The processor architecture.
    #[serde(default)]
    pub arch: Option<String>,
    /// The version of its OpenCode.
    #[serde(default)]
    pub opencode_version: Option<String>,
    /// What people should know: two machines with one id, or what the worker says is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
}

impl Worker {
    /// Whether it runs OpenCode. A plain worker always does: in the earlier system capabilities are for people only.
    #[must_use]
    pub fn has_opencode(&self) -> bool {
        self.protocol_version.is_none() || self.capabilities.iter().any(|c| c == OPENCODE)
    }
}

keywords! {
    /// How far a worker is with an attempt.
    AttemptState {
        /// Written to the spool, not begun.
        Assigned = "assigned",
        /// Begun.
        Started = "started",
        /// Ended; the report is on its way.
        Finishing = "finishing",
    }
}

/// An attempt that a worker has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningAttempt {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u64,
    /// How far it is.
    pub state: AttemptState,
    /// The `seq` that its next entry will have.
    #[serde(default)]
    pub next_seq: u64,
    /// Whether the worker knows that it is to be cancelled, and is at it: the cancel need not be told again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// `POST /v1/opencode/workers/{id}/pull`: a long poll.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pull {
    /// This start of the daemon.
    pub instance: InstanceId,
    /// As the registration answered.
    pub registration: u64,
    /// Rises with every pull of the instance; a higher one ends the older empty.
    pub pull_seq: u64,
    /// How long to wait for something to say; the server's own limit holds.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Every attempt that the worker has: this renews their leases.
    #[serde(default)]
    pub running: Vec<RunningAttempt>,
}

/// The answer to [`Pull`], as soon as there is something.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pulled {
    /// How long the attempts stay the worker's from now on.
    pub lease_ms: u64,
    /// New attempts, and those of this instance that it did not name as running.
    #[serde(default)]
    pub assign: Vec<Assignment>,
    /// Attempts to cancel.
    #[serde(default)]
    pub cancel: Vec<AttemptRef>,
    /// Answers to interactions.
    #[serde(default)]
    pub answers: Vec<InteractionAnswer>,
    /// Attempts that are not the worker's any more: stop them, report nothing.
    #[serde(default)]
    pub drop: Vec<AttemptRef>,
}

impl Pulled {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assign.is_empty() && self.cancel.is_empty() && self.answers.is_empty() && self.drop.is_empty()
    }
}

/// An attempt by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptRef {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u64,
}

/// An answer on its way to the run that asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InteractionAnswer {
    /// What is answered.
    pub interaction_id: InteractionId,
    /// The task that asked.
    pub task_id: TaskId,
    /// The attempt that asked.
    pub attempt: u64,
    /// The answer.
    pub reply: ReplyInteraction,
}

/// `POST /v1/opencode/workers/{id}/drain`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drain {
    /// Why, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An answer that only says that it worked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    /// Always true.
    pub success: bool,
    /// What was done, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
