//! Server-sent events as they come over one connection, without the reconnecting of the typed client.

use super::Http;
use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, Response};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// How long the next event is waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) event: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

/// A stream of events over one connection.
pub(crate) struct Sse {
    answer: Response,
    rest: String,
    ready: VecDeque<Sent>,
}

impl Sse {
    /// Opens a stream, after the event `last_id` if given.
    pub(crate) async fn open(http: &Http, path: &str, last_id: Option<u64>) -> Result<Self> {
        let mut request = http.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.to_string());
        }
        let answer = request.send().await?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        ensure!(answer.status() == 200 && kind.starts_with("text/event-stream"), "{path}: {} {kind}", answer.status());
        Ok(Self { answer, rest: String::new(), ready: VecDeque::new() })
    }

    /// The next event; `None` when the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Sent>> {
        loop {
            if let Some(sent) = self.ready.pop_front() {
                return Ok(Some(sent));
            }
            let Ok(chunk) = tokio::time::timeout(LIMIT, self.answer.chunk()).await else {
                bail!("no event within {} s", LIMIT.as_secs());
            };
            let Some(chunk) = chunk? else { return Ok(None) };
            self.rest.push_str(std::str::from_utf8(&chunk)?);
            while let Some(end) = self.rest.find("\n\n") {
                self.ready.extend(read(&self.rest[..end])?);
                self.rest.drain(..end + 2);
            }
        }
    }

    /// The next event, which must come.
    pub(crate) async fn expect(&mut self) -> Result<Sent> {
        self.next().await?.context("the stream ended")
    }

    /// All events to the end of the stream.
    pub(crate) async fn rest(mut self) -> Result<Vec<Sent>> {
        let mut all = Vec::new();
        while let Some(sent) = self.next().await? {
            all.push(sent);
        }
        Ok(all)
    }
}

/// One event; none for a comment.
fn read(block: &str) -> Result<Option<Sent>> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(data) = field("data") else { return Ok(None) };
    let id = field("id").map(str::parse).transpose()?;
    Ok(Some(Sent { event: field("event").unwrap_or_default().to_owned(), id, data: serde_json::from_str(data)? }))
}
