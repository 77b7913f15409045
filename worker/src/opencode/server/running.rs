//! An `opencode serve` that runs, as long as it does.

use super::start::{Noted, Started};
use super::{CATALOGUE_AGE, RECONNECTS};
use crate::opencode::client::{OpenCodeClient, OpenCodeError};
use crate::opencode::error::{Failure, code};
use crate::opencode::feed::{FeedEnd, Routes, follow};
use crate::opencode::{PINNED_VERSION, models};
use crate::process::Exit;
use muster_protocol::model::Model;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What became of a wish to have another one started in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// There is another one, which has read everything anew.
    Done,
    /// The other one does not start; this one goes on.
    Failed(String),
    /// So many still have runs that there may be no more.
    TooMany,
}

/// Where a wish is answered.
pub(super) type Wish = oneshot::Sender<Replaced>;

/// A run's hold on an OpenCode: one that was replaced ends when nobody holds it any more.
#[derive(Debug)]
pub struct InUse(#[expect(dead_code, reason = "it counts as long as it is there")] TaskTrackerToken);

/// An `opencode serve` that runs.
pub struct Running {
    /// Its API.
    pub client: OpenCodeClient,
    /// Its version.
    pub version: String,
    /// Who gets its events.
    pub routes: Routes,
    /// Cancelled when it has ended or is given up.
    pub lost: CancellationToken,
    why_lost: OnceLock<String>,
    restart: CancellationToken,
    replace: mpsc::Sender<Wish>,
    replaced: CancellationToken,
    users: TaskTracker,
    catalogues: Mutex<HashMap<String, (Instant, Arc<Catalogue>)>>,
}

/// What OpenCode offers in a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// The models.
    pub models: Vec<Model>,
    /// The model taken if none is asked for.
    pub default_model: Option<String>,
    /// The modes.
    pub modes: Vec<String>,
}

impl Running {
    /// Why it is lost, in a sentence.
    #[must_use]
    pub fn loss(&self) -> Failure {
        let why = self.why_lost.get().map_or("it was stopped", String::as_str);
        Failure::new(code::OPENCODE_LOST, format!("OpenCode ended during the run ({why}); what it had done so far is in its session"))
    }

    /// Gives it up; the supervisor starts another one.
    pub fn restart(&self, why: &str) {
        let _ = self.why_lost.set(why.to_owned());
        self.restart.cancel();
    }

    /// Has another one started in its place, without any fault: it reads some files only at its start. Its runs go on in it, new ones begin in the
    /// other one.
    pub async fn replace(&self) -> Replaced {
        let (tell, told) = oneshot::channel();
        if self.replace.send(tell).await.is_err() {
            // It has ended: whatever comes after it reads everything anew.
            return Replaced::Done;
        }
        told.await.unwrap_or(Replaced::Done)
    }

    /// Holds it for a run; nothing if it was replaced.
    pub(super) fn enter(&self) -> Option<InUse> {
        let using = InUse(self.users.token());
        (!self.replaced.is_cancelled()).then_some(using)
    }

    /// Takes no new runs.
    pub(super) fn retire(&self) {
        self.replaced.cancel();
        self.users.close();
    }

    /// Waits until it was replaced and its last run is over.
    async fn left(&self) {
        self.replaced.cancelled().await;
        self.users.wait().await;
    }

    /// Why it ended, for the log.
    pub(super) fn end(&self) -> String {
        self.why_lost.get().cloned().unwrap_or_default()
    }

    /// Forgets what it offers: it is read again when it is wanted.
    pub async fn forget_catalogues(&self) {
        self.catalogues.lock().await.clear();
    }

    /// What it offers in a directory, as read at most a minute ago; with `fresh`, as read now.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn catalogue(&self, directory: &str, fresh: bool) -> Result<Arc<Catalogue>, OpenCodeError> {
        if !fresh && let Some(known) = self.known(directory).await {
            return Ok(known);
        }
        let (providers, agents) = tokio::try_join!(self.client.providers(directory), self.client.agents(directory))?;
        let configured = self.client.configured_model(directory).await?;
        let catalogue = Arc::new(Catalogue {
            models: models::models(&providers),
            default_model: models::default_model(&providers, configured.as_deref()),
            modes: models::modes(&agents),
        });
        self.catalogues.lock().await.insert(directory.to_owned(), (Instant::now(), Arc::clone(&catalogue)));
        Ok(catalogue)
    }

    async fn known(&self, directory: &str) -> Option<Arc<Catalogue>> {
        let mut catalogues = self.catalogues.lock().await;
        catalogues.retain(|_, (read, _)| read.elapsed() < CATALOGUE_AGE);
        catalogues.get(directory).map(|(_, catalogue)| Arc::clone(catalogue))
    }
}

/// Connects to a started server and stays with it in a task of `lives` until it ends or is to end.
pub(super) async fn attend(
    lives: &mut JoinSet<()>,
    mut server: Started,
    noted: Arc<Noted>,
    silence: Duration,
    stop: CancellationToken,
) -> Result<(Arc<Running>, mpsc::Receiver<Wish>), String> {
    let client = server.client.clone();
    let connected = match client.events().await {
        Ok(events) => events,
        Err(error) => {
            server.stop(&noted).await;
            return Err(format!("its event stream cannot be read: {error}"));
        }
    };
    warn_of_version(&server.version);
    tracing::info!("OpenCode {} is ready ({})", server.version, server.program.display());
    let (replace, wishes) = mpsc::channel(1);
    let running = Arc::new(Running {
        client,
        version: server.version.clone(),
        routes: Routes::default(),
        lost: CancellationToken::new(),
        why_lost: OnceLock::new(),
        restart: CancellationToken::new(),
        replace,
        replaced: CancellationToken::new(),
        users: TaskTracker::new(),
        catalogues: Mutex::default(),
    });
    let attended = Arc::clone(&running);
    lives.spawn(async move {
        let why = tokio::select! {
            exit = server.child.wait() => format!("it ended by itself ({})", exit.map_or(Exit::Unknown, Exit::from)),
            why = feed(&attended, connected, silence) => why,
            () = attended.restart.cancelled() => attended.end(),
            () = attended.left() => "another one has taken its place".to_owned(),
            () = stop.cancelled() => "the worker stops".to_owned(),
        };
        let _ = attended.why_lost.set(why);
        server.stop(&noted).await;
        attended.lost.cancel();
    });
    Ok((running, wishes))
}

fn warn_of_version(version: &str) {
    if version != PINNED_VERSION {
        tracing::warn!(
            "this is OpenCode {version}; this worker was made for {PINNED_VERSION} and may misunderstand others. \
             `npm install -g opencode-ai@{PINNED_VERSION}` installs that one"
        );
    }
}

/// Reads the event stream, connecting again when it breaks, until OpenCode does not answer any more.
async fn feed(running: &Running, mut connected: reqwest::Response, silence: Duration) -> String {
    loop {
        let end = follow(connected, &running.routes, silence).await;
        tracing::debug!("the event stream of OpenCode ended: {end:?}");
        if end == FeedEnd::Silent && running.client.version().await.is_err() {
            return format!("it gave no sign of life for {} s", silence.as_secs());
        }
        match reconnect(&running.client).await {
            Ok(response) => connected = response,
            Err(error) => return format!("its event stream is lost: {error}"),
        }
    }
}

async fn reconnect(client: &OpenCodeClient) -> Result<reqwest::Response, OpenCodeError> {
    let mut tries = 0;
    loop {
        match client.events().await {
            Ok(response) => return Ok(response),
            Err(error) if tries == RECONNECTS => return Err(error),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(100 * u64::from(tries))).await;
    }
}
