//! The one `opencode serve` of this worker: found, started, watched, restarted, stopped.

mod start;

use super::client::{OpenCodeClient, OpenCodeError};
use super::environment::Environment;
use super::error::{Failure, code};
use super::feed::{FeedEnd, Routes, follow};
use super::{HOW_TO_INSTALL, PINNED_VERSION, find, models};
use crate::process::{Exit, Spawner};
use muster_protocol::model::Model;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for while there is none.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a run waits while there is no program.
const MISSING_PATIENCE: Duration = Duration::from_secs(5);
/// How long what a directory offers is believed.
const CATALOGUE_AGE: Duration = Duration::from_mins(1);
/// How often a lost event stream is connected again before OpenCode is restarted.
const RECONNECTS: u32 = 5;

/// What the supervisor needs.
#[derive(Clone)]
pub struct Setup {
    /// The program, if the user named one.
    pub given: Option<PathBuf>,
    /// The home directory.
    pub home: PathBuf,
    /// What it is started with.
    pub environment: Environment,
    /// Where the running process is noted, so that a later start can end a stale one.
    pub pid_file: PathBuf,
    /// Starts children.
    pub spawner: Spawner,
}

/// How it is with OpenCode.
#[derive(Clone)]
pub enum State {
    /// There is no program.
    Missing,
    /// It is being started, perhaps not for the first time.
    Starting {
        /// Why the last try failed.
        problem: Option<String>,
    },
    /// It runs.
    Ready(Arc<Running>),
    /// It was stopped for good.
    Stopped,
}

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

/// The supervised OpenCode, as others see it.
#[derive(Clone)]
pub struct OpenCode {
    state: watch::Receiver<State>,
}

impl OpenCode {
    /// How it is now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until [`Self::state`] has changed.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The running one, waited for at most this long.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ready(&self, patience: Duration) -> Result<Arc<Running>, Failure> {
        let mut state = self.state.clone();
        let ready = async {
            loop {
                match &*state.borrow_and_update() {
                    State::Ready(running) if !running.lost.is_cancelled() => return Some(Arc::clone(running)),
                    State::Stopped => return None,
                    _ => {}
                }
                state.changed().await.ok()?;
            }
        };
        // A program that is not there may be about to be replaced; more than a moment is not worth waiting for.
        let patience = if matches!(self.state(), State::Missing) { patience.min(MISSING_PATIENCE) } else { patience };
        if let Ok(Some(running)) = tokio::time::timeout(patience, ready).await {
            return Ok(running);
        }
        Err(match self.state() {
            State::Missing => Failure::new(code::OPENCODE_MISSING, format!("this worker has no OpenCode; {HOW_TO_INSTALL}")),
            State::Starting { problem: Some(problem) } => {
                Failure::new(code::OPENCODE_LOST, format!("OpenCode does not start on this worker: {problem}"))
            }
            _ => Failure::new(code::OPENCODE_LOST, "OpenCode did not become ready in time on this worker"),
        })
    }
}

/// Keeps OpenCode running until `stop` is cancelled, then stops it. The future ends when it is gone.
pub fn supervise(setup: Setup, stop: CancellationToken) -> (OpenCode, impl Future<Output = ()> + Send) {
    let there = find::find(setup.given.as_deref(), std::env::var_os("PATH").as_deref(), &setup.home).is_some();
    let (tell, state) = watch::channel(if there { State::Starting { problem: None } } else { State::Missing });
    (OpenCode { state }, run(setup, stop, tell))
}

async fn run(setup: Setup, stop: CancellationToken, tell: watch::Sender<State>) {
    start::end_stale(&setup.pid_file);
    let mut failures: u32 = 0;
    let mut told = false;
    while !stop.is_cancelled() {
        let path = std::env::var_os("PATH");
        let Some(program) = find::find(setup.given.as_deref(), path.as_deref(), &setup.home) else {
            if !told {
                told = true;
                missing(&setup);
            }
            tell.send_if_modified(|state| {
                let news = !matches!(state, State::Missing);
                *state = State::Missing;
                news
            });
            wait(LOOK_AGAIN, &stop).await;
            continue;
        };
        if matches!(*tell.borrow(), State::Missing) {
            tell.send_replace(State::Starting { problem: None });
        }
        told = false;
        let begun = Instant::now();
        let started = tokio::select! {
            started = start::start(&setup, &program) => started,
            () = stop.cancelled() => break,
        };
        let problem = match started {
            Ok(server) => {
                let why = watch_over(server, &stop, &tell).await;
                if begun.elapsed() > Duration::from_mins(1) {
                    failures = 0;
                }
                why
            }
            Err(problem) => problem,
        };
        start::forget(&setup.pid_file);
        if stop.is_cancelled() {
            break;
        }
        failures += 1;
        let pause = backoff(failures);
        tracing::warn!("OpenCode is not running: {problem}; starting it again in {:.1} s", pause.as_secs_f64());
        tell.send_replace(State::Starting { problem: Some(problem) });
        wait(pause, &stop).await;
    }
    tell.send_replace(State::Stopped);
}

fn missing(setup: &Setup) {
    if let Some(given) = &setup.given {
        tracing::warn!("there is no program {}; tasks that need OpenCode are not taken until it is there", given.display());
    } else {
        tracing::warn!("no OpenCode found; tasks that need it are not taken until there is one: {HOW_TO_INSTALL}");
    }
}

/// One second, doubled with every failure up to half a minute, with jitter so that many workers do not act as one.
fn backoff(failures: u32) -> Duration {
    let base = Duration::from_millis(500) * 2_u32.saturating_pow(failures.min(6));
    base.min(Duration::from_secs(30)).mul_f64(0.8 + 0.4 * jitter())
}

/// A number from 0 to 1.
#[must_use]
pub fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

async fn wait(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = stop.cancelled() => {}
    }
}

/// Stays with a started server until it ends or is to end; gives why.
async fn watch_over(mut server: start::Started, stop: &CancellationToken, tell: &watch::Sender<State>) -> String {
    let client = server.client.clone();
    let connected = match client.events().await {
        Ok(events) => events,
        Err(error) => {
            server.stop().await;
            return format!("its event stream cannot be read: {error}");
        }
    };
    warn_of_version(&server.version);
    tracing::info!("OpenCode {} is ready ({})", server.version, server.program.display());
    let running = Arc::new(Running {
        client,
        version: server.version.clone(),
        routes: Routes::default(),
        lost: CancellationToken::new(),
        why_lost: OnceLock::new(),
        restart: CancellationToken::new(),
        catalogues: Mutex::default(),
    });
    tell.send_replace(State::Ready(Arc::clone(&running)));
    let why = tokio::select! {
        exit = server.child.wait() => format!("it ended by itself ({})", exit.map_or(Exit::Unknown, Exit::from)),
        why = feed(&running, connected) => why,
        () = running.restart.cancelled() => running.why_lost.get().cloned().unwrap_or_default(),
        () = stop.cancelled() => "the worker stops".to_owned(),
    };
    let _ = running.why_lost.set(why.clone());
    server.stop().await;
    running.lost.cancel();
    why
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
async fn feed(running: &Running, mut connected: reqwest::Response) -> String {
    loop {
        let end = follow(connected, &running.routes).await;
        tracing::debug!("the event stream of OpenCode ended: {end:?}");
        if end == FeedEnd::Silent && running.client.version().await.is_err() {
            return "it gave no sign of life for 30 s".to_owned();
        }
        match reconnect(&running.client).await {
            Ok(response) => connected = response,
            Err(error) => return format!("its event stream is lost: {error}"),
        }
        // What happened in between is read again by each run.
        running.routes.gap();
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
