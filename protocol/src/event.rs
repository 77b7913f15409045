//! The event log: facts of the life of tasks, workers, agents, peers and interactions, in a `CloudEvents` 1.0 envelope.

use crate::ids::{EventId, ServerId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the envelope.
pub const SPEC_VERSION: &str = "1.0";

/// One fact. `sequence` is its place in this server's log; (`origin`, `epoch`, `originseq`) is its identity in the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Always [`SPEC_VERSION`].
    pub specversion: String,
    /// Its id.
    pub id: EventId,
    /// `/servers/{server_id}`.
    pub source: String,
    /// `task.completed`, `worker.registered`, ..
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "task.completed"))]
    pub kind: String,
    /// What it is about: `tasks/{id}`, `workers/{id}`, ..
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The fact, by type.
    pub data: Value,
    /// Its place in this server's log, from 1, without gaps.
    pub sequence: u64,
    /// The server where it happened.
    pub origin: ServerId,
    /// The life of that server's database.
    pub epoch: String,
    /// Its place among the shared events of its origin; none if it is not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originseq: Option<u64>,
}

/// The types of events.
pub mod kind {
    /// A server was started.
    pub const SERVER_STARTED: &str = "server.started";
    /// A worker is there, for the first time or with a new instance.
    pub const WORKER_REGISTERED: &str = "worker.registered";
    /// Something that a worker registers changed.
    pub const WORKER_CHANGED: &str = "worker.changed";
    /// A worker left.
    pub const WORKER_UNREGISTERED: &str = "worker.unregistered";
    /// A worker takes nothing new.
    pub const WORKER_DRAINING: &str = "worker.draining";
    /// A worker takes tasks again.
    pub const WORKER_RESUMED: &str = "worker.resumed";
    /// A worker has not been heard of for longer than its lease.
    pub const WORKER_LOST: &str = "worker.lost";
    /// A worker that was lost is back.
    pub const WORKER_BACK: &str = "worker.back";
    /// Two machines run with one worker id.
    pub const WORKER_ALARM: &str = "worker.alarm";
    /// A codebase is there.
    pub const CODEBASE_REGISTERED: &str = "codebase.registered";
    /// A codebase was removed.
    pub const CODEBASE_REMOVED: &str = "codebase.removed";
    /// A task was accepted.
    pub const TASK_SUBMITTED: &str = "task.submitted";
    /// A task that no worker here can take goes to a machine of a peer.
    pub const TASK_FORWARDED: &str = "task.forwarded";
    /// A worker got a task.
    pub const TASK_ASSIGNED: &str = "task.assigned";
    /// A worker began a task.
    pub const TASK_STARTED: &str = "task.started";
    /// A task that was not started, or may run again, waits again.
    pub const TASK_REQUEUED: &str = "task.requeued";
    /// The worker of a started task is not heard of.
    pub const TASK_DISCONNECTED: &str = "task.disconnected";
    /// The worker of a started task is back with it.
    pub const TASK_RECONNECTED: &str = "task.reconnected";
    /// A cancel is on its way to the worker.
    pub const TASK_CANCEL_REQUESTED: &str = "task.cancel_requested";
    /// A task ended well.
    pub const TASK_COMPLETED: &str = "task.completed";
    /// A task ended with an error.
    pub const TASK_FAILED: &str = "task.failed";
    /// A task was canceled.
    pub const TASK_CANCELED: &str = "task.canceled";
    /// The stored output of an attempt is not what its worker sent.
    pub const TASK_OUTPUT_DIFFERS: &str = "task.output_differs";
    /// A running task asks for a permission, or a question.
    pub const INTERACTION_OPENED: &str = "interaction.opened";
    /// Somebody answered it.
    pub const INTERACTION_ANSWERED: &str = "interaction.answered";
    /// It is over: the run has the answer, its deadline passed, or the run ended first.
    pub const INTERACTION_CLOSED: &str = "interaction.closed";
    /// A message reached an agent.
    pub const MESSAGE_RECEIVED: &str = "message.received";
    /// A coordinator began to have work done by several agents.
    pub const COORDINATION_STARTED: &str = "coordination.started";
    /// A coordination has ended: what became of each part.
    pub const COORDINATION_COMPLETE: &str = "coordination.complete";
    /// Somebody told a task or an agent something through the monitor.
    pub const AGENT_INTERVENTION: &str = "agent.intervention";
    /// A webhook of a task did not take what was sent to it, and was given up.
    pub const WEBHOOK_FAILED: &str = "webhook.failed";
    /// An agent of others was added, or added again.
    pub const AGENT_ADDED: &str = "agent.added";
    /// An agent of others was removed.
    pub const AGENT_REMOVED: &str = "agent.removed";
    /// An agent of others is there again.
    pub const AGENT_UP: &str = "agent.up";
    /// An agent of others is not there, or is another one now.
    pub const AGENT_DOWN: &str = "agent.down";
    /// Another server is known, for the first time or again after it was removed.
    pub const PEER_JOINED: &str = "peer.joined";
    /// A peer is followed.
    pub const PEER_UP: &str = "peer.up";
    /// A peer does not answer.
    pub const PEER_DOWN: &str = "peer.down";
    /// A peer was let go.
    pub const PEER_REMOVED: &str = "peer.removed";
    /// Two servers run with one identity.
    pub const PEER_DUPLICATE: &str = "peer.duplicate";
    /// Events of a server that nobody has any more: `from` to `to`.
    pub const LOG_GAP: &str = "log.gap";
    /// A token was made.
    pub const TOKEN_CREATED: &str = "token.created";
    /// A token was revoked.
    pub const TOKEN_REVOKED: &str = "token.revoked";
}
