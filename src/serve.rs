//! `muster serve`: the one place that knows everyone. Configuration, logging, data directory, store, listeners; and the way back.

mod banner;
mod data_dir;
mod listener;

pub use data_dir::DataDirError;
pub use listener::ListenError;

use crate::app::App;
use crate::background;
use crate::clock::{Clock, Ids, SystemClock, SystemIds};
use crate::config::{Config, ConfigError, ServeArgs, Surroundings};
use crate::lifecycle::Lifecycle;
use crate::network;
use crate::router::router;
use crate::store::events::RecordEvent;
use crate::store::tx::NewEvent;
use crate::store::{OpenError, OpenOptions, Store, StoreError};
use crate::telemetry::{self, TelemetryError};
use data_dir::DataDir;
use listener::Listener;
use muster_protocol::event::kind;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often old measurements are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why a server does not start, or ends with an error. Each is one line that says what to do (a configuration has a line a problem).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Options are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logs or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database does not work.
    #[error("the database cannot be used: {0}")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others could reach the server, and it could not tell them apart.
    #[error(
        "{address} can be reached from other machines, and there is no token yet: start the server on loopback first, run `muster token create \
         --scope admin` there, and start it again with this address (or say --insecure: then whoever reaches the port can run commands on \
         every worker)"
    )]
    NoToken {
        /// The first such address.
        address: SocketAddr,
    },
    /// It ran and broke.
    #[error("{0}")]
    Failed(String),
}

/// Runs a server until it is told to stop.
///
/// # Errors
/// [`ServeError`].
pub async fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let config = Config::load(args, &Surroundings::of_process())?;
    telemetry::init_log(&config.log)?;
    let life = Lifecycle::new();
    life.catch_signals().map_err(ServeError::Signals)?;
    let server = start(config, Arc::new(SystemClock), Arc::new(SystemIds::default()), life).await?;
    banner::print(server.app(), server.addresses()).await;
    server.finished().await
}

/// A server that runs.
pub struct Server {
    app: App,
    addresses: Vec<SocketAddr>,
    data_dir: DataDir,
}

/// Starts a server: when this answers, it accepts requests.
///
/// # Errors
/// [`ServeError`]; nothing is left running then.
pub async fn start(config: Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, life: Lifecycle) -> Result<Server, ServeError> {
    telemetry::metrics()?;
    let data_dir = DataDir::take(&config)?;
    // Before the store is opened: the cheapest mistake is told first.
    let listeners = listener::bind(&config.listen).await?;
    let store = Store::open(OpenOptions {
        url: config.database.url(),
        name: config.name.clone(),
        shared: config.network.shared.clone(),
        readers: config.database.readers,
        queue: config.database.queue,
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
    })
    .await?;
    let app = App::new(config, store, clock, ids, life);
    if let Err(error) = begin(&app).await {
        app.store.close().await;
        return Err(error);
    }
    if let Err(error) = background::start(&app).await {
        app.store.close().await;
        return Err(error.into());
    }
    let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
    let router = router(app.clone());
    for listener in listeners {
        app.life.spawn("listener", listener.serve(app.life.clone(), router.clone()));
    }
    // After the listeners: peers call back.
    if let Err(error) = network::start(&app, &addresses).await {
        app.life.stop();
        app.store.close().await;
        return Err(error.into());
    }
    app.life.spawn("database watch", watch_store(app.clone()));
    app.life.spawn("metrics upkeep", keep_metrics(app.life.clone()));
    Ok(Server { app, addresses, data_dir })
}

/// The last checks, and the first event.
async fn begin(app: &App) -> Result<(), ServeError> {
    let now = app.clock.now();
    let tokens = app.store.count_usable_tokens(now).await?;
    if app.config.insecure {
        tracing::warn!("--insecure: whoever reaches this server can run commands on every worker");
    } else if let (0, Some(address)) = (tokens, app.config.listen.beyond_loopback().next()) {
        return Err(ServeError::NoToken { address });
    } else if tokens == 0 && app.config.public_url.is_some() {
        tracing::warn!(
            "`public_url` is set and there is no token: every request will be refused until one is made (start without it for that)"
        );
    }
    let identity = app.store.identity();
    let data = json!({"name": identity.name, "version": env!("CARGO_PKG_VERSION"), "database": app.store.dialect().as_str()});
    let event = NewEvent { kind: kind::SERVER_STARTED, subject: format!("servers/{}", identity.server_id), at: now, data };
    app.store.write(RecordEvent(event)).await?;
    Ok(())
}

impl Server {
    /// What handlers use.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where it listens; with port 0, the ports that were taken.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until the server is told to stop and has stopped: requests first, then the tasks, then the store.
    ///
    /// # Errors
    /// If it stopped because something broke.
    pub async fn finished(self) -> Result<(), ServeError> {
        let outcome = self.app.life.finished(self.app.config.limits.shutdown_grace).await;
        self.app.store.close().await;
        drop(self.data_dir);
        outcome.map_err(ServeError::Failed)
    }
}

/// A store that cannot go on ends the process: a restart recovers.
async fn watch_store(app: App) {
    tokio::select! {
        reason = app.store.failed() => app.life.fail(format!("the database failed: {reason}")),
        () = app.life.stopping() => {}
    }
}

async fn keep_metrics(life: Lifecycle) {
    let Ok(handle) = telemetry::metrics() else { return };
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tokio::select! {
            _ = ticks.tick() => handle.run_upkeep(),
            () = life.stopping() => return,
        }
    }
}

#[cfg(test)]
mod tests;
