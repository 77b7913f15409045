//! The fake language model: an `OpenAI`-compatible server whose answers its prompts choose (see `tests/support/fake_llm.py`).

use super::wait::wait_for;
use super::{Cx, Process};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(super) const PYTHON: &str = "python3";

/// A running fake language model.
pub(crate) struct FakeLlm {
    url: String,
    _process: Process,
    requests: PathBuf,
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

    pub(crate) async fn start_in(dir: &Path) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        command.arg("-u").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_llm.py"));
        let requests = dir.join("llm-requests.jsonl");
        command.arg("--log").arg(&requests);
        let mut process = Process::spawn("the fake language model", command, &dir.join("llm.log"))?;
        let url = wait_for("the fake language model to listen", Duration::from_secs(20), async || {
            anyhow::ensure!(process.exit_status()?.is_none(), "the fake language model ended: {}", process.log());
            Ok(process.log().lines().find_map(|line| line.split_once("listening on ")).map(|(_, url)| url.trim().to_owned()))
        })
        .await?;
        Ok(Self { url, _process: process, requests })
    }

    /// Its address, without a path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it counted.
    pub(crate) async fn stats(&self) -> Result<LlmStats> {
        let text = reqwest::get(format!("{}/_stats", self.url)).await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The requests in which a user said `text`, with all that was said before. Requests for a title are left out.
    pub(crate) fn requests_with(&self, text: &str) -> Result<Vec<Request>> {
        let log = std::fs::read_to_string(&self.requests).unwrap_or_default();
        let mut found = Vec::new();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line)?;
            let request = Request { body: line["body"].clone() };
            if request.says("user", text) && !request.says("system", "title generator") {
                found.push(request);
            }
        }
        Ok(found)
    }
}

/// A request as OpenCode sent it.
#[derive(Debug)]
pub(crate) struct Request {
    body: Value,
}

impl Request {
    /// The model that is asked, without its provider.
    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// How many messages somebody has said in it.
    pub(crate) fn count(&self, role: &str) -> usize {
        self.body["messages"].as_array().into_iter().flatten().filter(|message| message["role"] == role).count()
    }

    /// Whether somebody (`user`, `assistant`, `system`, `tool`) says this in it.
    pub(crate) fn says(&self, role: &str, text: &str) -> bool {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        messages
            .filter(|message| message["role"] == role)
            .any(|message| contents(&message["content"]).any(|content| content.contains(text)))
    }
}

/// The texts of a message: its content is a text, or a list of parts.
fn contents(content: &Value) -> impl Iterator<Item = &str> {
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts)
}
