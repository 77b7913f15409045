//! Plain HTTP: what is sent byte for byte, and the answer as it came.

use super::Server;
use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, RequestBuilder};
use serde_json::Value;

/// Somebody who asks one server, each time with the same headers.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    headers: HeaderMap,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Http {
    /// The local user.
    pub(crate) fn new(server: &Server) -> Self {
        Self { client: reqwest::Client::new(), base: server.url(), headers: HeaderMap::new() }
    }

    /// The same with one more header.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Result<Self> {
        self.headers.insert(name, value.parse()?);
        Ok(self)
    }

    /// Somebody elsewhere who has this token.
    pub(crate) fn with_token(self, secret: &str) -> Result<Self> {
        self.with_header("host", "muster.example")?.with_header("authorization", &format!("Bearer {secret}"))
    }

    /// The server's address, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What is sent each time.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A request that is still to be completed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).headers(self.headers.clone())
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let request = request.build()?;
        let asked = format!("{} {}", request.method(), request.url());
        let asked = asked.chars().take(300).collect();
        let answer = self.client.execute(request).await.with_context(|| format!("no answer to {asked}"))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        // A stream of events may never end.
        let is_stream = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = if is_stream { String::new() } else { answer.text().await? };
        Ok(Answer { asked, status, headers, text })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Sends these bytes as JSON.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> Result<Answer> {
        self.send(self.request(method, path).header("content-type", "application/json").body(body)).await
    }
}

impl Answer {
    /// The body of an answer 200: existing clients take any other status for a failure.
    pub(crate) fn ok(&self) -> Result<Value> {
        ensure!(self.status == 200, "{} was answered with {}: {}", self.asked, self.status, self.text);
        self.json()
    }

    /// The `error` of a refusal with this status and code.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Result<Value> {
        let error = self.error()?;
        ensure!(
            self.status == status && error["code"] == code,
            "{} was answered with {}, not with {status} `{code}`: {}",
            self.asked,
            self.status,
            self.text
        );
        Ok(error)
    }

    /// The `error` of a refusal, whose body must have the one shape of all errors.
    pub(crate) fn error(&self) -> Result<Value> {
        ensure!(self.status >= 400, "{} was accepted with {}: {}", self.asked, self.status, self.text);
        let body = self.json()?;
        let error = body["error"].clone();
        let sentence = error["message"].as_str().unwrap_or_default();
        ensure!(
            error["code"].is_string() && !sentence.is_empty() && body["detail"] == sentence,
            "{} was answered with {} and another body than that of errors: {}",
            self.asked,
            self.status,
            self.text
        );
        Ok(error)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("{} was answered with {}, no JSON: {}", self.asked, self.status, self.text))
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
