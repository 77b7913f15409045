//! A real control plane: the `muster` binary on a free port, with a directory of its own.

use super::process::{free_port, new_log};
use super::wait::wait_for;
use super::{Cx, Process};
use anyhow::{Context, Result};
use muster_protocol::client::Client;
use serde_json::Value;
use sqlx::{AnyConnection, Connection};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// The binary under test.
pub(crate) const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A control plane, running or not.
pub(crate) struct Server {
    name: String,
    dir: PathBuf,
    data_dir: PathBuf,
    /// Where it is reached from here.
    host: String,
    port: u16,
    /// What is put before its command.
    within: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    process: Option<Process>,
    client: Client,
}

impl Server {
    /// Starts one with the embedded database.
    pub(crate) async fn start(cx: &Cx) -> Result<Self> {
        Self::new(cx.dir(), "server")?.launch().await
    }

    /// One that is not started yet; `name` names its log and its directory.
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Self> {
        let port = free_port()?;
        let client = Client::new(&format!("http://127.0.0.1:{port}"), None)?;
        new_log(&dir.join(format!("{name}.log")))?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            data_dir: dir.join(format!("{name}-data")),
            host: "127.0.0.1".to_owned(),
            port,
            within: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            process: None,
            client,
        })
    }

    /// Adds arguments to `muster serve`.
    pub(crate) fn with_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn with_env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Runs it within another command, such as `ip netns exec NAME`, where it is reached at `host`. It must be told to listen there.
    pub(crate) fn within<A: Into<OsString>>(self, command: impl IntoIterator<Item = A>, host: &str) -> Result<Self> {
        let client = Client::new(&format!("http://{host}:{}", self.port), None)?;
        Ok(Self { within: command.into_iter().map(Into::into).collect(), host: host.to_owned(), client, ..self })
    }

    /// Gives it another data directory, for example another server's.
    pub(crate) fn with_data_dir(self, data_dir: PathBuf) -> Self {
        Self { data_dir, ..self }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn launch(mut self) -> Result<Self> {
        self.restart().await?;
        Ok(self)
    }

    /// Starts it again on the same port and the same data, after [`Self::kill`] or [`Self::stop`].
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let mut process = self.spawn()?;
        let ready = self.path_url("/readyz");
        wait_for("the server to be ready", START_LIMIT, async || {
            if let Some(status) = process.exit_status()? {
                anyhow::bail!("the server ended ({status}): {}", process.log());
            }
            let answer = reqwest::get(&ready).await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it without waiting, for cases in which it refuses to start.
    pub(crate) fn spawn(&self) -> Result<Process> {
        let mut words = self.within.iter().cloned().chain([MUSTER.into()]);
        let mut command = Command::new(words.next().context("a command")?);
        without_settings(&mut command);
        command.args(words).arg("serve").args(["--port", &self.port.to_string()]).arg("--data-dir").arg(self.data_dir()).args(&self.args);
        command.env("HOME", &self.dir).envs(self.env.iter().map(|(name, value)| (name, value)));
        Process::spawn("the server", command, &self.log_path())
    }

    /// Gives it another port, as long as it does not run.
    pub(crate) fn move_to_another_port(&mut self) -> Result<()> {
        anyhow::ensure!(self.process.is_none(), "the server runs");
        self.port = free_port()?;
        self.client = Client::new(&self.url(), None)?;
        Ok(())
    }

    /// What it was called here.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was started, and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// A statement in its embedded database, by somebody else.
    pub(crate) async fn spoil(&self, statement: &'static str) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut store = AnyConnection::connect(&format!("sqlite://{}", self.data_dir().join("muster.db").display())).await?;
        sqlx::raw_sql(statement).execute(&mut store).await?;
        Ok(store.close().await?)
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.take().context("the server does not run")?.kill().await
    }

    /// Asks it to end and waits for that.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the server does not run")?.terminate(STOP_LIMIT).await
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server does not run")?.id())
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its address, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The address of a path.
    pub(crate) fn path_url(&self, path: &str) -> String {
        format!("{}{path}", self.url())
    }

    /// The typed client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `GET` of a path that must answer JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        json(reqwest::get(self.path_url(path)).await?).await
    }

    /// `POST` of JSON to a path that must answer JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        json(reqwest::Client::new().post(self.path_url(path)).json(body).send().await?).await
    }

    /// The command `muster ARGS..` against this server.
    pub(crate) fn muster<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(MUSTER);
        without_settings(&mut command);
        command.env("HOME", &self.dir).env("MUSTER_SERVER", self.url()).args(args.into_iter().map(Into::into));
        command
    }
}

async fn json(answer: reqwest::Response) -> Result<Value> {
    let (status, text) = (answer.status(), answer.text().await?);
    anyhow::ensure!(status.is_success(), "the server answered {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

/// What is set around the tests must not change them.
pub(super) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MUSTER_") || text.starts_with("OPENCODE_") || text.starts_with("XDG_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}
