//! Event streams (SSE) that survive a lost connection.

use super::error::innermost;
use super::sse::Parser;
use super::{Client, ClientError};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use reqwest::{Method, Response};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The server sends a comment (which is no message) at least every 15 s; silence for longer means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that a server can ask for (`retry:`, `Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// One message of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMessage {
    /// Its name: what kind of data it carries.
    pub event: String,
    /// Its place, by which the stream is continued: its own, or that of the last message that had one; empty before that.
    pub id: String,
    /// Its content.
    pub data: String,
}

/// What [`EventStream::into_stream`] yields.
#[derive(Debug)]
pub enum Incoming {
    /// A message.
    Message(StreamMessage),
    /// The connection is lost or could not be made; it is tried again by itself.
    Lost(ClientError),
    /// The server refuses the stream for a reason that will not pass. Nothing follows.
    Refused(ClientError),
}

/// A stream of server-sent events. It reconnects with `Last-Event-ID`, so that nothing is missed and nothing comes twice.
pub struct EventStream {
    client: Client,
    path: String,
    query: Vec<(String, String)>,
    last_id: Option<String>,
    open: Option<(Response, Parser)>,
    /// Before the next connection.
    pause: Duration,
    first_pause: Duration,
    silence: Duration,
    is_broken: bool,
    is_over: bool,
}

impl EventStream {
    pub(super) fn new(client: Client, path: &str, query: &[(&str, &str)], after: Option<u64>) -> Self {
        Self {
            client,
            path: path.to_owned(),
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            last_id: after.map(|n| n.to_string()),
            open: None,
            pause: FIRST_PAUSE,
            first_pause: FIRST_PAUSE,
            silence: SILENCE,
            is_broken: false,
            is_over: false,
        }
    }

    /// The next message. Waits for ever; while the server is away it reconnects with growing pauses (at most 5 s), and tells `on_lost` each
    /// time. Do not drop the future half-way again and again: it would never get connected. [`Self::into_stream`] has no such rule.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the server refuses the stream for a reason that will not pass, [`ClientError::Malformed`] if what it answers is
    /// no event stream.
    pub async fn next(&mut self, mut on_lost: impl FnMut(&ClientError)) -> Result<StreamMessage, ClientError> {
        loop {
            match self.step().await {
                Incoming::Message(message) => return Ok(message),
                Incoming::Lost(error) => on_lost(&error),
                Incoming::Refused(error) => return Err(error),
            }
        }
    }

    /// The same as a [`futures_util::Stream`], whose `next` may be dropped at any point, as in `select!`.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Incoming> {
        unfold(self, |mut this| async move { if this.is_over { None } else { Some((this.step().await, this)) } }).boxed()
    }

    /// One message or one failure. After a failure the next step begins with the pause.
    async fn step(&mut self) -> Incoming {
        if std::mem::take(&mut self.is_broken) {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).clamp(self.first_pause, LONGEST_PAUSE.max(self.first_pause));
        }
        match self.read().await {
            Ok(message) => Incoming::Message(message),
            Err(error) if error.is_retryable() => {
                self.open = None;
                self.is_broken = true;
                if let ClientError::Refused { retry_after: Some(asked), .. } = &error {
                    self.pause = self.pause.max((*asked).min(LONGEST_ASKED));
                }
                Incoming::Lost(error)
            }
            Err(error) => {
                self.is_over = true;
                Incoming::Refused(error)
            }
        }
    }

    async fn read(&mut self) -> Result<StreamMessage, ClientError> {
        if self.open.is_none() {
            self.open = Some((self.connect().await?, Parser::default()));
        }
        loop {
            let Some((response, parser)) = &mut self.open else { return Err(self.lost("closed".to_owned())) };
            if let Some(asked) = parser.take_retry() {
                self.first_pause = asked.min(LONGEST_ASKED);
            }
            if let Some(message) = parser.next() {
                self.pause = self.first_pause;
                if !message.id.is_empty() {
                    self.last_id = Some(message.id.clone());
                }
                return Ok(message);
            }
            match timeout(self.silence, response.chunk()).await {
                Ok(Ok(Some(bytes))) => parser.push(&bytes).map_err(|error| self.malformed(error.to_string()))?,
                Ok(Ok(None)) => return Err(self.lost("the stream ended".to_owned())),
                Ok(Err(error)) => return Err(self.lost(innermost(&error))),
                Err(_) => return Err(self.lost(format!("nothing heard for {} s", self.silence.as_secs()))),
            }
        }
    }

    async fn connect(&mut self) -> Result<Response, ClientError> {
        let mut request =
            self.client.request(Method::GET, &self.path).query(&self.query).header("accept", "text/event-stream").timeout(Duration::MAX);
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let response = timeout(super::REQUEST_TIMEOUT, self.client.send(request));
        let response = response.await.map_err(|_| self.lost("no answer within 30 s".to_owned()))??;
        if is_event_stream(&response) { Ok(response) } else { Err(self.malformed("it is no event stream".to_owned())) }
    }

    fn malformed(&self, reason: String) -> ClientError {
        ClientError::Malformed { server: self.client.server().to_owned(), reason }
    }

    fn lost(&self, reason: String) -> ClientError {
        ClientError::Unreachable { server: self.client.server().to_owned(), reason }
    }
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

#[cfg(test)]
mod tests;
