//! The event log, as a page or as a stream.

use super::extract::Query;
use super::sse::{After, answer, event};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::events::Signal;
use crate::store::events::EventFilter;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{Stream, StreamExt as _, unfold};
use muster_protocol::error::ErrorBody;
use muster_protocol::event::Event;
use serde::Deserialize;
use std::collections::VecDeque;
use utoipa::IntoParams;

const DEFAULT_LIMIT: u32 = 500;
const LARGEST_LIMIT: u32 = 1_000;

/// What the event log can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only after this `sequence`.
    #[expect(dead_code, reason = "read by `After`; named here for the documentation")]
    after: Option<u64>,
    /// Only of this type.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only about this, for example `tasks/{id}`.
    subject: Option<String>,
    /// Only from this server.
    origin: Option<String>,
    /// At most so many in a page; 500 if absent.
    limit: Option<u32>,
}

/// `GET /v1/events`
#[utoipa::path(get, path = "/v1/events", tag = "events", summary = "Read or follow the event log",
    description = "A page of CloudEvents, oldest first; with `Accept: text/event-stream` a stream that goes on, whose ids are `sequence` numbers.",
    params(EventQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Only what comes after it")),
    responses((status = 200, body = Vec<Event>), (status = 422, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    _who: Principal,
    headers: HeaderMap,
    After(after): After,
    Query(query): Query<EventQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {LARGEST_LIMIT}")));
    }
    let filter = EventFilter { after: after.unwrap_or(0), kind: query.kind, subject: query.subject, origin: query.origin, limit };
    let wants_stream =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/event-stream"));
    if !wants_stream {
        return Ok(Json(app.store.events(&filter).await?).into_response());
    }
    let events = follow_log(app.clone(), filter).map(|logged| event(&logged.kind, Some(logged.sequence), &logged));
    Ok(answer(&app.life, events))
}

struct Follower {
    app: App,
    filter: EventFilter,
    signal: Signal,
    ready: VecDeque<Event>,
}

/// The events after a place, as they come. What is not read is not fetched.
pub(super) fn follow_log(app: App, filter: EventFilter) -> impl Stream<Item = Event> + Send {
    let signal = app.store.hub().log();
    let follower = Follower { app, filter, signal, ready: VecDeque::new() };
    unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.filter.after = event.sequence;
                return Some(event);
            }
            self.signal.mark_unchanged();
            match self.app.store.events(&self.filter).await {
                Ok(events) => self.ready.extend(events),
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends: the log cannot be read");
                    return None;
                }
            }
            if self.ready.is_empty() && self.signal.changed().await.is_err() {
                return None;
            }
        }
    }
}
