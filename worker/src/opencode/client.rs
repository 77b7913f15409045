//! The calls of OpenCode's HTTP API (v1) that a worker needs. Only the fields used are read, the rest is ignored.

mod sessions;

pub use sessions::{Listed, ListedTime, MessagePage};

use super::events::{MessageInfo, Part, PermissionRequest, QuestionRequest};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// What a request may take: OpenCode may never answer one.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What the first request in a directory may take: OpenCode loads its configuration and plugins before it answers.
const FIRST_TIMEOUT: Duration = Duration::from_secs(90);
/// How many messages are read at once.
const PAGE: usize = 50;

/// What can come of a call besides its answer.
#[derive(Debug, thiserror::Error)]
pub enum OpenCodeError {
    /// No connection, or it took too long.
    #[error("OpenCode does not answer: {0}")]
    Unreachable(String),
    /// An answer other than success.
    #[error("OpenCode answered {status} to {path}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was asked.
        path: String,
        /// What it said, cut.
        message: String,
    },
    /// An answer that cannot be read.
    #[error("OpenCode gave an answer to {path} that cannot be read: {reason}")]
    Malformed {
        /// What was asked.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl OpenCodeError {
    /// Whether the thing asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        // An unknown id with an unexpected shape is a 400.
        matches!(self, Self::Refused { status: 400 | 404, .. })
    }
}

/// A session.
#[derive(Debug, Clone, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Its directory.
    #[serde(default)]
    pub directory: String,
    /// What was given when it was made.
    #[serde(default)]
    pub metadata: Value,
}

/// A message with its parts.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// The message.
    pub info: MessageInfo,
    /// Its parts.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// A prompt.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The id of its message: the same one again does nothing.
    pub message_id: String,
    /// The id of its part.
    pub part_id: String,
    /// OpenCode's agent.
    pub mode: String,
    /// Provider and model.
    pub model: Option<(String, String)>,
    /// What to do.
    pub text: String,
}

/// One change of `GET /session/S/diff`.
#[derive(Debug, Clone, Deserialize)]
pub struct Diff {
    /// The file.
    pub file: String,
    /// As a unified diff.
    #[serde(default)]
    pub patch: Option<String>,
    /// Lines added.
    #[serde(default)]
    pub additions: f64,
    /// Lines removed.
    #[serde(default)]
    pub deletions: f64,
    /// `added`, `modified`, `deleted`.
    #[serde(default)]
    pub status: Option<String>,
}

/// A connection to one `opencode serve`. Cheap to clone.
#[derive(Clone)]
pub struct OpenCodeClient {
    http: reqwest::Client,
    base: String,
    password: SecretString,
}

impl OpenCodeClient {
    /// A client for the server at `base` (`http://127.0.0.1:PORT`).
    ///
    /// # Errors
    /// [`OpenCodeError::Unreachable`] if no client can be made.
    pub fn new(base: &str, password: SecretString) -> Result<Self, OpenCodeError> {
        let http = muster_protocol::client::http::local().tcp_nodelay(true).connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|e| OpenCodeError::Unreachable(e.to_string()))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), password })
    }

    /// The version that answers.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn version(&self) -> Result<String, OpenCodeError> {
        let health: Value =
            self.read(self.request(Method::GET, "/global/health").timeout(Duration::from_secs(5)), "/global/health").await?;
        Ok(health["version"].as_str().unwrap_or("unknown").to_owned())
    }

    /// The event stream.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn events(&self) -> Result<Response, OpenCodeError> {
        let path = "/global/event";
        let request = self.http.get(format!("{}{path}", self.base)).basic_auth("opencode", Some(self.password.expose_secret()));
        let response = tokio::time::timeout(TIMEOUT, request.send()).await;
        let response = response.map_err(|_| OpenCodeError::Unreachable("no answer in time".to_owned()))?;
        check(response.map_err(|e| unreachable(&e))?, path).await
    }

    /// `GET /config/providers`: the usable providers. The answer has keys in clear: pick fields.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn providers(&self, directory: &str) -> Result<Value, OpenCodeError> {
        self.first("/config/providers", directory).await
    }

    /// The model that the configuration names.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn configured_model(&self, directory: &str) -> Result<Option<String>, OpenCodeError> {
        let config: Value = self.first("/config", directory).await?;
        Ok(config["model"].as_str().map(str::to_owned))
    }

    /// `GET /agent`: names and kinds of OpenCode's agents.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn agents(&self, directory: &str) -> Result<Value, OpenCodeError> {
        self.first("/agent", directory).await
    }

    /// Makes a session. It has a title, so that no model is asked for one.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn create_session(&self, directory: &str, title: &str, metadata: Value) -> Result<Session, OpenCodeError> {
        let path = "/session";
        let request = self.request(Method::POST, path).query(&[("directory", directory)]);
        self.read(request.json(&json!({"title": title, "metadata": metadata})), path).await
    }

    /// Looks a session up.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn session(&self, session: &str) -> Result<Session, OpenCodeError> {
        self.get(&format!("/session/{session}"), &[]).await
    }

    /// Gives a prompt; answers at once.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn prompt(&self, session: &str, prompt: &Prompt) -> Result<(), OpenCodeError> {
        let mut body = json!({
            "messageID": prompt.message_id,
            "agent": prompt.mode,
            "parts": [{"id": prompt.part_id, "type": "text", "text": prompt.text}],
        });
        if let Some((provider, model)) = &prompt.model {
            body["model"] = json!({"providerID": provider, "modelID": model});
        }
        self.call(Method::POST, &format!("/session/{session}/prompt_async"), &[], &body).await
    }

    /// Aborts what a session does; fine if it does nothing.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn abort(&self, session: &str) -> Result<(), OpenCodeError> {
        self.call(Method::POST, &format!("/session/{session}/abort"), &[], &json!({})).await
    }

    /// The sessions of a directory that do something.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn statuses(&self, directory: &str) -> Result<HashMap<String, Value>, OpenCodeError> {
        self.get("/session/status", &[("directory", directory)]).await
    }

    /// A message with its parts.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn message(&self, session: &str, message: &str) -> Result<Message, OpenCodeError> {
        self.get(&format!("/session/{session}/message/{message}"), &[]).await
    }

    /// The newest messages of a session, oldest first.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn newest_messages(&self, session: &str, count: usize) -> Result<Vec<Message>, OpenCodeError> {
        self.get(&format!("/session/{session}/message"), &[("limit", &count.to_string())]).await
    }

    /// The messages of a session from `message` on, oldest first; `None` if it is not among the newest `most`.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn messages_from(&self, session: &str, message: &str, most: usize) -> Result<Option<Vec<Message>>, OpenCodeError> {
        let path = format!("/session/{session}/message");
        let mut before: Option<String> = None;
        let mut pages: Vec<Message> = Vec::new();
        loop {
            let limit = PAGE.to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(before.as_deref().map(|cursor| ("before", cursor)));
            let response = self.request(Method::GET, &path).query(&query).send().await.map_err(|e| unreachable(&e))?;
            let response = check(response, &path).await?;
            let next = response.headers().get("x-next-cursor").and_then(|cursor| cursor.to_str().ok()).map(str::to_owned);
            let mut page: Vec<Message> = decode(response, &path).await?;
            page.append(&mut pages);
            pages = page;
            if let Some(at) = pages.iter().position(|known| known.info.id == message) {
                return Ok(Some(pages.split_off(at)));
            }
            if next.is_none() || next == before || pages.len() >= most {
                return Ok(None);
            }
            before = next;
        }
    }

    /// The sessions that a session has made.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn children(&self, session: &str) -> Result<Vec<Session>, OpenCodeError> {
        self.get(&format!("/session/{session}/children"), &[]).await
    }

    /// What a prompt has changed in its directory.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn diff(&self, session: &str, message: &str) -> Result<Vec<Diff>, OpenCodeError> {
        self.get(&format!("/session/{session}/diff"), &[("messageID", message)]).await
    }

    /// Permissions asked for in a directory.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn permissions(&self, directory: &str) -> Result<Vec<PermissionRequest>, OpenCodeError> {
        self.get("/permission", &[("directory", directory)]).await
    }

    /// Questions asked in a directory.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn questions(&self, directory: &str) -> Result<Vec<QuestionRequest>, OpenCodeError> {
        self.get("/question", &[("directory", directory)]).await
    }

    /// `POST /permission/{id}/reply`. A refusal with a message is told to the model, which goes on; without one the run ends.
    ///
    /// # Errors
    /// [`OpenCodeError`]; 404 if it does not wait for an answer any more.
    pub async fn reply_permission(&self, directory: &str, request: &str, reply: &str, message: Option<&str>) -> Result<(), OpenCodeError> {
        let mut body = json!({"reply": reply});
        if let Some(message) = message {
            body["message"] = message.into();
        }
        self.call(Method::POST, &format!("/permission/{request}/reply"), &[("directory", directory)], &body).await
    }

    /// `POST /question/{id}/reply`: for each question the chosen labels or words.
    ///
    /// # Errors
    /// [`OpenCodeError`]; 404 if it does not wait for an answer any more.
    pub async fn answer_question(&self, directory: &str, request: &str, answers: &[Vec<String>]) -> Result<(), OpenCodeError> {
        self.call(Method::POST, &format!("/question/{request}/reply"), &[("directory", directory)], &json!({"answers": answers})).await
    }

    /// `POST /question/{id}/reject`: the run ends.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn reject_question(&self, directory: &str, request: &str) -> Result<(), OpenCodeError> {
        self.call(Method::POST, &format!("/question/{request}/reject"), &[("directory", directory)], &json!({})).await
    }

    /// Aborts and stores every run, and kills its tools: to be called before the process is ended.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn dispose(&self) -> Result<(), OpenCodeError> {
        let path = "/global/dispose";
        let request = self.request(Method::POST, path).timeout(Duration::from_secs(5)).json(&json!({}));
        check(request.send().await.map_err(|e| unreachable(&e))?, path).await.map(drop)
    }

    async fn first<T: DeserializeOwned>(&self, path: &str, directory: &str) -> Result<T, OpenCodeError> {
        self.read(self.request(Method::GET, path).query(&[("directory", directory)]).timeout(FIRST_TIMEOUT), path).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, OpenCodeError> {
        self.read(self.request(Method::GET, path).query(query), path).await
    }

    async fn call(&self, method: Method, path: &str, query: &[(&str, &str)], body: &Value) -> Result<(), OpenCodeError> {
        let response = self.request(method, path).query(query).json(body).send().await.map_err(|e| unreachable(&e))?;
        check(response, path).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .basic_auth("opencode", Some(self.password.expose_secret()))
            .timeout(TIMEOUT)
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder, path: &str) -> Result<T, OpenCodeError> {
        decode(check(request.send().await.map_err(|e| unreachable(&e))?, path).await?, path).await
    }
}

async fn decode<T: DeserializeOwned>(response: Response, path: &str) -> Result<T, OpenCodeError> {
    let body = response.bytes().await.map_err(|e| unreachable(&e))?;
    serde_json::from_slice(&body).map_err(|e| OpenCodeError::Malformed { path: path.to_owned(), reason: e.to_string() })
}

async fn check(response: Response, path: &str) -> Result<Response, OpenCodeError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    let message = match serde_json::from_slice::<Value>(&body) {
        Ok(error) => super::error::from_opencode(&error).message,
        Err(_) => reason(status).to_owned(),
    };
    Err(OpenCodeError::Refused { status: status.as_u16(), path: path.to_owned(), message })
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

fn unreachable(error: &reqwest::Error) -> OpenCodeError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    OpenCodeError::Unreachable(if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() })
}
