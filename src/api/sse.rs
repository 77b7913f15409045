//! Server-sent events: keep-alive, the place where a viewer continues, and the end when the server stops.

use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use std::convert::Infallible;
use std::time::Duration;

/// A comment is sent after this long without an event. Clients take three times as long for a dead connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where the stream is to continue: after the header `Last-Event-ID`, which a browser sends by itself when it reconnects, or else
/// after `?after=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After(pub Option<u64>);

impl<S: Sync> FromRequestParts<S> for After {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let header = parts.headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = pairs.filter(|(key, _)| key == "after").map(|(_, value)| value).last();
        after(header, query.as_deref()).map(Self)
    }
}

fn after(header: Option<&str>, query: Option<&str>) -> Result<Option<u64>, ApiError> {
    let (name, given) = match (header, query) {
        (Some(id), _) if !id.trim().is_empty() => ("the header Last-Event-ID", id),
        (_, Some(after)) if !after.trim().is_empty() => ("the parameter `after`", after),
        _ => return Ok(None),
    };
    let number = given.trim().parse().map(Some);
    number.map_err(|_| ApiError::BadRequest(format!("{name} must be a number that the server gave, not `{}`", crate::error::shown(given))))
}

/// The answer: the events of `stream`, until it or the server ends. What is not read is not produced, so that a slow reader costs
/// no memory.
pub fn answer<S>(life: &Lifecycle, stream: S) -> Response
where
    S: Stream<Item = Event> + Send + 'static,
{
    let stopping = life.soft().clone().cancelled_owned();
    let events = stream.take_until(stopping).map(Ok::<_, Infallible>);
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"));
    // Proxies would otherwise hold events back.
    let headers = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, sse).into_response()
}

/// One event with its name, its place and its content as JSON.
pub fn event(name: &str, id: Option<u64>, data: &impl serde::Serialize) -> Event {
    let json = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!("an event cannot be written as JSON: {error}");
        "null".to_owned()
    });
    let event = Event::default().event(name).data(json);
    match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use futures_util::stream;
    use serde_json::json;

    #[test]
    fn the_header_of_a_reconnect_wins_over_the_query() {
        assert_eq!(after(Some("7"), Some("3")).unwrap(), Some(7));
        assert_eq!(after(None, Some("3")).unwrap(), Some(3));
        assert_eq!(after(Some(""), None).unwrap(), None);
        for wrong in ["-1", "x", "99999999999999999999"] {
            assert!(after(Some(wrong), None).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn events_carry_name_place_and_content() {
        let events = stream::iter([event("text", Some(5), &json!({"text": "a\nb"}))]);
        let body = to_bytes(answer(&Lifecycle::new(), events).into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, "event: text\ndata: {\"text\":\"a\\nb\"}\nid: 5\n\n");
    }

    #[tokio::test]
    async fn a_stop_of_the_server_ends_the_stream() {
        let life = Lifecycle::new();
        let response = answer(&life, stream::pending());
        life.stop();
        assert!(to_bytes(response.into_body(), usize::MAX).await.unwrap().is_empty());
    }
}
