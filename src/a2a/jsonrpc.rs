//! JSON-RPC 2.0 at `POST /`, `POST /v1/a2a` and each agent's address: errors come with HTTP 200, a request without an id is answered all the same.

use super::asked::Asked;
use super::card::AgentName;
use super::cards::base;
use super::error::{A2aError, Outcome};
use super::extensions;
use super::old;
use super::stream::Events;
use super::version::{self, Version, demand};
use crate::agents::Agent;
use crate::api::extract::{PathId, RawBody, Strict};
use crate::api::sse::{self, After};
use crate::app::App;
use crate::auth::Principal;
use crate::auth::local::Connection;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use muster_protocol::a2a::rpc::{RpcRequest, RpcResponse};
use muster_protocol::a2a::{ErrorKind, TaskPushNotificationConfig, v03};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The methods of 1.0.
const METHODS: [&str; 11] = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    "GetExtendedAgentCard",
];

/// What a call comes to.
pub(super) enum Answer {
    /// One answer.
    Value(Value),
    /// A stream of 1.0's events.
    Events(Events),
    /// A stream whose events are to be told as 0.3 spells them.
    OldEvents(Events),
}

/// What of a request is not in its body.
pub(crate) struct Head {
    uri: Uri,
    headers: HeaderMap,
    connection: Option<Connection>,
    after: Option<u64>,
}

impl FromRequestParts<App> for Head {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let After(after) = After::from_request_parts(parts, app).await?;
        let connection = parts.extensions.get::<ConnectInfo<Connection>>().map(|info| info.0);
        Ok(Self { uri: parts.uri.clone(), headers: parts.headers.clone(), connection, after })
    }
}

impl Head {
    /// Where the caller continues.
    pub(super) fn after(&self) -> Option<u64> {
        self.after
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Who asks what of whom.
    ///
    /// # Errors
    /// A version that is not spoken here; a required extension that the caller does not name.
    pub(super) fn asked(&self, app: App, who: Principal, agent: Option<Agent>) -> Outcome<Asked> {
        let version = version::asked(&self.headers, &self.uri)?;
        extensions::demand(app.config.a2a.required_extension.as_deref(), &self.headers)?;
        let base = base(&app, &self.uri, &self.headers, self.connection.as_ref());
        Ok(Asked { app, who, agent, version, base })
    }
}

/// `POST /`
#[utoipa::path(post, path = "/", tag = "a2a", summary = "JSON-RPC 2.0 (A2A)",
    description = "A2A 1.0 (`SendMessage`, .., with the header `A2A-Version: 1.0`), A2A 0.3 (`message/send`, ..), and the relaxed \
        `message/send` with params `{\"message\":{\"parts\":[{\"type\":\"text\",\"content\":\"Hello\"}]}}`. Errors come with HTTP 200, as \
        JSON-RPC wants; streams as server-sent events, each a JSON-RPC answer.",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "A JSON-RPC answer with `result` or `error`", body = Object)))]
pub(crate) async fn handle(State(app): State<App>, who: Principal, head: Head, RawBody(body): RawBody) -> Response {
    answer(app, who, None, &head, &body).await
}

/// `POST /v1/a2a`, the same under its other name.
#[utoipa::path(post, path = "/v1/a2a", tag = "a2a", summary = "JSON-RPC 2.0 (other path)",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "A JSON-RPC answer with `result` or `error`", body = Object)))]
pub(crate) async fn handle_again(app: State<App>, who: Principal, head: Head, body: RawBody) -> Response {
    handle(app, who, head, body).await
}

/// `POST /agents/{name}`, an agent's own address.
#[utoipa::path(post, path = "/agents/{name}", tag = "a2a", summary = "JSON-RPC 2.0 of an agent",
    params(("name" = String, Path)), request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "A JSON-RPC answer with `result` or `error`", body = Object), (status = 404)))]
pub(crate) async fn handle_agent(
    State(app): State<App>,
    who: Principal,
    PathId(AgentName(name)): PathId<AgentName>,
    head: Head,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let agent = app.agent_named(&name).await?;
    Ok(answer(app, who, Some(agent), &head, &body).await)
}

async fn answer(app: App, who: Principal, agent: Option<Agent>, head: &Head, body: &[u8]) -> Response {
    let life = app.life.clone();
    let (id, outcome) = match demand_json(&head.headers).map_err(|error| (Value::Null, error)).and_then(|()| read(body)) {
        Ok(request) => (request.id.clone(), call(app, who, agent, head, request).await),
        Err((id, refused)) => (id, Err(refused)),
    };
    let told = |id: Value, events: Events, spell: fn(muster_protocol::a2a::StreamResponse) -> Value| {
        let events = events.map(move |told| match told {
            Ok((place, event)) => event_of(place, &whole(id.clone(), Ok(spell(event)))),
            Err(error) => event_of(None, &whole(id.clone(), Err(error))),
        });
        sse::answer(&life, events)
    };
    match outcome {
        Ok(Answer::Events(events)) => told(id, events, |event| json!(event)),
        Ok(Answer::OldEvents(events)) => told(id, events, |event| json!(v03::Event::from(event))),
        Ok(Answer::Value(value)) => Json(whole(id, Ok(value))).into_response(),
        Err(error) => Json(whole(id, Err(error))).into_response(),
    }
}

/// A server-sent event without a name, as A2A's clients read them.
pub(super) fn event_of(place: Option<u64>, data: &impl serde::Serialize) -> Event {
    let json = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!("an event cannot be written as JSON: {error}");
        "null".to_owned()
    });
    let event = Event::default().data(json);
    place.map_or(event.clone(), |place| event.id(place.to_string()))
}

fn whole(id: Value, outcome: Outcome<Value>) -> RpcResponse {
    let (result, error) = match outcome {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error.rpc())),
    };
    RpcResponse { jsonrpc: "2.0".to_owned(), id, result, error }
}

/// Refuses a body that says it is something else than JSON. One that says nothing is read.
///
/// # Errors
/// It is something else.
pub(super) fn demand_json(headers: &HeaderMap) -> Outcome<()> {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let sub = kind.split_once('/').map_or("", |(_, sub)| sub);
    if sub == "json" || sub.ends_with("+json") || sub == "json-rpc" || sub == "jsonrequest" {
        return Ok(());
    }
    let message = format!("the body is of the type `{}`; send application/json", crate::error::shown(&kind));
    Err(A2aError::new(ErrorKind::ContentTypeNotSupported, message))
}

/// Reads the request; with an error comes the id, as far as there is one.
pub(super) fn read(body: &[u8]) -> Result<RpcRequest, (Value, A2aError)> {
    let refuse = |id: &Value, kind, message: String| Err((id.clone(), A2aError::new(kind, message)));
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return refuse(&Value::Null, ErrorKind::Parse, format!("the body is not JSON: {error}")),
    };
    if value.is_array() {
        return refuse(&Value::Null, ErrorKind::InvalidRequest, "batches are not supported; send one request at a time".to_owned());
    }
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    if !(id.is_null() || id.is_string() || id.is_number()) {
        return refuse(&Value::Null, ErrorKind::InvalidRequest, "`id` must be a string or a number".to_owned());
    }
    let version = value.get("jsonrpc").cloned().unwrap_or(Value::Null);
    match serde_json::from_value::<RpcRequest>(value) {
        Err(error) => refuse(&id, ErrorKind::InvalidRequest, format!("the body is no JSON-RPC request: {error}")),
        Ok(_) if version != "2.0" => refuse(&id, ErrorKind::InvalidRequest, "`jsonrpc` must be \"2.0\"".to_owned()),
        Ok(request) => Ok(request),
    }
}

/// The parameters of a method.
///
/// # Errors
/// The first field that does not fit.
pub(super) fn parameters<T: DeserializeOwned>(params: Value) -> Outcome<T> {
    serde_path_to_error::deserialize(Strict(params)).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "params".to_owned() } else { format!("params.{path}") };
        A2aError::invalid(&field, crate::error::shown(&error.inner().to_string()))
    })
}

async fn call(app: App, who: Principal, agent: Option<Agent>, head: &Head, request: RpcRequest) -> Outcome<Answer> {
    let RpcRequest { method, params, .. } = request;
    let wanted = match method.as_str() {
        new if METHODS.contains(&new) => Version::V1,
        old if old::is_method(old) => Version::V03,
        other => {
            let message = format!("there is no method `{}`; those of A2A 1.0 and 0.3 are here", crate::error::shown(other));
            return Err(A2aError::new(ErrorKind::MethodNotFound, message));
        }
    };
    let asked = head.asked(app, who, agent)?;
    demand(wanted, asked.version, &method)?;
    match wanted {
        Version::V1 => asked.call(&method, params, head.after).await,
        Version::V03 => asked.call_old(&method, params, head.after).await,
    }
}

impl Asked {
    async fn call(&self, method: &str, params: Value, after: Option<u64>) -> Outcome<Answer> {
        // Parameters that are all optional may be absent.
        let params = if params.is_null() { json!({}) } else { params };
        let answer = match method {
            "SendMessage" => json!(self.send(&parameters(params)?).await?),
            "SendStreamingMessage" => return Ok(Answer::Events(self.send_streaming(&parameters(params)?).await?)),
            "GetTask" => json!(self.get_task(&parameters(params)?).await?),
            "ListTasks" => json!(self.list_tasks(&parameters(params)?).await?),
            "CancelTask" => json!(self.cancel(&parameters(params)?).await?),
            "SubscribeToTask" => return Ok(Answer::Events(self.subscribe(&parameters(params)?, after).await?)),
            "CreateTaskPushNotificationConfig" => json!(self.create_push(parameters::<TaskPushNotificationConfig>(params)?).await?),
            "GetTaskPushNotificationConfig" => json!(self.get_push(&parameters(params)?).await?),
            "ListTaskPushNotificationConfigs" => json!(self.list_push(&parameters(params)?).await?),
            "DeleteTaskPushNotificationConfig" => {
                self.delete_push(&parameters(params)?).await?;
                json!({})
            }
            _ => json!(self.extended_card().await?),
        };
        Ok(Answer::Value(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::{demand_json, read};
    use axum::http::HeaderMap;
    use muster_protocol::a2a::rpc::rpc_code;

    fn code_of(body: &str) -> i64 {
        read(body.as_bytes()).map_or_else(|(_, refused)| refused.kind.rpc_code(), |_| 0)
    }

    #[test]
    fn a_body_that_is_no_request_gets_the_number_of_its_fault() {
        assert_eq!(code_of("{"), rpc_code::PARSE_ERROR);
        assert_eq!(code_of("[]"), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of("7"), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"1.0","method":"message/send"}"#), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","id":{},"method":"message/send"}"#), rpc_code::INVALID_REQUEST);
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","id":1,"method":"message/send"}"#), 0);
    }

    #[test]
    fn a_body_of_another_type_is_told_apart() {
        let of = |kind: &str| demand_json(&HeaderMap::from_iter([("content-type".parse().unwrap(), kind.parse().unwrap())])).is_ok();
        assert!(of("application/json") && of("Application/JSON; charset=utf-8") && of("application/a2a+json") && of("text/json"));
        assert!(!of("text/plain") && !of("application/x-www-form-urlencoded") && !of("application/jsonx"));
        assert!(demand_json(&HeaderMap::new()).is_ok());
    }
}
