//! `--log-http`: every request and its answer with their bodies, also raw JSON-RPC, with secrets replaced. Streams are logged by their
//! head only and never held back.

use super::extract::RawBody;
use crate::auth::{Principal, without_tokens};
use crate::error::ApiError;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Instant;

/// The header with the id that the log knows a request by.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer bodies are cut.
const LONGEST: usize = 8 << 10;

/// Whether an answer is a stream of events, or one of gRPC.
#[must_use]
pub fn is_stream(headers: &HeaderMap) -> bool {
    is_of(headers, b"text/event-stream") || is_grpc(headers)
}

/// Whether a body is one of gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    is_of(headers, b"application/grpc")
}

fn is_of(headers: &HeaderMap, kind: &[u8]) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(kind))
}

/// Logs a request and its answer.
pub async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = request.uri().query().map(|query| format!("?{}", shown_query(query))).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let bytes = match RawBody::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(RawBody(bytes)) => bytes,
        Err(error) => {
            tracing::info!(target: "muster::http", "{method} {path}{query} -> {error}");
            return error.into_response();
        }
    };
    // In what is no text no secret is found.
    let body = if is_grpc(&parts.headers) { format!("{} bytes of gRPC", bytes.len()) } else { shown(&bytes) };
    tracing::info!(target: "muster::http", "{method} {path}{query} <- {body}");
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let principal = response.extensions().get::<Principal>().map_or("-", |principal| principal.id.as_str()).to_owned();
    let head = format!("{method} {path} -> {} in {:?} for {principal}", response.status().as_u16(), begun.elapsed());
    answer(&head, response).await
}

/// Logs an answer; only one whose length is known is read, others may never end.
async fn answer(head: &str, response: Response) -> Response {
    if is_stream(response.headers()) || response.body().size_hint().exact().is_none() {
        tracing::info!(target: "muster::http", "{head}: a stream");
        return response;
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            tracing::info!(target: "muster::http", "{head}: {}", shown(&bytes));
            Response::from_parts(parts, Body::from(bytes))
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// A body as it can be logged: without secrets, not too long.
fn shown(bytes: &Bytes) -> String {
    if bytes.is_empty() {
        return "no body".to_owned();
    }
    // As it came, unless there is something to replace.
    let mut json = serde_json::from_slice::<Value>(bytes).ok();
    let text = match json.take_if(|json| replace_secrets(json) > 0) {
        Some(replaced) => replaced.to_string(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let text = without_tokens(&text);
    if text.len() <= LONGEST {
        return text;
    }
    let end = text.floor_char_boundary(LONGEST);
    format!("{}.. ({} bytes in all)", &text[..end], bytes.len())
}

/// A query as it can be logged.
fn shown_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    without_tokens(&pairs.collect::<Vec<_>>().join("&"))
}

/// Replaces what stands under a name that secrets have. Answers how often.
fn replace_secrets(value: &mut Value) -> usize {
    match value {
        Value::Array(items) => items.iter_mut().map(replace_secrets).sum(),
        Value::Object(map) => map.iter_mut().map(|(name, item)| replace_secret(name, item)).sum(),
        _ => 0,
    }
}

fn replace_secret(name: &str, item: &mut Value) -> usize {
    if item.is_string() && is_secret(name) {
        *item = Value::from("***");
        return 1;
    }
    replace_secrets(item)
}

/// Whether secrets have such a name: `apiKey`, `api_key`, `X-Auth-Token`, `password`, ..
fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    ["secret", "token", "apikey", "password", "passwd", "authorization", "credential", "privatekey"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn logged(body: &Value) -> String {
        shown(&Bytes::from(body.to_string()))
    }

    #[test]
    fn secrets_are_replaced_at_any_depth() {
        let body = json!({"params": [{"apiKey": "k1"}, {"x-api-key": "k2"}], "password": "p", "clientSecret": "s", "tokens": {"input": 5}});
        let expected =
            json!({"params": [{"apiKey": "***"}, {"x-api-key": "***"}], "password": "***", "clientSecret": "***", "tokens": {"input": 5}});
        assert_eq!(logged(&body), expected.to_string());
    }

    #[test]
    fn a_token_is_replaced_in_any_text() {
        let token = format!("muster_admin_{}", "x".repeat(43));
        assert!(!logged(&json!({"prompt": format!("use {token} there")})).contains(&token));
        assert!(!shown(&Bytes::from(format!("no json {token}"))).contains(&token));
    }

    #[test]
    fn a_body_without_secrets_is_logged_as_it_came() {
        let body = r#"{"method": "message/send",  "id": 1}"#;
        assert_eq!(shown(&Bytes::from(body)), body);
        assert_eq!(shown_query("after=3&access_token=t&q=x"), "after=3&access_token=***&q=x");
    }

    #[test]
    fn long_bodies_are_cut_with_their_length() {
        let shown = shown(&Bytes::from("ä".repeat(LONGEST)));
        assert!(shown.len() < LONGEST + 100 && shown.ends_with("(16384 bytes in all)"), "{}", &shown[shown.len() - 40..]);
    }
}
