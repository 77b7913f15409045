//! A small client of A2A, for agents of others: JSON-RPC and HTTP+JSON of 1.0, JSON-RPC of 0.3. It speaks 1.0's types whatever goes over the wire.
//!
//! It follows no redirect, reads no more than [`LARGEST`] bytes of an answer, and neither retries nor waits: that is its caller's choice.

mod stream;

pub use stream::Events;

use super::{http, innermost};
use crate::a2a::rpc::RpcResponse;
use crate::a2a::{
    CancelTaskRequest, ErrorKind, GetTaskRequest, Message, SendMessageRequest, SendMessageResponse, SubscribeRequest, Task, v03,
};
use reqwest::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;
use url::Url;

/// The largest answer that is read, in bytes.
pub const LARGEST: usize = 32 << 20;
/// The largest card that is read, in bytes.
const LARGEST_CARD: usize = 512 << 10;
/// What a connection, a card and a short question may take.
const CONNECT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_secs(20);
/// How much of a refusal is told.
const SHOWN: usize = 300;

/// Which version and binding an agent is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// JSON-RPC of 1.0.
    #[serde(rename = "JSONRPC 1.0")]
    Rpc,
    /// HTTP+JSON of 1.0.
    #[serde(rename = "HTTP+JSON 1.0")]
    Rest,
    /// JSON-RPC of 0.3.
    #[serde(rename = "JSONRPC 0.3")]
    OldRpc,
}

impl Dialect {
    fn version(self) -> &'static str {
        if self == Self::OldRpc { "0.3" } else { "1.0" }
    }
}

/// Why an agent did not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum A2aError {
    /// There was no connection: nothing was sent.
    #[error("cannot reach the agent at {at}: {reason}")]
    NotReached {
        /// Its address.
        at: String,
        /// What happened.
        reason: String,
    },
    /// The connection broke, or there was no answer in time: what the agent made of the request is not known.
    #[error("lost contact with the agent at {at}: {reason}")]
    Lost {
        /// Its address.
        at: String,
        /// What happened.
        reason: String,
    },
    /// The agent refused.
    #[error("the agent refused: {message}")]
    Refused {
        /// JSON-RPC's number; 0 where the answer had none.
        code: i64,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The answer is none of A2A.
    #[error("the agent gave an answer that cannot be read: {0}")]
    Malformed(String),
}

impl A2aError {
    /// Whether the agent said that it does not know the task.
    #[must_use]
    pub fn is_no_task(&self) -> bool {
        matches!(self, Self::Refused { code: -32001, .. })
    }

    /// Whether the same request may be answered later: no connection, overload, a fault on the way.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotReached { .. } | Self::Lost { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Malformed(_) => false,
        }
    }

    /// Whether the request cannot have been carried out.
    #[must_use]
    pub fn is_not_done(&self) -> bool {
        matches!(self, Self::NotReached { .. } | Self::Refused { .. })
    }
}

/// What is at the address of a card.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// It is as it was.
    Same,
    /// A card, and the tag with which it is asked for again.
    Card(Value, Option<String>),
}

/// An agent of somebody else's. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    http: reqwest::Client,
    url: Url,
    dialect: Dialect,
    tenant: Option<String>,
    token: Option<String>,
}

/// How long a connection that nobody uses is kept: shorter than agents keep it, so that none is used while its agent closes it.
const KEPT: Duration = Duration::from_secs(2);

/// One client for all agents of this machine, and one for all others: making one costs as much as a request.
fn http_for(url: &Url) -> Result<reqwest::Client, A2aError> {
    static LOCAL: OnceLock<reqwest::Client> = OnceLock::new();
    static LOCAL_TLS: OnceLock<reqwest::Client> = OnceLock::new();
    static OTHERS: OnceLock<reqwest::Client> = OnceLock::new();
    let kept = match (http::is_loopback(url), url.scheme()) {
        (true, "https") => &LOCAL_TLS,
        (true, _) => &LOCAL,
        (false, _) => &OTHERS,
    };
    if let Some(http) = kept.get() {
        return Ok(http.clone());
    }
    let http = http::builder(url).redirect(Policy::none()).connect_timeout(CONNECT).tcp_nodelay(true).pool_idle_timeout(KEPT);
    let http = http.user_agent(concat!("muster/", env!("CARGO_PKG_VERSION"))).build();
    let http = http.map_err(|e| A2aError::NotReached { at: url.to_string(), reason: innermost(&e) })?;
    Ok(kept.get_or_init(|| http).clone())
}

/// Reads the card at exactly this address; `known` is the tag of the one that is had.
///
/// # Errors
/// [`A2aError`]; a redirect, an answer that is no JSON object, or too large.
pub async fn fetch_card(url: &Url, token: Option<&str>, known: Option<&str>) -> Result<Fetched, A2aError> {
    let mut request = http_for(url)?.get(url.clone()).timeout(SHORT).header("a2a-version", "1.0");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(tag) = known {
        request = request.header(IF_NONE_MATCH, tag);
    }
    let response = request.send().await.map_err(|e| broken(url, &e))?;
    if response.status().as_u16() == 304 {
        return Ok(Fetched::Same);
    }
    let response = well_answered(response, url).await?;
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let body = read(response, url, LARGEST_CARD).await?;
    match serde_json::from_slice(&body) {
        Ok(card @ Value::Object(_)) => Ok(Fetched::Card(card, tag)),
        Ok(_) => Err(A2aError::Malformed(format!("{url} is JSON and no object"))),
        Err(e) => Err(A2aError::Malformed(format!("{url} is no JSON: {e}"))),
    }
}

impl Agent {
    /// The agent at `url`, which is spoken to in `dialect` and shown `token` as a bearer token.
    ///
    /// # Errors
    /// If no connection can be prepared.
    pub fn new(url: Url, dialect: Dialect, tenant: Option<String>, token: Option<String>) -> Result<Self, A2aError> {
        Ok(Self { http: http_for(&url)?, url, dialect, tenant, token })
    }

    /// `SendMessage`, answered at once where the agent does as asked. `wait` is how long it may take where it does not.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn send(&self, request: SendMessageRequest, wait: Duration) -> Result<SendMessageResponse, A2aError> {
        let response = self.ask("SendMessage", &self.sent(request), Some(wait)).await?;
        if self.dialect == Dialect::OldRpc {
            return Ok(match self.result::<v03::SendResult>(response).await? {
                v03::SendResult::Task(task) => SendMessageResponse::Task(task.into()),
                v03::SendResult::Message(message) => SendMessageResponse::Message(message.into()),
            });
        }
        self.result(response).await
    }

    /// `SendStreamingMessage`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn stream(&self, request: SendMessageRequest) -> Result<Events, A2aError> {
        self.events(self.ask("SendStreamingMessage", &self.sent(request), None).await?).await
    }

    /// `GetTask`, without the history.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn task(&self, id: &str) -> Result<Task, A2aError> {
        let params = json!(GetTaskRequest { tenant: self.tenant.clone(), id: id.to_owned(), history_length: Some(1) });
        self.task_of(self.ask("GetTask", &params, Some(SHORT)).await?).await
    }

    /// `CancelTask`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn cancel(&self, id: &str) -> Result<Task, A2aError> {
        let params = json!(CancelTaskRequest { tenant: self.tenant.clone(), id: id.to_owned(), ..CancelTaskRequest::default() });
        self.task_of(self.ask("CancelTask", &params, Some(SHORT)).await?).await
    }

    /// `SubscribeToTask`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn subscribe(&self, id: &str) -> Result<Events, A2aError> {
        let params = json!(SubscribeRequest { tenant: self.tenant.clone(), id: id.to_owned() });
        self.events(self.ask("SubscribeToTask", &params, None).await?).await
    }

    /// `GetExtendedAgentCard`: what the agent answers, in its version.
    ///
    /// # Errors
    /// [`A2aError`].
    pub async fn extended_card(&self) -> Result<Value, A2aError> {
        let params = if self.dialect == Dialect::OldRpc { Value::Null } else { json!({ "tenant": self.tenant }) };
        self.result(self.ask("GetExtendedAgentCard", &params, Some(SHORT)).await?).await
    }

    /// The parameters of a message as the agent's version spells them.
    fn sent(&self, request: SendMessageRequest) -> Value {
        if self.dialect != Dialect::OldRpc {
            return json!(SendMessageRequest { tenant: self.tenant.clone(), ..request });
        }
        let blocking = request.configuration.as_ref().map(|configuration| !configuration.return_immediately);
        let message: Message = request.message;
        json!(v03::MessageSendParams {
            message: message.into(),
            configuration: Some(v03::MessageSendConfiguration { blocking, ..v03::MessageSendConfiguration::default() }),
            metadata: Some(request.metadata).filter(|metadata| !metadata.is_empty()),
        })
    }

    async fn task_of(&self, response: Response) -> Result<Task, A2aError> {
        match self.dialect {
            Dialect::OldRpc => self.result::<v03::Task>(response).await.map(Into::into),
            _ => self.result(response).await,
        }
    }

    async fn events(&self, response: Response) -> Result<Events, A2aError> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return Ok(Events::new(response, self.dialect, self.url.clone()));
        }
        // JSON-RPC refuses with 200 and a plain answer.
        let kind = kind.to_owned();
        self.result::<Value>(response).await?;
        Err(A2aError::Malformed(format!("it was asked for a stream and sent `{}`", kind.chars().take(SHOWN).collect::<String>())))
    }

    async fn ask(&self, operation: &str, params: &Value, limit: Option<Duration>) -> Result<Response, A2aError> {
        let mut request = self.request(operation, params)?.header("a2a-version", self.dialect.version());
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|e| broken(&self.url, &e))?;
        well_answered(response, &self.url).await
    }

    fn request(&self, operation: &str, params: &Value) -> Result<RequestBuilder, A2aError> {
        if self.dialect != Dialect::Rest {
            let method = if self.dialect == Dialect::Rpc { operation } else { old_method(operation) };
            let mut body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
            if params.is_null() {
                body.as_object_mut().map(|body| body.remove("params"));
            }
            let accept = "application/json, text/event-stream";
            return Ok(self.http.post(self.url.clone()).header("accept", accept).json(&body));
        }
        let id = params.get("id").and_then(Value::as_str).unwrap_or_default();
        let (method, last) = match operation {
            "SendMessage" => (Method::POST, "message:send".to_owned()),
            "SendStreamingMessage" => (Method::POST, "message:stream".to_owned()),
            "CancelTask" => (Method::POST, format!("{id}:cancel")),
            "SubscribeToTask" => (Method::GET, format!("{id}:subscribe")),
            "GetExtendedAgentCard" => (Method::GET, "extendedAgentCard".to_owned()),
            _ => (Method::GET, id.to_owned()),
        };
        let mut url = self.url.clone();
        let cannot = || A2aError::NotReached { at: self.url.to_string(), reason: "the address takes no path".to_owned() };
        let mut path = url.path_segments_mut().map_err(|()| cannot())?;
        path.pop_if_empty().extend(self.tenant.as_deref().filter(|tenant| !tenant.is_empty()));
        if matches!(operation, "GetTask" | "CancelTask" | "SubscribeToTask") {
            path.push("tasks");
        }
        path.push(&last);
        drop(path);
        let request = self.http.request(method.clone(), url);
        Ok(if method == Method::POST { request.json(params) } else { request })
    }

    async fn result<T: DeserializeOwned>(&self, response: Response) -> Result<T, A2aError> {
        let body = read(response, &self.url, LARGEST).await?;
        let value = serde_json::from_slice(&body).map_err(|e| A2aError::Malformed(format!("it is no JSON: {e}")))?;
        result_of(value, self.dialect)
    }
}

/// What an answer, or an event of a stream, holds.
fn result_of<T: DeserializeOwned>(value: Value, dialect: Dialect) -> Result<T, A2aError> {
    let malformed = |e: serde_json::Error| A2aError::Malformed(e.to_string());
    if dialect == Dialect::Rest {
        return serde_json::from_value(value).map_err(malformed);
    }
    let answer: RpcResponse = serde_json::from_value(value).map_err(malformed)?;
    match (answer.result, answer.error) {
        (_, Some(error)) => Err(A2aError::Refused { code: error.code, status: 200, message: short(&error.message) }),
        (Some(result), None) => serde_json::from_value(result).map_err(malformed),
        (None, None) => Err(A2aError::Malformed("it has neither a result nor an error".to_owned())),
    }
}

fn old_method(operation: &str) -> &'static str {
    match operation {
        "SendMessage" => "message/send",
        "SendStreamingMessage" => "message/stream",
        "CancelTask" => "tasks/cancel",
        "SubscribeToTask" => "tasks/resubscribe",
        "GetExtendedAgentCard" => "agent/getAuthenticatedExtendedCard",
        _ => "tasks/get",
    }
}

fn broken(url: &Url, error: &reqwest::Error) -> A2aError {
    let (at, reason) = (url.to_string(), if error.is_timeout() { "it did not answer in time".to_owned() } else { innermost(error) });
    if error.is_connect() || error.is_builder() { A2aError::NotReached { at, reason } } else { A2aError::Lost { at, reason } }
}

/// Turns every status but 2xx into a refusal. A redirect is one: nobody is sent elsewhere.
async fn well_answered(response: Response, url: &Url) -> Result<Response, A2aError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another address");
        let message = format!("{url} redirects to {}, which is not followed", short(to));
        return Err(A2aError::Refused { code: 0, status: status.as_u16(), message });
    }
    let body = read(response, url, LARGEST_CARD).await.unwrap_or_default();
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &said["error"];
    let reason = error["details"].as_array().and_then(|details| details.iter().find_map(|detail| detail["reason"].as_str()));
    let of_reason = || ErrorKind::ALL.into_iter().find(|kind| reason == Some(kind.reason())).map(ErrorKind::rpc_code);
    let code = error["code"].as_i64().filter(|code| *code < 0).or_else(of_reason);
    let message = error["message"].as_str().map_or_else(|| format!("{url} answered {status}"), short);
    Err(A2aError::Refused { code: code.unwrap_or_default(), status: status.as_u16(), message })
}

async fn read(mut response: Response, url: &Url, most: usize) -> Result<Vec<u8>, A2aError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| broken(url, &e))? {
        if body.len() + chunk.len() > most {
            return Err(A2aError::Malformed(format!("{url} answers more than {} KiB", most >> 10)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
