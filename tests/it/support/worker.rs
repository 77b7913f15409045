//! A real worker: the `muster-worker` binary in isolated mode, with the pinned OpenCode and the fake language model.

use super::process::new_log;
use super::server::{MUSTER, without_settings};
use super::wait::wait_for;
use super::{Cx, FakeLlm, Process, Server};
use anyhow::{Context, Result};
use muster_protocol::client::Client;
use muster_protocol::codebase::Codebase;
use muster_protocol::worker::{Worker as WorkerInfo, WorkerStatus};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A worker, running or not.
pub(crate) struct Worker {
    name: String,
    dir: PathBuf,
    server: String,
    client: Client,
    slots: u32,
    codebases: Vec<(String, PathBuf)>,
    opencode: Option<PathBuf>,
    llm: Option<String>,
    settings: String,
    hostname: Option<String>,
    process: Option<Process>,
}

impl Worker {
    /// One that is not started yet. `name` is the worker's name, and names its log and its directory.
    pub(crate) fn new(dir: &Path, name: &str, server: &Server) -> Result<Self> {
        new_log(&dir.join(format!("{name}.log")))?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            server: server.url(),
            client: server.client().clone(),
            slots: 4,
            codebases: Vec::new(),
            opencode: opencode(),
            llm: None,
            settings: String::new(),
            hostname: None,
            process: None,
        })
    }

    /// Starts one with the pinned OpenCode in front of `llm`.
    pub(crate) async fn start(cx: &Cx, name: &str, server: &Server, llm: &FakeLlm) -> Result<Self> {
        Self::new(cx.dir(), name, server)?.with_llm(llm).launch().await
    }

    /// Lets its OpenCode use this language model.
    pub(crate) fn with_llm(mut self, llm: &FakeLlm) -> Self {
        self.llm = Some(llm.url().to_owned());
        self
    }

    /// Adds a codebase.
    pub(crate) fn with_codebase(mut self, name: &str, path: &Path) -> Self {
        self.codebases.push((name.to_owned(), path.to_owned()));
        self
    }

    /// How many tasks it runs at once; 4 if not said.
    pub(crate) fn with_slots(self, slots: u32) -> Self {
        Self { slots, ..self }
    }

    /// Where it looks for OpenCode.
    pub(crate) fn with_opencode(self, path: &Path) -> Self {
        Self { opencode: Some(path.to_owned()), ..self }
    }

    /// Runs it as on a machine of this name; needs the right to make one (as to mount).
    pub(crate) fn on_host(self, hostname: &str) -> Self {
        Self { hostname: Some(hostname.to_owned()), ..self }
    }

    /// Where its identity and its spool are.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join(format!("{}-state", self.name))
    }

    /// Lets it reach the server by another address, for example a proxy's.
    pub(crate) fn through(self, address: &str) -> Self {
        Self { server: address.to_owned(), ..self }
    }

    /// Adds lines to its worker.toml.
    pub(crate) fn with_settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// Starts it and waits until it is registered, with its models if it has a language model.
    pub(crate) async fn launch(mut self) -> Result<Self> {
        self.restart().await?;
        Ok(self)
    }

    /// Starts it again over the same state, after [`Self::kill`] or [`Self::stop`].
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let mut process = self.spawn()?;
        wait_for("the worker to be active", START_LIMIT, async || {
            if let Some(status) = process.exit_status()? {
                anyhow::bail!("the worker ended ({status}): {}", process.log());
            }
            let info = self.info().await?;
            Ok(info.filter(|info| info.status == WorkerStatus::Active && (self.llm.is_none() || !info.models.is_empty())))
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&self) -> Result<Process> {
        let config = self.write_config()?;
        let mut command = match &self.hostname {
            None => Command::new(binary()?),
            Some(name) => {
                let mut command = Command::new("unshare");
                command.args(["--uts", "sh", "-c", &format!("hostname {name} && exec \"$0\" \"$@\"")]).arg(binary()?);
                command
            }
        };
        without_settings(&mut command);
        command.args(["--server", &self.server, "--name", &self.name, "--slots", &self.slots.to_string(), "--isolated"]);
        command.arg("--state-dir").arg(self.state_dir()).arg("--config").arg(config);
        if let Some(opencode) = &self.opencode {
            command.arg("--opencode").arg(opencode);
        }
        for (name, path) in &self.codebases {
            command.arg("--codebase").arg(format!("{name}={}", path.display()));
        }
        command.env("HOME", self.dir.join(format!("{}-home", self.name)));
        Process::spawn("the worker", command, &self.log_path())
    }

    fn write_config(&self) -> Result<PathBuf> {
        fs::create_dir_all(self.dir.join(format!("{}-home", self.name)))?;
        let path = self.dir.join(format!("{}.toml", self.name));
        // The user's lines come last: they may open a table.
        let template = include_str!("../../support/opencode.json");
        let config = self.llm.as_ref().map(|llm| format!("opencode_config = '''\n{}'''\n", template.replace("LLM_URL", llm)));
        let text = config.unwrap_or_default() + &self.settings;
        fs::write(&path, text)?;
        Ok(path)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The worker as the server shows it.
    pub(crate) async fn info(&self) -> Result<Option<WorkerInfo>> {
        Ok(self.client.workers(&[]).await?.into_iter().find(|info| info.name == self.name))
    }

    /// Its global codebase: what `~` is to its tasks.
    pub(crate) async fn global_codebase(&self) -> Result<Codebase> {
        let info = self.info().await?.context("the worker is not registered")?;
        let codebases = self.client.codebases(&[("worker_id", info.worker_id.as_str())]).await?;
        codebases.into_iter().find(|codebase| codebase.is_global).context("the worker has no global codebase")
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.take().context("the worker does not run")?.kill().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the worker does not run")?.wait(STOP_LIMIT).await
    }

    /// Asks it to end and waits for that.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the worker does not run")?.terminate(STOP_LIMIT).await
    }
}

/// The worker's binary: another package's, so it lies beside the server's.
fn binary() -> Result<PathBuf> {
    let path = Path::new(MUSTER).with_file_name("muster-worker");
    anyhow::ensure!(path.is_file(), "{} is not built; run `cargo build --workspace` first", path.display());
    Ok(path)
}

/// The pinned OpenCode in build/opencode; `make test` puts it there.
pub(super) fn opencode() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/build/opencode/opencode"));
    path.is_file().then_some(path)
}
