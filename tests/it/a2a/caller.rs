//! A caller of A2A 1.0 on one binding; what it asks is written as JSON-RPC's method and parameters.

use super::channel::Channel;
use crate::support::{Answer, Http, Sent, Sse};
use anyhow::{Context, Result, anyhow, bail, ensure};
use muster_protocol::a2a::{self as v1, pb};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    Rpc,
    Rest,
    Grpc,
}

pub(crate) const BINDINGS: [Binding; 3] = [Binding::Rpc, Binding::Rest, Binding::Grpc];
/// Those that are plain HTTP with JSON.
pub(crate) const OF_JSON: [Binding; 2] = [Binding::Rpc, Binding::Rest];

#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) http: Http,
    pub(crate) binding: Binding,
    /// The path of the agent; empty for the server's own address.
    at: String,
}

/// A refusal: JSON-RPC's code, HTTP's status or gRPC's code, and the reason.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Value,
}

impl Caller {
    /// One that speaks 1.0.
    pub(crate) fn new(http: &Http, binding: Binding) -> Result<Self> {
        Ok(Self { http: http.clone().with_header("a2a-version", "1.0")?, binding, at: String::new() })
    }

    /// The same at the address of an agent.
    pub(crate) fn at(&self, agent: &str) -> Self {
        Self { at: format!("/agents/{agent}"), ..self.clone() }
    }

    pub(crate) fn request(&self, operation: &str, params: &Value) -> RequestBuilder {
        if self.binding == Binding::Rpc {
            let path = if self.at.is_empty() { "/" } else { &self.at };
            let body = json!({ "jsonrpc": "2.0", "id": "r", "method": operation, "params": params });
            return self.http.request(Method::POST, path).json(&body);
        }
        let part = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
        let (method, path, used): (_, _, &[&str]) = match operation {
            "SendMessage" => (Method::POST, "/message:send".to_owned(), &[]),
            "SendStreamingMessage" => (Method::POST, "/message:stream".to_owned(), &[]),
            "GetTask" => (Method::GET, format!("/tasks/{}", part("id")), &["id"]),
            "ListTasks" => (Method::GET, "/tasks".to_owned(), &[]),
            "CancelTask" => (Method::POST, format!("/tasks/{}:cancel", part("id")), &["id"]),
            "SubscribeToTask" => (Method::GET, format!("/tasks/{}:subscribe", part("id")), &["id"]),
            "GetExtendedAgentCard" => (Method::GET, "/extendedAgentCard".to_owned(), &[]),
            push => {
                let configs = format!("/tasks/{}/pushNotificationConfigs", part("taskId"));
                match push {
                    "CreateTaskPushNotificationConfig" => (Method::POST, configs, &["taskId"]),
                    "ListTaskPushNotificationConfigs" => (Method::GET, configs, &["taskId"]),
                    "GetTaskPushNotificationConfig" => (Method::GET, format!("{configs}/{}", part("id")), &["taskId", "id"]),
                    _ => (Method::DELETE, format!("{configs}/{}", part("id")), &["taskId", "id"]),
                }
            }
        };
        let mut rest = params.as_object().cloned().unwrap_or_else(Map::new);
        rest.retain(|name, _| !used.contains(&name.as_str()));
        let request = self.http.request(method.clone(), &format!("{}{path}", self.at));
        if method == Method::POST {
            return request.json(&rest);
        }
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        request.query(&rest.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Vec<_>>())
    }

    async fn ask(&self, operation: &str, params: &Value) -> Result<Answer> {
        self.http.send(self.request(operation, params)).await
    }

    /// The parameters with the agent, which has no address in gRPC.
    fn addressed(&self, mut params: Value) -> Value {
        if let Some(agent) = self.at.strip_prefix("/agents/") {
            params["tenant"] = json!(agent);
        }
        params
    }

    /// What gRPC answers.
    async fn tell(&self, operation: &str, params: Value) -> Result<Result<Value, Status>> {
        Channel::of(&self.http)?.call(operation, self.addressed(params)).await
    }

    /// Whether parameters can be said on this binding: in gRPC all have their types.
    pub(crate) async fn can_say(&self, operation: &str, params: &Value) -> bool {
        self.binding != Binding::Grpc || self.tell(operation, params.clone()).await.is_ok()
    }

    /// What an operation answers.
    pub(crate) async fn call(&self, operation: &str, params: Value) -> Result<Value> {
        if self.binding == Binding::Grpc {
            return self.tell(operation, params).await?.map_err(|status| anyhow!("{operation} was refused: {status:?}"));
        }
        let answer = self.ask(operation, &params).await?;
        let body = answer.ok()?;
        if self.binding == Binding::Rest {
            return Ok(body);
        }
        ensure!(body["jsonrpc"] == "2.0" && body["id"] == "r" && body.get("error").is_none(), "{operation} {params}: {body}");
        Ok(body["result"].clone())
    }

    /// How an operation is refused.
    pub(crate) async fn fault(&self, operation: &str, params: Value) -> Result<Fault> {
        if self.binding == Binding::Grpc {
            return match self.tell(operation, params.clone()).await? {
                Ok(answer) => bail!("{operation} {params} is not refused: {answer}"),
                Err(status) => fault_of_status(&status),
            };
        }
        let answer = self.ask(operation, &params).await?;
        self.fault_of(&answer).with_context(|| format!("{operation} {params}"))
    }

    pub(crate) fn fault_of(&self, answer: &Answer) -> Result<Fault> {
        let body = answer.json()?;
        let error = &body["error"];
        ensure!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "no refusal: {} {body}", answer.status);
        let details = if self.binding == Binding::Rpc { &error["data"] } else { &error["details"] };
        ensure!(details[0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo", "{body}");
        ensure!(details[0]["domain"] == "a2a-protocol.org", "{body}");
        let code = error["code"].as_i64().context("no code")?;
        match self.binding {
            Binding::Rpc => ensure!(answer.status == 200 && body.get("result").is_none(), "{} {body}", answer.status),
            _ => ensure!(i64::from(answer.status) == code && error["status"].is_string(), "{} {body}", answer.status),
        }
        Ok(Fault {
            code,
            reason: details[0]["reason"].as_str().unwrap_or_default().to_owned(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            details: details.clone(),
        })
    }

    /// Opens a stream, after an event if given.
    pub(crate) async fn stream(&self, operation: &str, params: Value, last_id: Option<u64>) -> Result<Events> {
        if self.binding == Binding::Grpc {
            let opened = Channel::of(&self.http)?.stream(operation, self.addressed(params)).await?;
            return opened.map(Events::Messages).map_err(|status| anyhow!("{operation} was refused: {status:?}"));
        }
        let mut request = self.request(operation, &params);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.to_string());
        }
        Ok(Events::Sse(Sse::of(request).await.with_context(|| format!("{operation} {params}"))?, self.binding))
    }

    /// Sends a text, with what `more` says of the message.
    pub(crate) async fn say(&self, text: &str, more: Value) -> Result<Value> {
        Ok(self.call("SendMessage", json!({ "message": message(text, more) })).await?["task"].clone())
    }
}

/// A message of the client's.
pub(crate) fn message(text: &str, more: Value) -> Value {
    let mut message = json!({ "messageId": uuid::Uuid::now_v7(), "role": "ROLE_USER", "parts": [{ "text": text }] });
    if let (Some(message), Value::Object(more)) = (message.as_object_mut(), more) {
        message.extend(more);
    }
    message
}

/// The texts of a task's artifacts.
pub(crate) fn texts(task: &Value) -> String {
    let artifacts = task["artifacts"].as_array().map(Vec::as_slice).unwrap_or_default();
    artifacts.iter().filter_map(|artifact| artifact["parts"][0]["text"].as_str()).collect()
}

/// The state of a task.
pub(crate) fn state(task: &Value) -> &str {
    task["status"]["state"].as_str().unwrap_or_default()
}

/// A refusal of gRPC: its details in the shape of the other bindings.
pub(crate) fn fault_of_status(status: &Status) -> Result<Fault> {
    let info = status.get_details_error_info().with_context(|| format!("no ErrorInfo: {status:?}"))?;
    ensure!(info.domain == "a2a-protocol.org" && !status.message().is_empty(), "{status:?}");
    let mut details = vec![json!({ "reason": info.reason })];
    if let Some(wrong) = status.get_details_bad_request() {
        let fields = wrong.field_violations.into_iter().map(|one| json!({ "field": one.field, "description": one.description }));
        details.push(json!({ "fieldViolations": fields.collect::<Vec<_>>() }));
    }
    let message = status.message().to_owned();
    Ok(Fault { code: i64::from(i32::from(status.code())), reason: info.reason, message, details: json!(details) })
}

/// A stream of events. Those of gRPC have no places.
pub(crate) enum Events {
    Sse(Sse, Binding),
    Messages(Streaming<pb::StreamResponse>),
}

impl Events {
    fn open(binding: Binding, sent: Sent) -> Result<(Option<u64>, Value)> {
        ensure!(sent.event.is_empty(), "A2A's events have no names: {sent:?}");
        if binding == Binding::Rest {
            return Ok((sent.id, sent.data));
        }
        ensure!(sent.data["jsonrpc"] == "2.0" && sent.data["id"] == "r", "{sent:?}");
        Ok((sent.id, sent.data["result"].clone()))
    }

    pub(crate) async fn next(&mut self) -> Result<Option<(Option<u64>, Value)>> {
        match self {
            Self::Sse(sse, binding) => sse.next().await?.map(|sent| Self::open(*binding, sent)).transpose(),
            Self::Messages(messages) => {
                let Some(event) = messages.message().await? else { return Ok(None) };
                Ok(Some((None, serde_json::to_value(v1::StreamResponse::try_from(event)?)?)))
            }
        }
    }

    pub(crate) async fn expect(&mut self) -> Result<(Option<u64>, Value)> {
        self.next().await?.context("the stream ended")
    }

    pub(crate) async fn rest(mut self) -> Result<Vec<(Option<u64>, Value)>> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await? {
            all.push(event);
        }
        Ok(all)
    }
}
