//! The earlier system's monitor: paths, parameters and fields are its own, so that its dashboards and scripts work as they are.

use super::events::follow_log;
use super::extract::{Json, Query};
use super::page::next_page;
use super::sse::{After, answer, event};
use crate::app::App;
use crate::auth::Principal;
use crate::domain::monitor::Kinds;
use crate::error::ApiError;
use crate::monitor::Teller;
use crate::store::StoreError;
use crate::store::events::EventFilter;
use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{StreamExt as _, iter, once, unfold};
use muster_protocol::error::ErrorBody;
use muster_protocol::event::Event;
use muster_protocol::monitor::{FoundMessages, Intervene, Intervened, MessageCount, MonitorAgent, MonitorMessage, MonitorStats};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

mod export;

pub(crate) use export::{__path_export_csv, __path_export_json, export_csv, export_json};

const DEFAULT_LIMIT: u32 = 100;
/// More is given in pages.
const LARGEST_LIMIT: u32 = 10_000;
/// Up to here the earlier system answered from its cache, oldest first.
const CACHED: u32 = 1_000;
/// How many events are read in one go.
const CHUNK: u32 = 256;

/// `GET /v1/monitor/agents`
#[utoipa::path(get, path = "/v1/monitor/agents", tag = "monitor", summary = "List the agents that the monitor knows",
    responses((status = 200, body = Vec<MonitorAgent>)))]
pub(crate) async fn agents(State(app): State<App>, _who: Principal) -> Result<Answer<Vec<MonitorAgent>>, ApiError> {
    Ok(Answer(app.monitored_agents().await?))
}

/// What messages can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MessageQuery {
    /// At most so many, up to 10000; 100 if absent.
    limit: Option<u32>,
    /// Only of this type: `agent`, `human`, `system`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// `false`, or a limit over 1000: the newest first. Else the newest `limit` ones, the oldest of them first.
    use_cache: Option<String>,
    /// Only older ones, as the page before answered in `X-Next-Cursor`.
    cursor: Option<u64>,
}

/// `GET /v1/monitor/messages`
#[utoipa::path(get, path = "/v1/monitor/messages", tag = "monitor", summary = "List messages",
    description = "Events of the log, told as the earlier system's messages. Older ones: `cursor`, from `X-Next-Cursor`.",
    params(MessageQuery), responses((status = 200, body = Vec<MonitorMessage>), (status = 400, body = ErrorBody)))]
pub(crate) async fn messages(
    State(app): State<App>,
    _who: Principal,
    RawQuery(raw): RawQuery,
    Query(query): Query<MessageQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(LARGEST_LIMIT);
    let newest_first = limit > CACHED || !flag("use_cache", query.use_cache.as_deref(), true)?;
    let before = query.cursor.unwrap_or(u64::MAX);
    let (mut messages, oldest) = Teller::new(app).page(before, &kinds(query.kind.as_deref()), limit).await?;
    let full = messages.len() as u64 == u64::from(limit);
    if !newest_first {
        messages.reverse();
    }
    let cursor = oldest.filter(|oldest| full && *oldest > 1).map(|oldest| oldest.to_string());
    Ok((next_page(cursor, limit, &raw.unwrap_or_default()), Answer(messages)).into_response())
}

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The text, in any case.
    q: String,
    /// At most so many, up to 10000; 100 if absent.
    limit: Option<u32>,
}

/// `GET /v1/monitor/messages/search`
#[utoipa::path(get, path = "/v1/monitor/messages/search", tag = "monitor", summary = "Search messages",
    description = "The newest first, among the newest 100000.",
    params(SearchQuery), responses((status = 200, body = FoundMessages), (status = 400, body = ErrorBody)))]
pub(crate) async fn search(
    State(app): State<App>,
    _who: Principal,
    Query(query): Query<SearchQuery>,
) -> Result<Answer<FoundMessages>, ApiError> {
    let limit = usize::try_from(query.limit.unwrap_or(DEFAULT_LIMIT).min(LARGEST_LIMIT)).unwrap_or(usize::MAX);
    let results = if limit == 0 { Vec::new() } else { app.search_messages(&query.q, limit).await? };
    Ok(Answer(FoundMessages { count: results.len() as u64, query: query.q, results }))
}

/// What is counted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CountQuery {
    /// Only of this type.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `GET /v1/monitor/messages/count`
#[utoipa::path(get, path = "/v1/monitor/messages/count", tag = "monitor", summary = "Count messages",
    params(CountQuery), responses((status = 200, body = MessageCount)))]
pub(crate) async fn count(
    State(app): State<App>,
    _who: Principal,
    Query(query): Query<CountQuery>,
) -> Result<Answer<MessageCount>, ApiError> {
    let total = app.count_messages(&kinds(query.kind.as_deref())).await?;
    Ok(Answer(MessageCount { total, type_filter: query.kind }))
}

/// `GET /v1/monitor/stats`
#[utoipa::path(get, path = "/v1/monitor/stats", tag = "monitor", summary = "Statistics", responses((status = 200, body = MonitorStats)))]
pub(crate) async fn stats(State(app): State<App>, _who: Principal) -> Result<Answer<MonitorStats>, ApiError> {
    Ok(Answer(app.monitor_stats().await?))
}

/// `GET /v1/monitor/stream`
#[utoipa::path(get, path = "/v1/monitor/stream", tag = "monitor", summary = "Follow messages",
    description = "Server-sent events: first one without a name, `{type: connected, timestamp}`, then `message` (a MonitorMessage; the id is the \
        place in the event log, and it continues after Last-Event-ID) and `agent_status` where a worker comes, goes or changes.",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Only what comes after it")),
    responses((status = 200, body = MonitorMessage, content_type = "text/event-stream")))]
pub(crate) async fn stream(State(app): State<App>, _who: Principal, After(after): After) -> Result<Response, ApiError> {
    let after = match after {
        Some(after) => after,
        None => app.store.log_head().await?,
    };
    let connected = json!({ "type": "connected", "timestamp": app.now() }).to_string();
    let connected = once(std::future::ready(SseEvent::default().data(connected)));
    let log = Box::pin(follow_log(app.clone(), EventFilter { after, limit: CHUNK, ..EventFilter::default() }));
    let teller = Teller::new(app.clone());
    let app_of_stream = app.clone();
    let told = unfold((log, teller, app_of_stream), |(mut log, mut teller, app)| async move {
        let logged = log.next().await?;
        match shown(&app, &mut teller, &logged).await {
            Ok(events) => Some((iter(events), (log, teller, app))),
            Err(error) => {
                // The viewer reconnects and goes on after its last message.
                tracing::warn!(%error, "a stream of messages ends: the store cannot be read");
                None
            }
        }
    });
    Ok(answer(&app.life, connected.chain(told.flatten())))
}

async fn shown(app: &App, teller: &mut Teller, logged: &Event) -> Result<Vec<SseEvent>, StoreError> {
    let status = app.agent_status(logged).await?.map(|status| event("agent_status", None, &status));
    let message = event("message", Some(logged.sequence), &teller.tell(logged).await?);
    Ok(status.into_iter().chain([message]).collect())
}

/// `POST /v1/monitor/intervene`
#[utoipa::path(post, path = "/v1/monitor/intervene", tag = "monitor", summary = "Tell a task, a worker or an agent something",
    description = "What runs there gets the message as the next turn of its conversation; else it is a task of its own. Does not wait for an answer.",
    request_body = Intervene,
    responses((status = 200, body = Intervened), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn intervene(State(app): State<App>, who: Principal, Json(body): Json<Intervene>) -> Result<Answer<Intervened>, ApiError> {
    let intervention = app.intervene(&who, body.agent_id, body.message).await?;
    Ok(Answer(Intervened { success: true, intervention }))
}

fn kinds(word: Option<&str>) -> Kinds {
    word.filter(|word| !word.is_empty()).map(Kinds::of_type).unwrap_or_default()
}

/// A flag as the earlier system's callers write it.
fn flag(name: &str, given: Option<&str>, default: bool) -> Result<bool, ApiError> {
    match given.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" => Ok(default),
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(ApiError::BadRequest(format!("the parameter `{name}` must be true or false, not `{}`", crate::error::shown(other)))),
    }
}
