//! A receiver of webhooks: it keeps what arrives and answers as it was told to.

use super::wait::wait_for;
use anyhow::{Context as _, Result};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;

/// The largest body that is read.
const MOST: usize = 64 << 20;

/// What arrived.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) at: Instant,
    /// Whether it was answered with 200.
    pub(crate) taken: bool,
}

/// An answer other than 200.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// A status and a header.
    With(u16, &'static str, String),
    /// None, as long as the receiver lives.
    Never,
}

#[derive(Default)]
struct Book {
    got: HashMap<String, Vec<Got>>,
    replies: HashMap<String, VecDeque<Reply>>,
}

/// A receiver on a port of this machine, running or not. Webhooks are told apart by their paths.
pub(crate) struct Receiver {
    port: u16,
    /// Its port, taken and not listened on, until it is started.
    held: Option<TcpSocket>,
    book: Arc<Mutex<Book>>,
    running: Option<AbortHandle>,
}

impl Receiver {
    /// One that is not started yet.
    pub(crate) fn new() -> Result<Self> {
        let held = TcpSocket::new_v4()?;
        held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { port: held.local_addr()?.port(), held: Some(held), book: Arc::default(), running: None })
    }

    /// One that runs.
    pub(crate) fn start() -> Result<Self> {
        let mut receiver = Self::new()?;
        receiver.begin()?;
        Ok(receiver)
    }

    /// Starts it.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let listener = self.held.take().context("it was started before")?.listen(1_024)?;
        let app = axum::Router::new().fallback(take).with_state(Arc::clone(&self.book));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        self.running = Some(serving.abort_handle());
        Ok(())
    }

    /// The address of a webhook.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How the next requests to a path are answered; those after them with 200.
    pub(crate) fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.book().replies.entry(path.to_owned()).or_default().extend(replies);
    }

    /// All that arrived at a path.
    pub(crate) fn tries(&self, path: &str) -> Vec<Got> {
        self.book().got.get(path).cloned().unwrap_or_default()
    }

    /// What was taken at a path.
    pub(crate) fn taken(&self, path: &str) -> Vec<Value> {
        self.tries(path).into_iter().filter(|got| got.taken).map(|got| got.body).collect()
    }

    /// What was taken at a path, once the last of it is what is waited for.
    pub(crate) async fn until(&self, path: &str, is_last: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let waited = wait_for("a webhook to be told", Duration::from_mins(1), async || {
            Ok(Some(self.taken(path)).filter(|taken| taken.last().is_some_and(&is_last)))
        });
        waited.await.map_err(|error| error.context(format!("{path} was told {:#?}", self.tries(path))))
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

async fn take(State(book): State<Arc<Mutex<Book>>>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let is_post = request.method() == "POST";
    let body = axum::body::to_bytes(request.into_body(), MOST).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let reply = {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = book.replies.get_mut(&path).and_then(VecDeque::pop_front);
        let taken = is_post && reply.is_none();
        book.got.entry(path).or_default().push(Got { headers, body, at: Instant::now(), taken });
        reply
    };
    let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    match reply {
        None => StatusCode::OK.into_response(),
        Some(Reply::Status(code)) => status(code).into_response(),
        Some(Reply::With(code, name, value)) => (status(code), [(name, value)]).into_response(),
        Some(Reply::Never) => std::future::pending().await,
    }
}
