//! Event streams (SSE) that survive a lost connection.

use super::{Client, ClientError};
use eventsource_stream::{Event as SseEvent, EventStreamError, Eventsource};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use reqwest::Method;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The server sends a comment (which is no message) at least every 15 s; silence for longer means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One message of an event stream.
#[derive(Debug, Clone)]
pub struct StreamMessage {
    /// Its name: what kind of data it carries.
    pub event: String,
    /// Its place, by which the stream is continued; empty if it has none.
    pub id: String,
    /// Its content.
    pub data: String,
}

type Lines = BoxStream<'static, Result<SseEvent, EventStreamError<reqwest::Error>>>;

/// A stream of server-sent events. It reconnects with `Last-Event-ID`, so that nothing is missed and nothing comes twice.
pub struct EventStream {
    client: Client,
    path: String,
    query: Vec<(String, String)>,
    last_id: Option<String>,
    open: Option<Lines>,
    pause: Duration,
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
        }
    }

    /// The next message. Waits for ever; while the server is away it reconnects with growing pauses (at most 5 s), and tells `on_lost` each time.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the server refuses the stream for a reason that will not pass.
    pub async fn next(&mut self, mut on_lost: impl FnMut(&ClientError)) -> Result<StreamMessage, ClientError> {
        loop {
            let lost = match self.read().await {
                Ok(message) => return Ok(message),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            self.open = None;
            on_lost(&lost);
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn read(&mut self) -> Result<StreamMessage, ClientError> {
        if self.open.is_none() {
            self.open = Some(self.connect().await?);
        }
        let Some(lines) = &mut self.open else { return Err(self.lost("closed")) };
        match lines.next().await {
            Some(Ok(event)) => {
                self.pause = FIRST_PAUSE;
                if !event.id.is_empty() {
                    self.last_id = Some(event.id.clone());
                }
                Ok(StreamMessage { event: event.event, id: event.id, data: event.data })
            }
            Some(Err(error)) => Err(self.lost(&error.to_string())),
            None => Err(self.lost("the stream ended")),
        }
    }

    async fn connect(&self) -> Result<Lines, ClientError> {
        let mut request =
            self.client.request(Method::GET, &self.path).query(&self.query).header("accept", "text/event-stream").timeout(Duration::MAX);
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let response = timeout(super::REQUEST_TIMEOUT, self.client.send(request));
        let response = response.await.map_err(|_| self.lost("no answer within 30 s"))??;
        Ok(until_silent(response.bytes_stream().boxed()).eventsource().boxed())
    }

    fn lost(&self, reason: &str) -> ClientError {
        ClientError::Unreachable { server: self.client.server().to_owned(), reason: reason.to_owned() }
    }
}

/// Ends the body when nothing, not even a comment, has come for [`SILENCE`].
fn until_silent<T: Send + 'static>(body: BoxStream<'static, T>) -> BoxStream<'static, T> {
    unfold(body, |mut body| async move { timeout(SILENCE, body.next()).await.ok().flatten().map(|chunk| (chunk, body)) }).boxed()
}
