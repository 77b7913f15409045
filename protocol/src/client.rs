//! The typed HTTP client that the worker and the command line share.
//!
//! One method a route; it neither retries nor prints. Whether a failure is worth another try is
//! [`ClientError::is_retryable`]; how often and how fast is the caller's choice.

pub mod a2a;
mod agents;
mod error;
mod events;
pub mod http;
mod peers;
#[cfg(test)]
mod script;
mod sessions;
mod sse;
#[cfg(test)]
mod tests;

pub use error::ClientError;
pub use events::{EventStream, Incoming, StreamMessage};

use crate::codebase::Codebase;
use crate::event::Event;
use crate::ids::{CodebaseId, InteractionId, TaskId, WorkerId};
use crate::interaction::{Interaction, InteractionReplied, ReplyInteraction};
use crate::model::ModelList;
use crate::status::ServerStatus;
use crate::stream::{AppendEntries, Appended};
use crate::task::{CancelAnswer, Explanation, ReportStatus, StatusReported, SubmitTask, Task, TaskOutput};
use crate::token::{CreateToken, Token, TokenCreated};
use crate::worker::{Done, Drain, Pull, Pulled, RegisterWorker, Registered, Worker};
use error::{innermost, refusal};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// What a request may take, unless it waits by design.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer than its wait a long poll may take.
const POLL_GRACE: Duration = Duration::from_secs(10);

/// An answer as it came, and where the next one of a list begins.
#[derive(Debug, Clone)]
pub struct Page {
    /// The body: JSON.
    pub text: String,
    /// The `cursor` of the next page; none if this was the last.
    pub next: Option<String>,
}

/// A connection to one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    /// A client for the server at `address` (`http://host:port` or `https://host`), which sends `token` as a bearer token.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the address is no URL of HTTP.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, ClientError> {
        let refuse = |reason: String| ClientError::Address { address: address.to_owned(), reason };
        let mut base = Url::parse(address).map_err(|e| refuse(format!("{e}; it should look like http://127.0.0.1:5001")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("it must begin with http:// or https://".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = http::builder(&base)
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| refuse(e.to_string()))?;
        Ok(Self { http, base, token })
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// `POST /v1/opencode/workers/register`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, body: &RegisterWorker) -> Result<Registered, ClientError> {
        self.post("v1/opencode/workers/register", body).await
    }

    /// `POST /v1/opencode/workers/{id}/pull`: waits as long as the body says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pull(&self, worker: &WorkerId, body: &Pull) -> Result<Pulled, ClientError> {
        let wait = Duration::from_millis(body.wait_ms.unwrap_or(15_000)) + POLL_GRACE;
        let request = self.request(Method::POST, &format!("v1/opencode/workers/{worker}/pull")).json(body);
        self.answer(request.timeout(wait)).await
    }

    /// `POST /v1/opencode/workers/{id}/unregister`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unregister(&self, worker: &WorkerId) -> Result<Done, ClientError> {
        self.post(&format!("v1/opencode/workers/{worker}/unregister"), &Value::Null).await
    }

    /// `POST /v1/opencode/workers/{id}/drain`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn drain(&self, worker: &WorkerId, body: &Drain) -> Result<Done, ClientError> {
        self.post(&format!("v1/opencode/workers/{worker}/drain"), body).await
    }

    /// `POST /v1/opencode/workers/{id}/resume`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume(&self, worker: &WorkerId) -> Result<Done, ClientError> {
        self.post(&format!("v1/opencode/workers/{worker}/resume"), &Value::Null).await
    }

    /// `POST /v1/opencode/tasks/{id}/stream`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_entries(&self, task: TaskId, body: &AppendEntries) -> Result<Appended, ClientError> {
        self.post(&format!("v1/opencode/tasks/{task}/stream"), body).await
    }

    /// `PUT /v1/opencode/tasks/{id}/status`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn report_status(&self, task: TaskId, body: &ReportStatus) -> Result<StatusReported, ClientError> {
        self.answer(self.request(Method::PUT, &format!("v1/opencode/tasks/{task}/status")).json(body)).await
    }

    /// `POST /v1/opencode/tasks`. With a key, sending the same again answers the same task.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn submit(&self, body: &SubmitTask, idempotency_key: Option<&str>) -> Result<Task, ClientError> {
        let mut request = self.request(Method::POST, "v1/opencode/tasks").json(body);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request).await
    }

    /// `GET /v1/opencode/tasks/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn task(&self, task: TaskId) -> Result<Task, ClientError> {
        self.get(&format!("v1/opencode/tasks/{task}"), &[]).await
    }

    /// `GET /v1/opencode/tasks` with query parameters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tasks(&self, query: &[(&str, &str)]) -> Result<Vec<Task>, ClientError> {
        self.get("v1/opencode/tasks", query).await
    }

    /// `GET /v1/opencode/tasks/{id}/output`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn output(&self, task: TaskId, since: u64) -> Result<TaskOutput, ClientError> {
        self.get(&format!("v1/opencode/tasks/{task}/output"), &[("since", &since.to_string())]).await
    }

    /// `POST /v1/opencode/tasks/{id}/cancel`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, task: TaskId) -> Result<CancelAnswer, ClientError> {
        self.post(&format!("v1/opencode/tasks/{task}/cancel"), &Value::Null).await
    }

    /// `POST /v1/opencode/tasks/{id}/retry`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry(&self, task: TaskId) -> Result<Task, ClientError> {
        self.post(&format!("v1/opencode/tasks/{task}/retry"), &Value::Null).await
    }

    /// `GET /v1/opencode/tasks/{id}/explain`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn explain(&self, task: TaskId) -> Result<Explanation, ClientError> {
        self.get(&format!("v1/opencode/tasks/{task}/explain"), &[]).await
    }

    /// `GET /v1/interactions` with query parameters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn interactions(&self, query: &[(&str, &str)]) -> Result<Vec<Interaction>, ClientError> {
        self.get("v1/interactions", query).await
    }

    /// `POST /v1/interactions/{id}/reply`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reply(&self, id: InteractionId, body: &ReplyInteraction) -> Result<InteractionReplied, ClientError> {
        self.post(&format!("v1/interactions/{id}/reply"), body).await
    }

    /// `GET /v1/opencode/workers` with query parameters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn workers(&self, query: &[(&str, &str)]) -> Result<Vec<Worker>, ClientError> {
        self.get("v1/opencode/workers", query).await
    }

    /// `GET /v1/opencode/models` with query parameters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn models(&self, query: &[(&str, &str)]) -> Result<ModelList, ClientError> {
        self.get("v1/opencode/models", query).await
    }

    /// `GET /v1/opencode/codebases` with query parameters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn codebases(&self, query: &[(&str, &str)]) -> Result<Vec<Codebase>, ClientError> {
        self.get("v1/opencode/codebases", query).await
    }

    /// `GET /v1/opencode/codebases/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn codebase(&self, id: &CodebaseId) -> Result<Codebase, ClientError> {
        self.get(&format!("v1/opencode/codebases/{id}"), &[]).await
    }

    /// `GET /v1/opencode/status`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<ServerStatus, ClientError> {
        self.get("v1/opencode/status", &[]).await
    }

    /// `POST /v1/tokens`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, body: &CreateToken) -> Result<TokenCreated, ClientError> {
        self.post("v1/tokens", body).await
    }

    /// `GET /v1/tokens`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.get("v1/tokens", &[]).await
    }

    /// `DELETE /v1/tokens/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: &str) -> Result<Done, ClientError> {
        self.answer(self.request(Method::DELETE, &format!("v1/tokens/{id}"))).await
    }

    /// `GET /v1/events` as a page: the events after `after` that match the query.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, query: &[(&str, &str)]) -> Result<Vec<Event>, ClientError> {
        self.get("v1/events", query).await
    }

    /// `GET /v1/events` as a stream that reconnects by itself and continues after the last event seen.
    #[must_use]
    pub fn follow_events(&self, query: &[(&str, &str)], after: Option<u64>) -> EventStream {
        EventStream::new(self.clone(), "v1/events", query, after)
    }

    /// `GET /v1/opencode/tasks/{id}/stream`, which reconnects by itself and continues after the last entry seen.
    #[must_use]
    pub fn follow_task(&self, task: TaskId, after: Option<u64>) -> EventStream {
        EventStream::new(self.clone(), &format!("v1/opencode/tasks/{task}/stream"), &[], after)
    }

    /// `GET` of any route: the answer byte for byte, for those who pass it on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<Page, ClientError> {
        let response = self.send(self.request(Method::GET, path).query(query)).await?;
        let next = response.headers().get("x-next-cursor").and_then(|value| value.to_str().ok().map(str::to_owned));
        let text = response.text().await.map_err(|e| self.unreachable(&e))?;
        Ok(Page { text, next })
    }

    /// Reads what [`Self::get_text`] gave.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if it has another shape.
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|e| ClientError::Malformed { server: self.server().to_owned(), reason: e.to_string() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        let request = self.http.request(method, url).timeout(REQUEST_TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&body).map_err(|e| ClientError::Malformed { server: self.server().to_owned(), reason: e.to_string() })
    }

    /// Sends a request and turns every status but 2xx into [`ClientError::Refused`].
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { server: self.server().to_owned(), reason: innermost(error) }
    }
}
