//! A small agent of somebody else's: it serves the card that a case wants, and answers what is said to it in the dialect of that card.

use anyhow::Result;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// It ends when it is dropped.
pub(super) struct CardServer {
    address: SocketAddr,
    shared: Arc<Mutex<Wanted>>,
    _running: DropGuard,
}

#[derive(Default)]
struct Wanted {
    card: Option<Value>,
    redirect: Option<&'static str>,
    token: Option<&'static str>,
    asked: usize,
}

impl CardServer {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Wanted::default()));
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let token = CancellationToken::new();
        let end = token.clone();
        tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(end.cancelled_owned()).await });
        Ok(Self { address, shared, _running: token.drop_guard() })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A card that is right.
    pub(super) fn card(&self, name: &str, binding: &str, version: &str) -> Value {
        card_at(&self.url(), name, binding, version)
    }

    pub(super) fn put(&self, card: Value) {
        self.change(|wanted| (wanted.card, wanted.redirect) = (Some(card), None));
    }

    pub(super) fn redirect(&self, to: &'static str) {
        self.change(|wanted| wanted.redirect = Some(to));
    }

    /// From now on this token is wanted.
    pub(super) fn demand(&self, token: &'static str) {
        self.change(|wanted| wanted.token = Some(token));
    }

    /// How many messages came.
    pub(super) fn asked(&self) -> usize {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The card of an agent at `url`, in the form of its version.
pub(super) fn card_at(url: &str, name: &str, binding: &str, version: &str) -> Value {
    let mut card = json!({
        "name": name, "description": "Plans", "version": "1.0.0", "capabilities": { "streaming": false },
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{ "id": "plan", "name": "Plan", "description": "Makes plans", "tags": ["plan"] }],
    });
    if version.starts_with("0.") {
        (card["url"], card["preferredTransport"], card["protocolVersion"]) = (json!(url), json!(binding), json!("0.3.0"));
    } else {
        card["supportedInterfaces"] = json!([{ "url": url, "protocolBinding": binding, "protocolVersion": version }]);
    }
    card
}

async fn answer(State(shared): State<Arc<Mutex<Wanted>>>, request: Request) -> Response {
    let is_card = request.uri().path().contains(".well-known");
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let mut wanted = shared.lock().unwrap_or_else(PoisonError::into_inner);
    wanted.asked += usize::from(!is_card);
    if wanted.token.is_some_and(|token| shown != Some(format!("Bearer {token}"))) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(to) = wanted.redirect {
        return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    }
    if is_card {
        return match &wanted.card {
            Some(card) if path.ends_with("agent-card.json") => Json(card.clone()).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    drop(wanted);
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = call["params"]["message"]["parts"][0]["text"].as_str().unwrap_or_default();
    let text = format!("you said: {said}");
    // A bare message: the shortest answer that A2A knows.
    let result = match call["method"].as_str() {
        Some("message/send") => {
            json!({ "kind": "message", "messageId": "m", "role": "agent", "parts": [{ "kind": "text", "text": text }], "contextId": "c" })
        }
        _ => json!({ "message": { "messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": text }], "contextId": "c" } }),
    };
    Json(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })).into_response()
}
