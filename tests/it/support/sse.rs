//! Server-sent events as they come over one connection, without the reconnecting of the typed client.

use super::Http;
use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// How long the next event is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) event: String,
    /// The number that its id begins with.
    pub(crate) id: Option<u64>,
    /// Its id as it came.
    pub(crate) place: Option<String>,
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
        Self::open_at(http, path, &last_id.map(|id| id.to_string()).unwrap_or_default()).await
    }

    /// The same, after the event with the id `place`; from now on if it is empty.
    pub(crate) async fn open_at(http: &Http, path: &str, place: &str) -> Result<Self> {
        let mut request = http.request(Method::GET, path).header("accept", "text/event-stream");
        if !place.is_empty() {
            request = request.header("last-event-id", place);
        }
        Self::of(request).await.with_context(|| path.to_owned())
    }

    /// The stream that answers a request.
    pub(crate) async fn of(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        if answer.status() != 200 || !kind.starts_with("text/event-stream") {
            bail!("it was answered with {} {kind}: {}", answer.status(), answer.text().await?);
        }
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
    let place = field("id").map(str::to_owned);
    let number = |place: &String| place.split(';').next().unwrap_or_default().parse();
    let id = place.as_ref().map(number).transpose()?;
    Ok(Some(Sent { event: field("event").unwrap_or_default().to_owned(), id, place, data: serde_json::from_str(data)? }))
}
