//! A small agent of somebody else's: it serves the card that a case wants, and answers what is said to it in the dialect of that card.

use anyhow::Result;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
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
    /// The extended card, or JSON-RPC's code of the refusal.
    extended: Option<Result<Value, i64>>,
    /// It takes messages and answers none, as long as its callers hold on.
    mute: bool,
    /// A message without a task makes one that asks; it can be canceled.
    asks: bool,
    asked: usize,
    /// How many callers it keeps waiting.
    kept: Arc<()>,
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

    pub(super) fn port(&self) -> u16 {
        self.address.port()
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

    /// What it answers to whoever wants its extended card: that, or a refusal with this code.
    pub(super) fn extend(&self, extended: Result<Value, i64>) {
        self.change(|wanted| wanted.extended = Some(extended));
    }

    /// From now on a message makes a task that asks something, and what is answered to that is not answered.
    pub(super) fn ask(&self) {
        self.change(|wanted| wanted.asks = true);
    }

    /// From now on messages are not answered.
    pub(super) fn fall_silent(&self) {
        self.change(|wanted| wanted.mute = true);
    }

    /// How many callers wait for an answer that never comes.
    pub(super) fn keeps_waiting(&self) -> usize {
        Arc::strong_count(&self.shared.lock().unwrap_or_else(PoisonError::into_inner).kept) - 1
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
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = call["method"].as_str().unwrap_or_default();
    let answers = call["params"]["message"]["taskId"].is_string();
    let early = early(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), &path, (method, answers), shown.as_deref());
    match early {
        Early::Answer(response) => return response,
        Early::Silence(kept) => return silence(path.ends_with(":stream") || is_streamed(method), kept).await,
        Early::None => {}
    }
    let said = call["params"]["message"]["parts"][0]["text"].as_str().unwrap_or_default();
    let text = format!("you said: {said}");
    // A bare message: the shortest answer that A2A knows.
    let result = match method {
        "message/send" => {
            json!({ "kind": "message", "messageId": "m", "role": "agent", "parts": [{ "kind": "text", "text": text }], "contextId": "c" })
        }
        _ => json!({ "message": { "messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": text }], "contextId": "c" } }),
    };
    Json(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })).into_response()
}

/// What is answered before a message is looked at.
enum Early {
    Answer(Response),
    Silence(Arc<()>),
    None,
}

fn early(wanted: &mut Wanted, path: &str, (method, answers): (&str, bool), shown: Option<&str>) -> Early {
    let is_card = path.contains(".well-known");
    wanted.asked += usize::from(!is_card);
    if wanted.token.is_some_and(|token| shown != Some(&format!("Bearer {token}"))) {
        return Early::Answer(StatusCode::UNAUTHORIZED.into_response());
    }
    if let Some(to) = wanted.redirect {
        return Early::Answer((StatusCode::FOUND, [(header::LOCATION, to)]).into_response());
    }
    let is_rest = path.ends_with("/extendedAgentCard");
    if is_rest || matches!(method, "GetExtendedAgentCard" | "agent/getAuthenticatedExtendedCard") {
        return Early::Answer(extended(wanted.extended.clone(), is_rest));
    }
    match &wanted.card {
        Some(card) if is_card && path.ends_with("agent-card.json") => Early::Answer(Json(card.clone()).into_response()),
        _ if is_card => Early::Answer(StatusCode::NOT_FOUND.into_response()),
        _ if wanted.asks && !answers => {
            let state = if method == "CancelTask" { "TASK_STATE_CANCELED" } else { "TASK_STATE_INPUT_REQUIRED" };
            let says = json!({ "messageId": "q", "role": "ROLE_AGENT", "parts": [{ "text": "Which one?" }] });
            let task = json!({ "id": "t", "contextId": "c", "status": { "state": state, "message": says } });
            let result = if method == "SendMessage" { json!({ "task": task }) } else { task };
            Early::Answer(Json(json!({ "jsonrpc": "2.0", "id": 1, "result": result })).into_response())
        }
        _ if wanted.mute || wanted.asks => Early::Silence(Arc::clone(&wanted.kept)),
        _ => Early::None,
    }
}

fn is_streamed(method: &str) -> bool {
    matches!(method, "SendStreamingMessage" | "message/stream")
}

/// No answer, or a stream without an event.
async fn silence(streams: bool, kept: Arc<()>) -> Response {
    if !streams {
        let never = std::future::pending().await;
        drop(kept);
        return never;
    }
    let body = futures_util::stream::once(async { Ok::<_, std::io::Error>(": nothing\n\n".to_owned()) }).chain(futures_util::stream::once(
        async move {
            let never = std::future::pending().await;
            drop(kept);
            never
        },
    ));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

/// The reasons of the refusals, as HTTP+JSON tells them.
const REASONS: [(i64, &str); 2] = [(-32004, "UNSUPPORTED_OPERATION"), (-32007, "EXTENDED_AGENT_CARD_NOT_CONFIGURED")];

fn extended(wanted: Option<Result<Value, i64>>, is_rest: bool) -> Response {
    let answer = wanted.unwrap_or(Err(-32007));
    if is_rest {
        return match answer {
            Ok(card) => Json(card).into_response(),
            Err(code) => {
                let reason = REASONS.iter().find(|(known, _)| *known == code).map_or("OTHER", |(_, reason)| reason);
                let details =
                    json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "a2a-protocol.org" }]);
                let error = json!({ "code": 400, "status": "FAILED_PRECONDITION", "message": "no card", "details": details });
                (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
            }
        };
    }
    Json(match answer {
        Ok(card) => json!({ "jsonrpc": "2.0", "id": 1, "result": card }),
        Err(code) => json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": "no card" } }),
    })
    .into_response()
}
