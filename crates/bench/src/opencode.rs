//! The real OpenCode with a fake language model behind it: bare, and under a worker.

use crate::http::{Connection, Events, request};
use crate::process::Process;
use crate::server::{Server, sibling, without_settings};
use anyhow::{Context as _, Result, ensure};
use muster_worker::opencode::environment::isolated;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(90);
const MODEL: &str = "fake/echo";

/// A bare OpenCode server, warm, driven by its HTTP API as a worker would. The same program, configuration and environment as the worker's.
pub(crate) struct OpenCode {
    program: PathBuf,
    /// A git directory in which all prompts run.
    pub(crate) project: PathBuf,
    address: SocketAddr,
    connection: tokio::sync::Mutex<Connection>,
    configuration: String,
    _processes: [Process; 2],
}

impl OpenCode {
    /// Starts the language model and OpenCode.
    ///
    /// # Errors
    /// If one of them does not start.
    pub(crate) async fn start(program: &Path, dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir)?;
        let program = fs::canonicalize(program)?;
        let mut command = Command::new("python3");
        command.args(["-u", "tests/support/fake_llm.py"]);
        let mut llm = Process::start(command, &dir.join("llm.log"))?;
        let url = said(&mut llm, &dir.join("llm.log"), "listening on ").await.context("the fake language model")?;
        let template = fs::read_to_string("tests/support/opencode.json")?;
        // On one line, as it goes into the environment.
        let configuration = serde_json::from_str::<Value>(&template.replace("LLM_URL", &url))?.to_string();
        let project = dir.join("project");
        fs::create_dir_all(&project)?;
        fs::write(project.join("README.md"), "A project.\n")?;
        let git = Command::new("git").args(["init", "--quiet"]).current_dir(&project).status()?;
        ensure!(git.success(), "git init failed");
        let mut process = Process::start(bare(&program, &dir, &configuration)?, &dir.join("opencode.log"))?;
        let url = said(&mut process, &dir.join("opencode.log"), "listening on http://").await.context("OpenCode")?;
        let address: SocketAddr = url.parse()?;
        let connection = tokio::sync::Mutex::new(Connection::open(address).await?);
        Ok(Self { program, project, address, connection, configuration, _processes: [process, llm] })
    }

    /// Its event stream.
    ///
    /// # Errors
    /// If it cannot be followed.
    pub(crate) async fn events(&self) -> Result<Events> {
        Connection::open(self.address).await?.follow(&request("GET", self.address, "/global/event", "")).await
    }

    /// From before the making of a session to the first piece of the answer in the event stream.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn first_token(&self, events: &mut Events, prompt: &str) -> Result<Duration> {
        let mut connection = self.connection.lock().await;
        let begun = Instant::now();
        let path = format!("/session?directory={}", self.project.display());
        let made = connection.ask(&request("POST", self.address, &path, &json!({ "title": "bench" }).to_string())).await?;
        let session: Value = serde_json::from_str(made.text()?)?;
        let session = session["id"].as_str().context("a session without an id")?.to_owned();
        let (provider, model) = MODEL.split_once('/').unwrap_or_default();
        let body = json!({ "agent": "build", "model": { "providerID": provider, "modelID": model }, "parts": [{ "type": "text", "text": prompt }] });
        let path = format!("/session/{session}/prompt_async");
        connection.ask(&request("POST", self.address, &path, &body.to_string())).await?.text()?;
        let is_first = |event: &[u8]| contains(event, br#""message.part.delta""#) && contains(event, session.as_bytes());
        let took = until(events, begun, is_first).await?;
        until(events, begun, |event| contains(event, br#""session.idle""#) && contains(event, session.as_bytes())).await?;
        Ok(took)
    }

    /// The configuration file of the worker whose files are in a directory; empty if nobody wrote it.
    #[must_use]
    pub(crate) fn worker_config(dir: &Path) -> PathBuf {
        dir.join("worker.toml")
    }

    /// A worker with the same OpenCode.
    ///
    /// # Errors
    /// If it does not get ready.
    pub(crate) async fn worker(&self, server: &Server) -> Result<Process> {
        let dir = fs::canonicalize(&server.database.dir)?;
        let home = dir.join("home");
        fs::create_dir_all(&home)?;
        let mut command = Command::new(sibling("muster-worker")?);
        without_settings(&mut command);
        command.env("HOME", home).env("MUSTER_OPENCODE_CONFIG", &self.configuration);
        command.args(["--server", &format!("http://{}", server.address), "--name", "worker", "--isolated", "--codebase"]);
        command.arg(format!("project={}", self.project.display())).arg("--opencode").arg(&self.program);
        command.arg("--state-dir").arg(dir.join("worker")).arg("--config").arg(Self::worker_config(&dir));
        fs::OpenOptions::new().create(true).append(true).open(Self::worker_config(&dir))?;
        let mut process = Process::start(command, &dir.join("worker.log"))?;
        let begun = Instant::now();
        while !server.json("GET", "/v1/opencode/models", &Value::Null).await?.to_string().contains(MODEL) {
            let log = || fs::read_to_string(dir.join("worker.log")).unwrap_or_default();
            ensure!(!process.has_ended() && begun.elapsed() < START_LIMIT, "the worker does not get ready: {}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(process)
    }
}

/// Waits for an event of a kind, and says how long after `begun` it came.
///
/// # Errors
/// If it does not come within half a minute.
pub(crate) async fn until(events: &mut Events, begun: Instant, is_it: impl Fn(&[u8]) -> bool) -> Result<Duration> {
    let found = async {
        loop {
            let event = events.next().await?.context("the stream ended")?;
            if is_it(event) {
                return anyhow::Ok(begun.elapsed());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.context("nothing came within 30 s")?
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The bare server with what an isolated worker gives its own: a home of its own, and nothing from the network.
fn bare(program: &Path, dir: &Path, configuration: &str) -> Result<Command> {
    let base = dir.join("opencode");
    let empty = base.join("empty");
    fs::create_dir_all(&empty)?;
    let mut command = Command::new(program);
    command.args(["serve", "--hostname", "127.0.0.1", "--port", "0", "--print-logs", "--log-level", "WARN"]).current_dir(empty);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(isolated(&base)?);
    command.env("OPENCODE_CONFIG_CONTENT", configuration);
    Ok(command)
}

/// What a process writes after a word, once it has written it.
async fn said(process: &mut Process, log: &Path, word: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(log)?;
        // Only whole lines: the last one may still be written.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end)];
        if let Some(found) = whole.lines().find_map(|line| line.split_once(word)) {
            return Ok(found.1.trim().to_owned());
        }
        ensure!(!process.has_ended() && begun.elapsed() < START_LIMIT, "it does not start: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
