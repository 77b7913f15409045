//! The server that is measured: the release binary in a process of its own, on a fresh database.

use crate::database::{Database, Kind};
use crate::http::{Connection, request};
use crate::process::{Meter, Process};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Server {
    process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it stores in.
    pub(crate) database: Database,
    /// From the start of its process to its first answer.
    pub(crate) start_up: Duration,
}

impl Server {
    /// Starts one on a database, new or used.
    ///
    /// # Errors
    /// If it does not answer within 30 s.
    pub(crate) async fn start(database: Database) -> Result<Self> {
        Self::start_as(database, "bench", None).await
    }

    /// Starts one under a name; it joins another if an address is given.
    ///
    /// # Errors
    /// If it does not answer within 30 s.
    pub(crate) async fn start_as(database: Database, name: &str, connect: Option<&str>) -> Result<Self> {
        // The port is known before the start, so that the first answer can be waited for.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(sibling("muster")?);
        command.args(["serve", "--listen", &address.to_string(), "--name", name, "--data-dir"]).arg(database.dir.join("data"));
        command.args(connect.iter().flat_map(|url| ["--connect", url]));
        if let Kind::Postgres = database.kind {
            command.args(["--database-url", &database.url]);
        }
        without_settings(&mut command);
        command.env("HOME", &database.dir);
        let begun = Instant::now();
        let mut process = Process::start(command, &database.dir.join("server.log"))?;
        let healthy = request("GET", address, "/healthz", "");
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && connection.ask(&healthy).await.is_ok_and(|answer| answer.status == 200)
            {
                break;
            }
            let log = || std::fs::read_to_string(database.dir.join("server.log")).unwrap_or_default();
            ensure!(!process.has_ended() && begun.elapsed() < START_LIMIT, "the server does not start: {}", log());
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        Ok(Self { process, address, database, start_up: begun.elapsed() })
    }

    /// Its address, for those that join it.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it takes of the machine.
    #[must_use]
    pub(crate) fn meter(&self) -> Meter {
        self.process.meter("server")
    }

    /// Stops it; its database stays.
    ///
    /// # Errors
    /// If it does not end.
    pub(crate) fn stop(mut self) -> Result<Database> {
        self.process.stop()?;
        Ok(self.database)
    }

    /// A request to it.
    #[must_use]
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        request(method, self.address, path, body)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// If it does not listen.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).await
    }

    /// Asks it once; for what is not measured.
    ///
    /// # Errors
    /// If it refuses.
    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut connection = self.connect().await?;
        let answer = connection.ask(&self.request(method, path, &body)).await?;
        serde_json::from_str(answer.text().with_context(|| format!("{method} {path}"))?).context("the answer is no JSON")
    }

    /// A number of `/metrics`.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let mut connection = self.connect().await?;
        let answer = connection.ask(&self.request("GET", "/metrics", "")).await?;
        let line = answer.text()?.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no metric {name}"))?;
        Ok(line.trim().parse()?)
    }
}

/// A binary that was built together with this one.
///
/// # Errors
/// If there is none.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not there: build the whole workspace", path.display());
    Ok(path)
}

/// What is set around the benchmark must not change what is measured.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MUSTER_") || text.starts_with("OPENCODE_") || text.starts_with("XDG_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}
