//! TLS in front of what speaks none.

use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A proxy that speaks TLS, with a certificate of an authority of its own. It ends when it is dropped.
pub(crate) struct TlsProxy {
    port: u16,
    dir: PathBuf,
    _running: Child,
}

impl TlsProxy {
    /// In front of a port of this machine. `kind` is that of its certificate: `good`, `expired` or `misnamed`. It keeps its files in `dir`.
    pub(crate) async fn start(dir: &Path, port: u16, kind: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = dir.join(format!("tls-{kind}-{port}"));
        std::fs::create_dir_all(&dir)?;
        let mut proxy = Command::new(root.join("build/a2a/v1/bin/python"));
        proxy.arg(root.join("tests/support/tls_proxy.py")).arg(&dir).arg(port.to_string()).arg(kind);
        let mut running = proxy.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut said = BufReader::new(running.stdout.take().context("no output")?).lines();
        let port = said.next_line().await?.context("it does not say its port")?.parse()?;
        Ok(Self { port, dir, _running: running })
    }

    /// Its address, by the name of this machine.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The variable of the environment with which a process trusts its authority.
    pub(crate) fn trust(&self) -> (&'static str, OsString) {
        ("SSL_CERT_FILE", self.dir.join("ca.pem").into_os_string())
    }
}
