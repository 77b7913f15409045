//! Cards over HTTP: by version, and only where they changed.

use super::cards::base;
use super::version;
use crate::api::extract::{PathId, PathParam};
use crate::app::App;
use crate::auth::Principal;
use crate::auth::local::Connection;
use crate::config::CardForm;
use crate::error::ApiError;
use crate::sync::lock;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use muster_protocol::a2a::{AgentCard, v03};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `GET /.well-known/agent-card.json`
#[utoipa::path(get, path = "/.well-known/agent-card.json", tag = "a2a", summary = "Get the server's agent card",
    description = "The A2A card: this server's own agents as skills, and its addresses. `A2A-Version` says in which version it is wanted; without it \
        the card has the fields of 1.0 and of 0.3 (`a2a.card`). The extended card also has the machines.",
    responses((status = 200, body = Object), (status = 304, description = "It is as the caller has it")))]
pub(crate) async fn server(
    State(app): State<App>,
    connection: Option<axum::Extension<ConnectInfo<Connection>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let connection = connection.map(|extension| extension.0.0);
    let card = app.server_card(&base(&app, &uri, &headers, connection.as_ref()), false).await?;
    answer(&app, "", &card, &uri, &headers)
}

/// `GET /agents/{name}/.well-known/agent-card.json`
#[utoipa::path(get, path = "/agents/{name}/.well-known/agent-card.json", tag = "a2a", summary = "Get an agent's card",
    description = "The card of one of this server's agents, or of a machine: its codebases are its skills, its description names its models.",
    params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 304, description = "It is as the caller has it"), (status = 404)))]
pub(crate) async fn agent(
    State(app): State<App>,
    _who: Principal,
    PathId(name): PathId<AgentName>,
    connection: Option<axum::Extension<ConnectInfo<Connection>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let agent = app.agent_named(&name.0).await?;
    let connection = connection.map(|extension| extension.0.0);
    let card = app.agent_card(&base(&app, &uri, &headers, connection.as_ref()), &agent).await?;
    answer(&app, &card.name, &card, &uri, &headers)
}

/// The name of an agent in the path.
#[derive(Debug, Clone)]
pub(crate) struct AgentName(pub(crate) String);

impl PathParam for AgentName {
    const NOUN: &'static str = "agent";

    fn parse(segment: &str) -> Option<Self> {
        Some(Self(segment.to_owned()))
    }
}

/// How long a card may be taken to be as it is: machines come and go, and their cards with them.
const MAX_AGE: &str = "max-age=60";

/// The card in the version that is asked for.
fn spelled(app: &App, card: &AgentCard, uri: &Uri, headers: &HeaderMap) -> Value {
    let says_nothing =
        !headers.contains_key(version::HEADER) && !uri.query().unwrap_or_default().to_ascii_lowercase().contains(version::HEADER);
    match (says_nothing, version::asked(headers, uri)) {
        (false, Ok(version::Version::V03)) => json!(v03::AgentCard::from(card)),
        (true, _) if app.config.a2a.card == CardForm::Hybrid => v03::add_to(card),
        // Whoever speaks a version that is not spoken here finds out from the card which are.
        _ => json!(card),
    }
}

fn answer(app: &App, key: &str, card: &AgentCard, uri: &Uri, headers: &HeaderMap) -> Result<Response, ApiError> {
    let body = spelled(app, card, uri, headers).to_string();
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(body.as_bytes())[..16]));
    let changed = changed_at(app, key, &tag);
    let text = |value: String| HeaderValue::from_str(&value).map_err(ApiError::internal);
    let common = [
        (ETAG, text(tag.clone())?),
        (LAST_MODIFIED, text(http_date(changed))?),
        (CACHE_CONTROL, HeaderValue::from_static(MAX_AGE)),
        (VARY, HeaderValue::from_static("A2A-Version, Authorization, Host")),
    ];
    if is_known(headers, &tag, changed) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// Whether the caller has it: by its tag, else by its time.
fn is_known(headers: &HeaderMap, tag: &str, changed: Timestamp) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(tags) = text(IF_NONE_MATCH) {
        return tags.split(',').map(|given| given.trim().trim_start_matches("W/")).any(|given| given == tag || given == "*");
    }
    let since = text(IF_MODIFIED_SINCE).and_then(|since| jiff::fmt::rfc2822::parse(since).ok());
    since.is_some_and(|since| changed.0.div_euclid(1_000) <= since.timestamp().as_second())
}

/// Since when a card is as it is, as far as this server has seen. There is one place for each agent, so that callers cannot fill the memory.
fn changed_at(app: &App, key: &str, tag: &str) -> Timestamp {
    let mut cards = lock(&app.cards);
    match cards.get(key) {
        Some((known, at)) if known == tag => *at,
        _ => {
            let now = app.now();
            cards.insert(key.to_owned(), (tag.to_owned(), now));
            now
        }
    }
}

fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
}
