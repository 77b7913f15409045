//! What a handler may use.

use crate::agents::{Coordinations, Fitting, Relays};
use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::dispatch::Pulls;
use crate::domain::lease::Leases;
use crate::lifecycle::Lifecycle;
use crate::monitor::Counted;
use crate::network::{Network, NetworkKey};
use crate::presence::Presence;
use crate::store::Store;
use muster_protocol::time::Timestamp;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(test)]
pub(crate) mod testing;

/// The server's parts. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What [`App`] gives access to.
pub struct Parts {
    /// As configured.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Start to end of the process.
    pub life: Lifecycle,
    /// The deadlines of all held attempts.
    pub leases: Mutex<Leases>,
    /// Who was heard of when.
    pub presence: Presence,
    /// The machines that fit the worker agents.
    pub fitting: Fitting,
    /// The tasks that are relayed to agents of others.
    pub relays: Relays,
    /// The other servers.
    pub network: Network,
    /// The coordinations under way.
    pub coordinations: Coordinations,
    /// The pulls that wait.
    pub pulls: Pulls,
    /// What the event log comes to, as far as it was counted.
    pub counted: tokio::sync::Mutex<Counted>,
    /// The cards that were answered, to know since when they are as they are.
    pub cards: Mutex<HashMap<String, (String, Timestamp)>>,
    /// When the server was started, in uptime.
    pub started: Duration,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: Config, store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, life: Lifecycle) -> Self {
        let started = clock.uptime();
        let (leases, presence, pulls, counted) = (Mutex::default(), Presence::default(), Pulls::default(), tokio::sync::Mutex::default());
        let network = Network::new(NetworkKey::new(config.network.key.clone()));
        Self(Arc::new(Parts {
            config,
            store,
            clock,
            ids,
            life,
            leases,
            presence,
            network,
            pulls,
            counted,
            cards: Mutex::default(),
            fitting: Fitting::default(),
            relays: Relays::default(),
            coordinations: Coordinations::default(),
            started,
        }))
    }

    /// The time for records.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
