//! The fake language model: an OpenAI-compatible server whose answers its prompts choose (see tests/support/fake_llm.py).

use super::wait::wait_for;
use super::{Cx, Process};
use anyhow::Result;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(super) const PYTHON: &str = "python3";

/// A running fake language model.
pub(crate) struct FakeLlm {
    url: String,
    log: Process,
}

/// What it counted since the start or the last reset.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct LlmStats {
    /// Requests for a completion.
    pub(crate) requests: u64,
    /// Those that are being answered now.
    pub(crate) active: u64,
    /// Those whose client went away before the end.
    pub(crate) client_gone: u64,
}

impl FakeLlm {
    /// Starts one that serves this case alone.
    pub(crate) async fn start(cx: &Cx) -> Result<Self> {
        Self::start_in(cx.dir()).await
    }

    pub(super) async fn start_in(dir: &Path) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        command.arg("-u").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_llm.py"));
        command.arg("--log").arg(dir.join("llm-requests.jsonl"));
        let mut process = Process::spawn("the fake language model", command, &dir.join("llm.log"))?;
        let url = wait_for("the fake language model to listen", Duration::from_secs(20), async || {
            anyhow::ensure!(process.exit_status()?.is_none(), "the fake language model ended: {}", process.log());
            Ok(process.log().lines().find_map(|line| line.split_once("listening on ")).map(|(_, url)| url.trim().to_owned()))
        })
        .await?;
        Ok(Self { url, log: process })
    }

    /// Its address, without a path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its process, for cases that end it.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.log
    }

    /// What it counted.
    pub(crate) async fn stats(&self) -> Result<LlmStats> {
        let text = reqwest::get(format!("{}/_stats", self.url)).await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }
}
