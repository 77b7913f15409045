//! The one `opencode serve` of this worker: found, started, watched, restarted, stopped.

mod running;
mod start;

use super::environment::Environment;
use super::error::{Failure, code};
use super::{HOW_TO_INSTALL, find};
use crate::process::Spawner;
pub use running::{Catalogue, InUse, Replaced, Running};
use running::{Wish, attend};
use start::Noted;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for while there is none.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a run waits while there is no program.
const MISSING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a run waits for one that has failed to start again and again.
const BROKEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long what a directory offers is believed.
const CATALOGUE_AGE: Duration = Duration::from_mins(1);
/// How often a lost event stream is connected again before OpenCode is restarted.
const RECONNECTS: u32 = 5;
/// How many that were replaced may still have runs: each takes some 400 MB.
const MOST_REPLACED: usize = 2;

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
    /// How long it may give no sign of life.
    pub silence: Duration,
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
        /// Why the last try failed, or the last one that ran has ended.
        problem: Option<String>,
        /// How many starts in a row have failed.
        failed: u32,
    },
    /// It runs.
    Ready(Arc<Running>),
    /// It was stopped for good.
    Stopped,
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
        let patience = match self.state() {
            State::Missing => patience.min(MISSING_PATIENCE),
            State::Starting { failed: 2.., .. } => patience.min(BROKEN_PATIENCE),
            _ => patience,
        };
        if let Ok(Some(running)) = tokio::time::timeout(patience, ready).await {
            return Ok(running);
        }
        Err(match self.state() {
            State::Missing => Failure::new(code::OPENCODE_MISSING, format!("this worker has no OpenCode; {HOW_TO_INSTALL}")),
            State::Starting { problem: Some(problem), .. } => {
                Failure::new(code::OPENCODE_NOT_STARTING, format!("OpenCode does not start on this worker: {problem}"))
            }
            _ => Failure::new(code::OPENCODE_NOT_STARTING, "OpenCode did not become ready in time on this worker"),
        })
    }

    /// The running one as of [`Self::ready`], held for a run.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn enter(&self, patience: Duration) -> Result<(Arc<Running>, InUse), Failure> {
        loop {
            let running = self.ready(patience).await?;
            // One that was replaced in between is not the one that is ready any more.
            if let Some(using) = running.enter() {
                return Ok((running, using));
            }
        }
    }
}

/// Keeps OpenCode running until `stop` is cancelled, then stops it. The future ends when it is gone.
pub fn supervise(setup: Setup, stop: CancellationToken) -> (OpenCode, impl Future<Output = ()> + Send) {
    let there = find::find(setup.given.as_deref(), std::env::var_os("PATH").as_deref(), &setup.home).is_some();
    let (tell, state) = watch::channel(if there { State::Starting { problem: None, failed: 0 } } else { State::Missing });
    (OpenCode { state }, run(setup, stop, tell))
}

async fn run(setup: Setup, stop: CancellationToken, tell: watch::Sender<State>) {
    start::end_stale(&setup.pid_file);
    let noted = Arc::new(Noted::new(setup.pid_file.clone()));
    let mut supervisor = Supervisor { setup, stop, tell, noted, lives: JoinSet::new(), failures: 0, failed: 0 };
    supervisor.keep_running().await;
    while supervisor.lives.join_next().await.is_some() {}
    supervisor.tell.send_replace(State::Stopped);
}

struct Supervisor {
    setup: Setup,
    stop: CancellationToken,
    tell: watch::Sender<State>,
    noted: Arc<Noted>,
    /// Those that run: the one for new runs, and those before it that still have some.
    lives: JoinSet<()>,
    /// Ends and failed starts since it ran well.
    failures: u32,
    /// Failed starts in a row.
    failed: u32,
}

impl Supervisor {
    async fn keep_running(&mut self) {
        let mut told = false;
        while !self.stop.is_cancelled() {
            let path = std::env::var_os("PATH");
            let Some(program) = find::find(self.setup.given.as_deref(), path.as_deref(), &self.setup.home) else {
                if !told {
                    told = true;
                    missing(&self.setup);
                }
                self.tell.send_if_modified(|state| {
                    let news = !matches!(state, State::Missing);
                    *state = State::Missing;
                    news
                });
                wait(LOOK_AGAIN, &self.stop).await;
                continue;
            };
            if matches!(*self.tell.borrow(), State::Missing) {
                self.tell.send_replace(State::Starting { problem: None, failed: 0 });
            }
            told = false;
            let begun = Instant::now();
            let problem = self.run_one(&program).await;
            if self.stop.is_cancelled() {
                return;
            }
            if begun.elapsed() > Duration::from_mins(1) {
                self.failures = 0;
            }
            self.failures += 1;
            let pause = backoff(self.failures);
            tracing::warn!("OpenCode is not running: {problem}; starting it again in {:.1} s", pause.as_secs_f64());
            self.tell.send_replace(State::Starting { problem: Some(problem), failed: self.failed });
            wait(pause, &self.stop).await;
        }
    }

    /// Starts one and stays with it, and with those that take its place, until there is none; gives why.
    async fn run_one(&mut self, program: &Path) -> String {
        let (mut running, mut wishes) = match self.start(program).await {
            Ok(started) => started,
            Err(problem) => {
                self.failed += 1;
                return problem;
            }
        };
        self.failed = 0;
        loop {
            self.tell.send_replace(State::Ready(Arc::clone(&running)));
            let next = tokio::select! {
                () = running.lost.cancelled() => return running.end(),
                next = self.successor(program, &mut wishes) => next,
            };
            let before = std::mem::replace(&mut running, next.0);
            wishes = next.1;
            self.tell.send_replace(State::Ready(Arc::clone(&running)));
            before.retire();
        }
    }

    async fn start(&mut self, program: &Path) -> Result<(Arc<Running>, mpsc::Receiver<Wish>), String> {
        let started = tokio::select! {
            started = start::start(&self.setup, program, &self.noted) => started?,
            () = self.stop.cancelled() => return Err("the worker stops".to_owned()),
        };
        attend(&mut self.lives, started, Arc::clone(&self.noted), self.setup.silence, self.stop.clone()).await
    }

    /// The one that takes the place of the one that runs, once that is wished for and another one starts.
    async fn successor(&mut self, program: &Path, wishes: &mut mpsc::Receiver<Wish>) -> (Arc<Running>, mpsc::Receiver<Wish>) {
        loop {
            let Some(wish) = wishes.recv().await else { return std::future::pending().await };
            while self.lives.try_join_next().is_some() {}
            let outcome = if self.lives.len() > MOST_REPLACED {
                Replaced::TooMany
            } else {
                match self.start(program).await {
                    Ok(next) => {
                        let _ = wish.send(Replaced::Done);
                        return next;
                    }
                    Err(problem) => Replaced::Failed(problem),
                }
            };
            let _ = wish.send(outcome);
        }
    }
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
