//! What a handler may use.

use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::store::Store;
use std::sync::Arc;

/// What a handler may use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    life: Lifecycle,
}

impl App {
    /// Puts it together.
    #[must_use]
    pub fn new(config: Config, store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, life: Lifecycle) -> Self {
        Self { inner: Arc::new(Inner { config, store, clock, ids, life }) }
    }

    /// What the server runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What is kept.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What tells the time.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// What makes ids and secrets.
    #[must_use]
    pub fn ids(&self) -> &dyn Ids {
        &*self.inner.ids
    }

    /// The life of the process.
    #[must_use]
    pub fn life(&self) -> &Lifecycle {
        &self.inner.life
    }
}
