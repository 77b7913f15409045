//! HTTP+JSON of 1.0: at the server's address and at each agent's. Paths end in a verb (`/tasks/{id}:cancel`), so they are taken apart here.

use super::asked::Asked;
use super::error::{A2aError, Outcome, code_of_refusal};
use super::jsonrpc::{Head, demand_json, event_of, parameters};
use super::stream::{Events, Told};
use super::version::{Version, demand};
use crate::agents::Agent;
use crate::api::extract::RawBody;
use crate::api::sse;
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use muster_protocol::a2a::{ErrorKind, TaskPushNotificationConfig};
use muster_protocol::error::ErrorBody;
use serde_json::{Map, Value, json};

/// A2A's own media type of JSON.
const A2A_JSON: &str = "application/a2a+json";
const JSON: &str = "application/json";

/// At the server's address: `/message:send`, `/tasks`, ..
pub(crate) async fn server(State(app): State<App>, who: Principal, head: Head, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    answer(app, who, Ok(None), &path, head, request).await
}

/// At the server's address: what follows `/tasks/`, without its escapes.
pub(crate) async fn tasks(
    State(app): State<App>,
    who: Principal,
    path: Result<Path<String>, PathRejection>,
    head: Head,
    request: Request,
) -> Response {
    // What is no UTF-8 is no operation.
    let path = path.map(|Path(rest)| format!("tasks/{rest}")).unwrap_or_default();
    answer(app, who, Ok(None), &path, head, request).await
}

/// At an agent's address.
pub(crate) async fn agent(
    State(app): State<App>,
    who: Principal,
    path: Result<Path<(String, String)>, PathRejection>,
    head: Head,
    request: Request,
) -> Response {
    let (name, rest) = path.map(|Path(path)| path).unwrap_or_default();
    let agent = app.agent_named(&name).await.map(Some);
    answer(app, who, agent, &rest, head, request).await
}

/// What a call comes to.
enum Answer {
    Value(Value),
    Events(Events),
}

async fn answer(app: App, who: Principal, agent: Result<Option<Agent>, ApiError>, path: &str, head: Head, request: Request) -> Response {
    let life = app.life.clone();
    let method = request.method().clone();
    let body = match RawBody::from_request(request, &app).await {
        Ok(RawBody(body)) => body,
        Err(error) => return error.into_response(),
    };
    let outcome = match agent {
        Ok(agent) => serve(app, who, agent, path, &head, &method, &body).await,
        Err(error) => return error.into_response(),
    };
    match outcome {
        Ok(Answer::Value(value)) => ([(CONTENT_TYPE, answer_type(head.headers()))], value.to_string()).into_response(),
        Ok(Answer::Events(events)) => sse::answer(&life, events.map(told)),
        Err(error) => {
            let status = StatusCode::from_u16(error.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(CONTENT_TYPE, error_type(head.headers()))], error.body().to_string()).into_response()
        }
    }
}

/// An event of a stream. What breaks it off has a name, as in the official SDKs' streams, as its data is no event.
fn told(event: Told) -> Event {
    match event {
        Ok((place, event)) => event_of(place, &event),
        Err(error) => event_of(None, &error.body()).event("error"),
    }
}

fn says(headers: &HeaderMap, name: &HeaderName, media_type: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(media_type)))
}

/// The type of an answer: A2A's own, unless only plain JSON is asked for by name.
fn answer_type(headers: &HeaderMap) -> HeaderValue {
    let is_plain = says(headers, &ACCEPT, JSON) && !says(headers, &ACCEPT, A2A_JSON);
    HeaderValue::from_static(if is_plain { JSON } else { A2A_JSON })
}

/// The type of a refusal: plain JSON, as the specification writes it, unless the request says A2A's own.
fn error_type(headers: &HeaderMap) -> HeaderValue {
    let is_own = says(headers, &CONTENT_TYPE, A2A_JSON) || says(headers, &ACCEPT, A2A_JSON);
    HeaderValue::from_static(if is_own { A2A_JSON } else { JSON })
}

async fn serve(app: App, who: Principal, agent: Option<Agent>, path: &str, head: &Head, method: &Method, body: &Bytes) -> Outcome<Answer> {
    let segments: Vec<_> = path.split('/').collect();
    let operation = operation(method, &segments).ok_or_else(|| no_route(method, path))?;
    let asked = head.asked(app, who, agent)?;
    demand(Version::V1, asked.version, path)?;
    let given = if *method == Method::POST { from_body(head.headers(), body)? } else { from_query(head) };
    asked.serve(operation, given, head.after()).await
}

fn no_route(method: &Method, path: &str) -> A2aError {
    A2aError::new(ErrorKind::MethodNotFound, format!("there is no operation {method} {}", crate::error::shown(path)))
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation<'a> {
    Send,
    Stream,
    List,
    Get(&'a str),
    Cancel(&'a str),
    Subscribe(&'a str),
    CreatePush(&'a str),
    ListPush(&'a str),
    GetPush(&'a str, &'a str),
    DeletePush(&'a str, &'a str),
    Card,
}

fn operation<'a>(method: &Method, segments: &[&'a str]) -> Option<Operation<'a>> {
    let (get, post, delete) = (*method == Method::GET, *method == Method::POST, *method == Method::DELETE);
    Some(match *segments {
        ["message:send"] if post => Operation::Send,
        ["message:stream"] if post => Operation::Stream,
        ["tasks"] if get => Operation::List,
        ["extendedAgentCard"] if get => Operation::Card,
        ["tasks", last] => match last.rsplit_once(':') {
            None if get && !last.is_empty() => Operation::Get(last),
            Some((id, "cancel")) if post => Operation::Cancel(id),
            Some((id, "subscribe")) if post || get => Operation::Subscribe(id),
            _ => return None,
        },
        ["tasks", id, "pushNotificationConfigs"] if post => Operation::CreatePush(id),
        ["tasks", id, "pushNotificationConfigs"] if get => Operation::ListPush(id),
        ["tasks", id, "pushNotificationConfigs", config] if get => Operation::GetPush(id, config),
        ["tasks", id, "pushNotificationConfigs", config] if delete => Operation::DeletePush(id, config),
        _ => return None,
    })
}

/// The fields of a body; an empty one has none.
fn from_body(headers: &HeaderMap, body: &Bytes) -> Outcome<Map<String, Value>> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    demand_json(headers)?;
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(A2aError::new(ErrorKind::InvalidRequest, "the body must be an object")),
        Err(error) => Err(A2aError::new(ErrorKind::Parse, format!("the body is not JSON: {error}"))),
    }
}

/// The fields of a query. All are texts there, which numbers and times are read from; a flag is made one.
fn from_query(head: &Head) -> Map<String, Value> {
    let pairs = url::form_urlencoded::parse(head.uri().query().unwrap_or_default().as_bytes());
    let value = |name: &str, text: &str| match (name, text) {
        ("includeArtifacts", "true") => json!(true),
        ("includeArtifacts", "false") => json!(false),
        _ => json!(text),
    };
    pairs.map(|(name, text)| (name.to_string(), value(&name, &text))).collect()
}

/// The fields with what the path says.
fn with(mut fields: Map<String, Value>, path: &[(&str, &str)]) -> Value {
    fields.extend(path.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    Value::Object(fields)
}

impl Asked {
    async fn serve(&self, operation: Operation<'_>, given: Map<String, Value>, after: Option<u64>) -> Outcome<Answer> {
        let answer = match operation {
            Operation::Send => json!(self.send(&parameters(Value::Object(given))?).await?),
            Operation::Stream => return Ok(Answer::Events(self.send_streaming(&parameters(Value::Object(given))?).await?)),
            Operation::List => json!(self.list_tasks(&parameters(Value::Object(given))?).await?),
            Operation::Get(id) => json!(self.get_task(&parameters(with(given, &[("id", id)]))?).await?),
            Operation::Cancel(id) => json!(self.cancel(&parameters(with(given, &[("id", id)]))?).await?),
            Operation::Subscribe(id) => {
                return Ok(Answer::Events(self.subscribe(&parameters(with(given, &[("id", id)]))?, after).await?));
            }
            Operation::CreatePush(id) => {
                let config: TaskPushNotificationConfig = parameters(with(given, &[("taskId", id)]))?;
                json!(self.create_push(config).await?)
            }
            Operation::ListPush(id) => json!(self.list_push(&parameters(with(given, &[("taskId", id)]))?).await?),
            Operation::GetPush(id, config) => {
                json!(self.get_push(&parameters(with(given, &[("taskId", id), ("id", config)]))?).await?)
            }
            Operation::DeletePush(id, config) => {
                self.delete_push(&parameters(with(given, &[("taskId", id), ("id", config)]))?).await?;
                json!({})
            }
            Operation::Card => json!(self.extended_card().await?),
        };
        Ok(Answer::Value(answer))
    }
}

/// Refusals from before the operation (who asks, how much, how large) as A2A spells them.
pub(crate) async fn spelled(request: Request, next: Next) -> Response {
    let kind = error_type(request.headers());
    let response = next.run(request).await;
    let Some(ErrorBody { error, .. }) = response.extensions().get::<ErrorBody>().cloned() else { return response };
    let status = response.status();
    let name = code_of_refusal(&error.code);
    let body = json!({ "error": { "code": status.as_u16(), "status": name, "message": error.message, "details": [] } });
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(CONTENT_TYPE, kind);
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    Response::from_parts(parts, body.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::{A2A_JSON, JSON, Operation, answer_type, error_type, operation};
    use axum::http::{HeaderMap, Method};

    #[test]
    fn the_verb_is_the_end_of_the_path() {
        let of = |method: Method, path: &'static str| operation(&method, &path.split('/').collect::<Vec<_>>());
        assert_eq!(of(Method::POST, "message:send"), Some(Operation::Send));
        assert_eq!(of(Method::POST, "message:stream"), Some(Operation::Stream));
        assert_eq!(of(Method::GET, "tasks"), Some(Operation::List));
        assert_eq!(of(Method::GET, "tasks/1"), Some(Operation::Get("1")));
        assert_eq!(of(Method::POST, "tasks/1:cancel"), Some(Operation::Cancel("1")));
        assert_eq!(of(Method::GET, "tasks/1:subscribe"), Some(Operation::Subscribe("1")));
        assert_eq!(of(Method::POST, "tasks/1:subscribe"), Some(Operation::Subscribe("1")));
        assert_eq!(of(Method::DELETE, "tasks/1/pushNotificationConfigs/2"), Some(Operation::DeletePush("1", "2")));
        for (method, path) in [
            (Method::GET, "message:send"),
            (Method::GET, "tasks/1:cancel"),
            (Method::POST, "tasks/1"),
            (Method::GET, "tasks/1:"),
            (Method::GET, "tasks/"),
            (Method::GET, ""),
            (Method::PUT, "tasks"),
            (Method::GET, "tasks/1/2"),
        ] {
            assert_eq!(of(method.clone(), path), None, "{method} {path}");
        }
    }
    #[test]
    fn an_answer_is_of_the_type_that_is_asked_for() {
        let of = |content: &'static str, accept: &'static str| {
            let named = [("content-type", content), ("accept", accept)].into_iter().filter(|(_, value)| !value.is_empty());
            let headers = named.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>();
            (answer_type(&headers), error_type(&headers))
        };
        for (content, accept, answer, error) in [
            ("", "", A2A_JSON, JSON),
            (JSON, "*/*", A2A_JSON, JSON),
            (JSON, "text/event-stream", A2A_JSON, JSON),
            (A2A_JSON, "*/*", A2A_JSON, A2A_JSON),
            (A2A_JSON, JSON, JSON, A2A_JSON),
            (JSON, "Application/JSON, text/plain, */*", JSON, JSON),
            (JSON, "application/a2a+json, application/json", A2A_JSON, A2A_JSON),
        ] {
            let of = of(content, accept);
            assert_eq!((of.0.to_str().unwrap(), of.1.to_str().unwrap()), (answer, error), "{content} {accept}");
        }
    }
}
