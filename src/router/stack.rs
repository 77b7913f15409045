//! What each request goes through, from the outside in: the spelling of gRPC's refusals; id, span and measurement; the limit of requests at once; containment of
//! panics; the limit of bodies; the log of bodies; the guard; the time limit.

use crate::a2a::grpc;
use crate::api::extract::BodyLimit;
use crate::api::http_log::{self, REQUEST_ID};
use crate::app::App;
use crate::auth::local::Connection;
use crate::auth::{Access, guard as auth};
use crate::error::ApiError;
use crate::lifecycle::panic_message;
use crate::store::tokens::{NoteTokenUse, StoredToken};
use crate::telemetry::metric;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http_body_util::BodyExt;
use muster_protocol::time::Timestamp;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use uuid::Uuid;

/// A token's last use is noted this often at most.
const NOTE_USE_EVERY: u64 = 5 * 60 * 1000;

/// Puts the stack around the routes.
pub(super) fn around(router: Router<App>, app: &App) -> Router<App> {
    let limits = &app.config.limits;
    let slots = Arc::new(Semaphore::new(limits.max_requests));
    let mut router = router.fallback(unknown_path).method_not_allowed_fallback(unknown_method);
    if app.config.log.http {
        router = router.layer(from_fn(http_log::log));
    }
    router
        .layer(DefaultBodyLimit::max(limits.max_body))
        .layer(Extension(BodyLimit(limits.max_body)))
        .layer(CatchPanicLayer::custom(contained))
        .layer(from_fn_with_state(slots, one_of))
        .layer(from_fn_with_state(app.clone(), observe))
        .layer(from_fn(grpc::spelled))
}

/// Gives the request its id (the caller's, if it sent a fit one), its span and its measurements.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(&app, &request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span =
        tracing::info_span!("request", request.id = %id, http.method = %method, http.route = route, principal = tracing::field::Empty);
    let begun = Instant::now();
    metrics::gauge!(metric::HTTP_IN_FLIGHT).increment(1);
    let running = InFlight;
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(running);
    let (method, status) = (method_label(&method), response.status().as_u16());
    metrics::counter!(metric::HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status.to_string()).increment(1);
    metrics::histogram!(metric::HTTP_SECONDS, "method" => method, "route" => route).record(begun.elapsed().as_secs_f64());
    span.in_scope(|| tracing::debug!(http.status = status, "answered in {:?}", begun.elapsed()));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Counts down also if the caller goes away.
struct InFlight;

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(metric::HTTP_IN_FLIGHT).decrement(1);
    }
}

fn request_id(app: &App, request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()?.parse::<Uuid>().ok());
    given.unwrap_or_else(|| app.ids.uuid(app.clock.now())).to_string()
}

/// Methods are the caller's text: only known ones become labels.
fn method_label(method: &axum::http::Method) -> &'static str {
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"].into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Takes one of the places for requests; a stream keeps it to its end.
async fn one_of(State(slots): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(place) = slots.try_acquire_owned() else {
        let message = "the server answers as many requests as it can (`limits.max_requests`); try again in a moment".to_owned();
        return ApiError::Overloaded { message, retry_after: Duration::from_secs(1) }.into_response();
    };
    let response = next.run(request).await;
    if http_log::is_stream(response.headers()) { keep(response, place) } else { response }
}

fn keep(response: Response, place: OwnedSemaphorePermit) -> Response {
    response.map(|body| {
        // Frame by frame: the last one of gRPC holds its status.
        Body::new(body.map_frame(move |frame| {
            let _ = &place;
            frame
        }))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn contained(panic: Box<dyn Any + Send>) -> Response {
    ApiError::internal(format!("a handler panicked: {}", panic_message(panic.as_ref()))).into_response()
}

/// Refuses an answer that takes longer than `limit`.
pub(super) async fn within(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        let message = format!("the answer took longer than {limit:?} (`limits.request_timeout`); what was asked may still happen");
        ApiError::Overloaded { message, retry_after: Duration::from_secs(1) }.into_response()
    })
}

/// Lets through who may call the route, and says who it is.
pub(super) async fn guard(State((app, access)): State<(App, Access)>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let asked = auth::Asked {
        access,
        connection: request.extensions().get::<ConnectInfo<Connection>>().map(|info| &info.0),
        public_url: app.config.public_url.as_ref(),
        insecure: app.config.insecure,
        uri: request.uri(),
        headers: request.headers(),
    };
    let is_near = crate::auth::local::is_near(asked.connection, asked.uri, asked.headers);
    let find = async |hash: crate::auth::TokenHash| {
        // Without a key of the network, whoever is on this machine could be a peer, and nobody else.
        if (is_near || app.network.key.is_set())
            && let Some(peer) = app.network.peer_of(hash)
        {
            return Ok(Some(StoredToken::of_peer(peer, &hash.to_hex())));
        }
        let found = app.store.token_by_hash(&hash.to_hex()).await?;
        note_use(&app, found.as_ref(), now).await;
        Ok(found)
    };
    let Some(principal) = auth::check(asked, now, find).await? else { return Ok(next.run(request).await) };
    tracing::Span::current().record("principal", principal.id.as_str());
    request.extensions_mut().insert(principal.clone());
    let mut response = next.run(request).await;
    // For the log of bodies.
    response.extensions_mut().insert(principal);
    Ok(response)
}

/// Notes the use of a token now and then. That it could not be noted is no reason to refuse.
async fn note_use(app: &App, found: Option<&StoredToken>, now: Timestamp) {
    let Some(stored) = found else { return };
    let is_recent = stored.last_used_at.is_some_and(|at| now.since(at) < NOTE_USE_EVERY);
    let is_good = stored.token.revoked_at.is_none();
    if is_good
        && !is_recent
        && let Err(error) = app.store.write(NoteTokenUse { id: stored.token.id, now }).await
    {
        tracing::warn!(token.id = %stored.token.id, "the use of a token could not be noted: {error}");
    }
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::NotFound { what: format!("route {} {}", request.method(), crate::error::shown(request.uri().path())) }
}

async fn unknown_method(request: Request) -> ApiError {
    let path = crate::error::shown(request.uri().path());
    ApiError::MethodNotAllowed(format!("{path} is there, but not with the method {}", request.method()))
}
