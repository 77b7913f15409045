//! What the parts of the daemon share.

use super::room::Room;
use crate::config::{CodebaseSetting, Config};
use crate::contact::Contact;
use crate::inventory::added::Added;
use crate::opencode::server::OpenCode;
use crate::spool::Spool;
use crate::task::attempt::Table;
use muster_protocol::client::Client;
use muster_protocol::ids::{InstanceId, WorkerId};
use muster_protocol::worker::Registered;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Notify, RwLock, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The lease until the server has said one.
const LEASE: Duration = Duration::from_secs(45);

/// Why the daemon has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fatal {
    /// A newer start of this worker has registered; what the server said.
    Superseded(String),
}

/// What the parts of the daemon share.
pub struct Shared {
    /// The options.
    pub config: Config,
    /// This worker.
    pub worker_id: WorkerId,
    /// This start of it.
    pub instance: InstanceId,
    /// The way to the server.
    pub server: Client,
    /// Whether the server is reached.
    pub contact: Contact,
    /// The OpenCode of this machine.
    pub opencode: OpenCode,
    /// What is written down.
    pub spool: Spool,
    /// Whether there is room for more.
    pub room: Room,
    /// Codebases that were added at the server's request.
    pub added: Added,
    /// All attempts.
    pub table: Table,
    /// Everything that is spawned.
    pub tracker: TaskTracker,
    /// Cancelled when everything ends at once.
    pub exit: CancellationToken,
    /// The newest registration.
    pub registered: watch::Sender<Option<Arc<Registered>>>,
    /// Woken when the server asks for a registration.
    pub register_again: Notify,
    /// Woken when codebases should be looked at at once.
    pub look_again: Notify,
    /// Whether nothing new is taken.
    pub draining: AtomicBool,
    /// Held by every run, so that OpenCode is made to read its configuration again only between them.
    pub working: RwLock<()>,
    codebases: watch::Sender<Vec<CodebaseSetting>>,
    lease_ms: watch::Sender<u64>,
    fatal: watch::Sender<Option<Fatal>>,
}

impl Shared {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: Config,
        worker_id: WorkerId,
        instance: InstanceId,
        server: Client,
        opencode: OpenCode,
        spool: Spool,
        added: Added,
    ) -> Arc<Self> {
        let codebases = watch::Sender::new(config.codebases.clone());
        Arc::new(Self {
            config,
            working: RwLock::new(()),
            codebases,
            worker_id,
            instance,
            server,
            contact: Contact::default(),
            opencode,
            spool,
            room: Room::default(),
            added,
            table: Table::default(),
            tracker: TaskTracker::new(),
            exit: CancellationToken::new(),
            registered: watch::Sender::new(None),
            register_again: Notify::new(),
            look_again: Notify::new(),
            draining: AtomicBool::new(false),
            lease_ms: watch::Sender::new(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)),
            fatal: watch::Sender::new(None),
        })
    }

    /// The configured codebases as they are now: the configuration file may have changed since the start.
    #[must_use]
    pub fn codebases(&self) -> Vec<CodebaseSetting> {
        self.codebases.borrow().clone()
    }

    /// Replaces the configured codebases; gives whether they are others than before.
    pub fn set_codebases(&self, codebases: Vec<CodebaseSetting>) -> bool {
        self.codebases.send_if_modified(|known| {
            let other = *known != codebases;
            *known = codebases;
            other
        })
    }

    /// How long an attempt is this worker's without a renewal.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(*self.lease_ms.borrow())
    }

    /// Notes the lease that the server has said.
    pub fn set_lease(&self, lease_ms: u64) {
        if lease_ms > 0 {
            self.lease_ms.send_replace(lease_ms);
        }
    }

    /// The daemon has to end.
    pub fn end(&self, why: Fatal) {
        self.fatal.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(why);
            first
        });
    }

    /// Waits until the daemon has to end.
    pub async fn ending(&self) -> Fatal {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await.map(|fatal| fatal.clone()) {
            Ok(Some(why)) => why,
            // The sender lives in `self`.
            _ => std::future::pending().await,
        }
    }
}
