//! Starting and stopping the process.

use super::Setup;
use crate::identity::write_durably;
use crate::opencode::client::OpenCodeClient;
use crate::process::{self, exec, table};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::oneshot;

/// How long it may take until it says where it listens: seconds on a quiet machine, more on a busy one.
const START: Duration = Duration::from_secs(90);
/// How long it may take to end after it was asked.
const GRACE: Duration = Duration::from_secs(5);
/// How many lines of its output are kept for a complaint.
const TAIL: usize = 20;
/// The longest line kept of its output, in bytes.
const MAX_LINE: usize = 4096;

/// A process that has said that it listens, and answers.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) client: OpenCodeClient,
    pub(super) version: String,
    pub(super) program: PathBuf,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// Starts it and waits for the line that says where it listens. The port is never polled: a request that comes
/// between the opening of the port and that line is never answered.
pub(super) async fn start(setup: &Setup, program: &Path) -> Result<Started, String> {
    let program = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    // Two UUIDs of the operating system's randomness.
    let password = SecretString::from(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()));
    let mut command = exec::command(&program, &["serve", "--hostname", "127.0.0.1", "--port", "0", "--print-logs", "--log-level", "WARN"])
        .map_err(|e| e.to_string())?;
    command.env_clear().envs(&setup.environment.variables).env("OPENCODE_SERVER_PASSWORD", password.expose_secret());
    command
        .current_dir(&setup.environment.working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = setup.spawner.spawn(command).await.map_err(|e| format!("{} cannot be started: {e}", program.display()))?;
    note(&setup.pid_file, &child);
    let tail = Tail::default();
    let (said, address) = oneshot::channel();
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(drain(stdout, Arc::clone(&tail), Some(said)));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(drain(stderr, Arc::clone(&tail), None));
    }
    let listening = tokio::select! {
        address = tokio::time::timeout(START, address) => match address {
            Ok(Ok(address)) => Ok(address),
            Ok(Err(_)) => Err("it closed its output before it was ready".to_owned()),
            Err(_) => Err(format!("it did not say within {} s where it listens", START.as_secs())),
        },
        exit = child.wait() => Err(format!("it ended before it was ready ({})", exit.map_or(process::Exit::Unknown, process::Exit::from))),
    };
    let answer = match listening {
        Ok(address) => answering(&address, password).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok((client, version)) => Ok(Started { child, client, version, program }),
        Err(problem) => {
            process::stop(&mut child, GRACE).await;
            Err(format!("{problem}{}", last_words(&tail)))
        }
    }
}

async fn answering(address: &str, password: SecretString) -> Result<(OpenCodeClient, String), String> {
    let client = OpenCodeClient::new(address, password).map_err(|e| e.to_string())?;
    let version = client.version().await.map_err(|e| e.to_string())?;
    Ok((client, version))
}

impl Started {
    /// Ends it: its runs are aborted and stored and their tools killed, then the process itself.
    pub(super) async fn stop(&mut self) {
        if let Err(error) = self.client.dispose().await {
            tracing::debug!("OpenCode does not give up its runs: {error}");
        }
        let exit = process::stop(&mut self.child, GRACE).await;
        tracing::debug!("OpenCode was stopped ({exit})");
    }
}

/// Reads to the end, so that the pipe never fills; keeps the last lines.
async fn drain(pipe: impl AsyncRead + Unpin, tail: Tail, mut said: Option<oneshot::Sender<String>>) {
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        line.truncate(MAX_LINE);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if let Some((_, address)) = text.split_once("listening on ")
            && let Some(said) = said.take()
        {
            // Nobody waits any more after a timeout.
            let _ = said.send(address.trim().to_owned());
        }
        tracing::debug!(target: "opencode", "{text}");
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

fn last_words(tail: &Tail) -> String {
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    let words: Vec<&str> = tail.iter().rev().take(3).map(String::as_str).collect();
    if words.is_empty() {
        return String::new();
    }
    format!("; it said last: {}", crate::opencode::error::scrub(&words.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}

/// Notes the process, so that [`end_stale`] finds it.
fn note(pid_file: &Path, child: &Child) {
    let started = child.id().and_then(|pid| table::read(i32::try_from(pid).ok()?));
    if let Some(process) = started {
        let noted = write_durably(pid_file, format!("{} {}\n", process.pid, process.started).as_bytes());
        if let Err(error) = noted {
            tracing::warn!("cannot note OpenCode's process id in {}: {error}", pid_file.display());
        }
    }
}

/// Forgets the noted process.
pub(super) fn forget(pid_file: &Path) {
    let _ = std::fs::remove_file(pid_file);
}

/// Ends the server of a worker that did not end it itself.
pub(super) fn end_stale(pid_file: &Path) {
    let Ok(text) = std::fs::read_to_string(pid_file) else { return };
    let mut fields = text.split_whitespace();
    let noted = fields.next().and_then(|pid| pid.parse().ok()).zip(fields.next().and_then(|started| started.parse().ok()));
    if let Some((pid, started)) = noted
        && table::kill_stale(pid, started)
    {
        tracing::warn!("an OpenCode server of an earlier start of this worker was still running (process {pid}) and was ended");
    }
    forget(pid_file);
}
