//! `/v1/network`: what servers say to each other.

use super::extract::{Json, JsonKeepNul, Query};
use crate::app::App;
use crate::auth::Principal;
use crate::auth::local::{Connection, is_near};
use crate::error::ApiError;
use crate::network;
use axum::Json as Answer;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use muster_protocol::error::code;
use muster_protocol::event::Event;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Callback, CalledBack, Hello, Place, PushTaken, Pushed, Welcome};
use serde::Deserialize;
use std::convert::Infallible;
use utoipa::IntoParams;

/// How many events are answered at once.
const PAGE: u32 = 500;
/// How large such an answer gets, in bytes, and what an event has besides its data: whoever asks reads no endless answers.
const LARGEST: usize = 1 << 20;
const SMALL: usize = 1 << 10;

/// `POST /v1/network/hello`
#[utoipa::path(post, path = "/v1/network/hello", tag = "network", summary = "Say hello to a server",
    description = "One server to another, with a proof that it knows the network's key. It is called back at the address that it gives.",
    request_body = Hello, responses((status = 200, body = Welcome), (status = 409)))]
pub(crate) async fn hello(
    State(app): State<App>,
    connection: Option<axum::Extension<ConnectInfo<Connection>>>,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<Hello>,
) -> Result<Answer<Welcome>, ApiError> {
    let connection = connection.map(|connection| connection.0.0);
    let is_near = is_near(connection.as_ref(), &uri, &headers);
    Ok(Answer(network::answer_hello(&app, body, connection.map(|connection| connection.peer), is_near).await?))
}

/// `POST /v1/network/callback`
#[utoipa::path(post, path = "/v1/network/callback", tag = "network", summary = "Ask whether a hello came from here",
    request_body = Callback, responses((status = 200, body = CalledBack)))]
pub(crate) async fn callback(State(app): State<App>, Json(body): Json<Callback>) -> Answer<CalledBack> {
    Answer(network::answer_callback(&app, &body))
}

/// Where a peer reads on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// The start of this server during which the place was told.
    #[serde(default)]
    epoch: String,
    /// The place.
    #[serde(default)]
    after: u64,
    /// The start of the reader.
    #[serde(default)]
    reader: String,
}

/// `GET /v1/network/feed`
#[utoipa::path(get, path = "/v1/network/feed", tag = "network", summary = "Follow a server",
    description = "What there is and what happens at this server, a JSON object a line, for ever.",
    params(FeedQuery), responses((status = 200, content_type = "application/x-ndjson", body = String)))]
pub(crate) async fn feed(State(app): State<App>, who: Principal, Query(query): Query<FeedQuery>) -> Result<Response, ApiError> {
    let reader = peer(&who)?;
    let asked = Place { epoch: query.epoch, sequence: query.after };
    let lines = network::lines(app.clone(), reader, query.reader, &asked).await?;
    let lines = lines.take_until(app.life.soft().clone().cancelled_owned()).map(Ok::<_, Infallible>);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// `POST /v1/network/push`
#[utoipa::path(post, path = "/v1/network/push", tag = "network", summary = "Send what cannot be fetched",
    description = "The lines of a feed, from a server that is not reached at its address.",
    request_body = Pushed, responses((status = 200, body = PushTaken), (status = 409)))]
pub(crate) async fn push(
    State(app): State<App>,
    who: Principal,
    JsonKeepNul(body): JsonKeepNul<Pushed>,
) -> Result<Answer<PushTaken>, ApiError> {
    Ok(Answer(network::take_push(&app, peer(&who)?, body).await?))
}

/// Which events a peer misses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MissingQuery {
    /// The server where they happened.
    origin: ServerId,
    /// The start of it.
    epoch: String,
    /// Only those with a greater number.
    after: u64,
}

/// `GET /v1/network/events`
#[utoipa::path(get, path = "/v1/network/events", tag = "network", summary = "Fetch events of a server",
    description = "The events of one start of a server, as far as they are kept here, in order.",
    params(MissingQuery), responses((status = 200, body = Vec<Event>)))]
pub(crate) async fn events(
    State(app): State<App>,
    who: Principal,
    Query(query): Query<MissingQuery>,
) -> Result<Answer<Vec<Event>>, ApiError> {
    peer(&who)?;
    let mut events = app.store.events_of_line(&(query.origin, query.epoch), query.after, PAGE).await?;
    let mut size = 0;
    // At least one: whoever asks, asks again for those after it.
    let fits = events.iter().skip(1).take_while(|event| {
        size += event.data.to_string().len() + SMALL;
        size <= LARGEST
    });
    let fit = fits.count() + 1;
    events.truncate(fit);
    Ok(Answer(events))
}

/// Who asks, as a peer.
fn peer(who: &Principal) -> Result<ServerId, ApiError> {
    who.peer.ok_or_else(|| ApiError::conflict(code::CONFLICT, "only a server that said hello may ask this"))
}
