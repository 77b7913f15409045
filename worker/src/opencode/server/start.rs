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
/// How long what it said last may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
    pid: Option<u32>,
}

/// The processes that run, written down so that a later start can end those that were left: the newest first.
pub(super) struct Noted {
    file: PathBuf,
    processes: Mutex<Vec<(i32, u64)>>,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// Starts it and waits for the line that says where it listens. The port is never polled: a request that comes
/// between the opening of the port and that line is never answered.
pub(super) async fn start(setup: &Setup, program: &Path, noted: &Noted) -> Result<Started, String> {
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
    let pid = child.id();
    noted.add(pid);
    let tail = Tail::default();
    let (said, address) = oneshot::channel();
    let mut drains = tokio::task::JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        drains.spawn(drain(stdout, Arc::clone(&tail), Some(said)));
    }
    if let Some(stderr) = child.stderr.take() {
        drains.spawn(drain(stderr, Arc::clone(&tail), None));
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
        Ok((client, version)) => {
            drains.detach_all();
            Ok(Started { child, client, version, program, pid })
        }
        Err(problem) => {
            process::stop(&mut child, GRACE).await;
            noted.remove(pid);
            // What it said last is on its way; a child of it may keep the pipe open.
            let _ = tokio::time::timeout(LAST_WORDS, async { while drains.join_next().await.is_some() {} }).await;
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
    pub(super) async fn stop(&mut self, noted: &Noted) {
        if let Err(error) = self.client.dispose().await {
            tracing::debug!("OpenCode does not give up its runs: {error}");
        }
        let exit = process::stop(&mut self.child, GRACE).await;
        noted.remove(self.pid);
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

impl Noted {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, processes: Mutex::default() }
    }

    fn add(&self, pid: Option<u32>) {
        let started = pid.and_then(|pid| table::read(i32::try_from(pid).ok()?));
        if let Some(process) = started {
            self.change(|all| all.insert(0, (process.pid, process.started)));
        }
    }

    fn remove(&self, pid: Option<u32>) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        self.change(|all| all.retain(|(known, _)| Some(*known) != pid));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(i32, u64)>)) {
        let mut all = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        let lines: Vec<String> = all.iter().map(|(pid, started)| format!("{pid} {started}\n")).collect();
        let text = lines.concat();
        let written = if text.is_empty() { std::fs::remove_file(&self.file) } else { write_durably(&self.file, text.as_bytes()) };
        if let Err(error) = written.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }) {
            tracing::warn!("cannot note OpenCode's processes in {}: {error}", self.file.display());
        }
    }
}

/// Ends the servers of a worker that did not end them itself.
pub(super) fn end_stale(pid_file: &Path) {
    let Ok(text) = std::fs::read_to_string(pid_file) else { return };
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let noted = fields.next().and_then(|pid| pid.parse().ok()).zip(fields.next().and_then(|started| started.parse().ok()));
        if let Some((pid, started)) = noted
            && table::kill_stale(pid, started)
        {
            tracing::warn!("an OpenCode server of an earlier start of this worker was still running (process {pid}) and was ended");
        }
    }
    let _ = std::fs::remove_file(pid_file);
}
