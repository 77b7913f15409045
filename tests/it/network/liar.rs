//! A server that speaks as those of Muster do, and says what a case wants.

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use muster::network::NetworkKey;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Hello, VERSION};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use uuid::Uuid;

/// What it says, and how often it was asked.
pub(super) struct Liar {
    pub(super) id: ServerId,
    pub(super) name: String,
    pub(super) url: String,
    said: Arc<Said>,
    serving: AbortHandle,
}

struct Said {
    id: ServerId,
    name: String,
    url: String,
    /// What is sent after the beginning of a feed; none: nothing at all is, not even a beginning.
    feed: Option<Vec<String>>,
    /// What is answered when somebody misses events; none: an error.
    missing: Mutex<Option<Value>>,
    readings: AtomicUsize,
}

impl Liar {
    /// One whose feed has these lines, told as they are.
    pub(super) async fn start(name: &str, lines: impl FnOnce(ServerId) -> Option<Vec<String>>) -> Result<Self> {
        Self::start_as(ServerId(Uuid::new_v4()), name, lines).await
    }

    /// One that claims to be somebody.
    pub(super) async fn start_as(id: ServerId, name: &str, lines: impl FnOnce(ServerId) -> Option<Vec<String>>) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let missing = Mutex::new(Some(json!([])));
        let said = Said { id, name: name.to_owned(), url: url.clone(), feed: lines(id), missing, readings: AtomicUsize::new(0) };
        let said = Arc::new(said);
        let app = axum::Router::new()
            .route("/v1/network/hello", post(hello))
            .route("/v1/network/callback", post(callback))
            .route("/v1/network/feed", get(feed))
            .route("/v1/network/events", get(events))
            .with_state(Arc::clone(&said));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
        Ok(Self { id, name: name.to_owned(), url, said, serving })
    }

    /// What it answers from now on to who misses events; none: an error.
    pub(super) fn answer_missing(&self, events: Option<Value>) {
        *self.said.missing.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }

    /// How often its feed was read from the beginning.
    pub(super) fn readings(&self) -> usize {
        self.said.readings.load(Ordering::SeqCst)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The epoch of all of them.
pub(super) const EPOCH: &str = "lies";

/// A line with an event of a server.
pub(super) fn line(origin: ServerId, epoch: &str, number: u64, place: u64) -> String {
    format!("{}\n", json!({ "event": event(origin, epoch, number, place) }))
}

pub(super) fn event(origin: ServerId, epoch: &str, number: u64, place: u64) -> Value {
    json!({
        "specversion": "1.0", "id": Uuid::new_v4(), "source": format!("/servers/{origin}"), "type": "server.lied", "subject": "lies",
        "time": "2026-01-01T00:00:00.000Z", "datacontenttype": "application/json", "data": {}, "sequence": place,
        "origin": origin, "epoch": epoch, "originseq": number
    })
}

/// That all is told up to a place.
pub(super) fn told(place: u64) -> String {
    format!("{}\n", json!({ "told": { "epoch": EPOCH, "sequence": place } }))
}

async fn hello(State(said): State<Arc<Said>>, Json(asked): Json<Hello>) -> Json<Value> {
    let proof = NetworkKey::new(None).proof("welcome", said.id, &asked.challenge);
    Json(json!({
        "protocol": VERSION, "server_id": said.id, "name": said.name, "epoch": EPOCH, "url": said.url, "version": "0", "proof": proof,
        "challenge": asked.challenge, "reached": true, "place": { "epoch": "", "sequence": 0 }
    }))
}

async fn callback(State(said): State<Arc<Said>>) -> Json<Value> {
    Json(json!({ "server_id": said.id, "epoch": EPOCH, "is_mine": true }))
}

async fn events(State(said): State<Arc<Said>>) -> Response {
    match said.missing.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        Some(events) => Json(events).into_response(),
        None => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn feed(State(said): State<Arc<Said>>) -> Response {
    said.readings.fetch_add(1, Ordering::SeqCst);
    let Some(lines) = said.feed.clone() else {
        return Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response();
    };
    let begin = format!("{}\n", json!({ "begin": { "place": { "epoch": EPOCH, "sequence": 0 } } }));
    let state = json!({ "state": { "name": said.name, "url": said.url, "version": "0", "agents": [] } });
    let last = told(lines.len() as u64 + 100);
    let first = [begin, format!("{state}\n")].into_iter().chain(lines).chain([last.clone()]);
    let signs = stream::unfold(last, |last| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((last.clone(), last))
    });
    Body::from_stream(stream::iter(first).chain(signs).map(Ok::<_, Infallible>)).into_response()
}
