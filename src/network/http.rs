//! How servers speak to each other: small JSON requests, and one long answer.

use muster_protocol::error::ErrorBody;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::LazyLock;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a short answer may take: the other side may call back meanwhile.
const SHORT: Duration = Duration::from_secs(8);
/// The largest short answer, in bytes.
const LARGEST: usize = 4 << 20;
/// How much of what somebody says is shown.
const SHOWN: usize = 200;

/// Why a server did not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PeerError {
    /// It was not reached, or the connection broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// What is there is no Muster server, or one that says something else.
    #[error("what answers there is no server of Muster: {0} (an A2A agent is added with `muster agents add`)")]
    NotMuster(String),
    /// It refused.
    #[error("{message}")]
    Refused {
        /// Its stable code.
        code: String,
        /// What it said.
        message: String,
    },
    /// It says what cannot be.
    #[error("{0}")]
    Fault(String),
}

/// No redirects, and no proxy: a peer is where it says.
static HTTP: LazyLock<Result<Client, String>> = LazyLock::new(|| {
    let tls = muster_protocol::client::http::trusting();
    let http =
        Client::builder().tls_backend_preconfigured(tls).redirect(Policy::none()).connect_timeout(CONNECT).tcp_nodelay(true).no_proxy();
    // Idle connections are not kept: to a peer that went away they would be tried first.
    let http = http.pool_idle_timeout(Duration::from_secs(20)).user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
    http.build().map_err(|error| error.to_string())
});

fn http() -> Result<&'static Client, PeerError> {
    HTTP.as_ref().map_err(|reason| PeerError::Unreachable(reason.clone()))
}

pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

fn innermost(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    if error.is_timeout() { "it did not answer in time".to_owned() } else { source.to_string() }
}

/// Asks, and reads the answer.
pub(super) async fn post<T: DeserializeOwned>(url: &str, path: &str, token: Option<&str>, body: &impl Serialize) -> Result<T, PeerError> {
    let mut request = http()?.post(format!("{url}{path}")).timeout(SHORT).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    read(request.send().await).await
}

/// Asks, and reads the answer.
pub(super) async fn get<T: DeserializeOwned>(url: &str, path: &str, token: &str, query: &[(&str, &str)]) -> Result<T, PeerError> {
    let request = http()?.get(format!("{url}{path}")).timeout(SHORT).query(query).bearer_auth(token);
    read(request.send().await).await
}

/// Opens a long answer.
pub(super) async fn open(url: &str, path: &str, token: &str, query: &[(&str, &str)]) -> Result<Response, PeerError> {
    let request = http()?.get(format!("{url}{path}")).query(query).bearer_auth(token).send();
    let response = tokio::time::timeout(SHORT, request).await;
    let response = response.map_err(|_| PeerError::Unreachable("it did not answer in time".to_owned()))?;
    let response = response.map_err(|error| PeerError::Unreachable(innermost(&error)))?;
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
}

async fn read<T: DeserializeOwned>(response: reqwest::Result<Response>) -> Result<T, PeerError> {
    let response = response.map_err(|error| PeerError::Unreachable(innermost(&error)))?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let body = bytes(response).await?;
    serde_json::from_slice(&body).map_err(|_| not_muster(&body))
}

async fn refusal(response: Response) -> PeerError {
    let status = response.status();
    match bytes(response).await {
        Ok(body) => match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => PeerError::Refused { code: shown(&body.error.code), message: shown(&body.error.message) },
            Err(_) => PeerError::NotMuster(format!("it answers {status}")),
        },
        Err(error) => error,
    }
}

fn not_muster(body: &[u8]) -> PeerError {
    PeerError::NotMuster(format!("it says \"{}\"", shown(&String::from_utf8_lossy(&body[..body.len().min(80)]))))
}

/// The body, if it is not too large.
async fn bytes(mut response: Response) -> Result<Vec<u8>, PeerError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| PeerError::Unreachable(innermost(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err(PeerError::Fault(format!("it answers more than {} MiB", LARGEST >> 20)));
        }
    }
    Ok(body)
}

/// The lines of a long answer; none when it ends.
pub(super) struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// Up to where the buffer was searched for the end of a line.
    searched: usize,
}

/// The longest line, in bytes.
const LONGEST_LINE: usize = 4 << 20;

impl Lines {
    pub(super) fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new(), searched: 0 }
    }

    /// All whole lines that are there, at least one; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, PeerError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().rposition(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                let whole = std::mem::replace(&mut self.buffer, rest);
                self.searched = self.buffer.len();
                let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                return Ok(Some(lines.map(<[u8]>::to_vec).collect()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LONGEST_LINE {
                return Err(PeerError::Fault(format!("it sent a line of more than {} MiB", LONGEST_LINE >> 20)));
            }
            match self.response.chunk().await.map_err(|error| PeerError::Unreachable(innermost(&error)))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
