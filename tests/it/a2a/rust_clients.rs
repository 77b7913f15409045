//! Two clients in Rust, the official one and another: each does the whole round on each binding that it has.

use super::caller::{message, state, texts};
use crate::support::{Cx, Puller, Shared, cases, running, text, wait_for};
use a2a_client::agent_card::AgentCardResolver;
use a2a_client::{A2AClient, A2AClientFactory, Transport};
use a2a_grpc::GrpcTransportFactory;
use a2a_protocol_client::{A2aClient, ClientBuilder, ClientError, resolve_agent_card};
use anyhow::{Context, Result, anyhow, ensure};
use futures_util::StreamExt as _;
use muster_protocol::task::ReportedStatus;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

cases! {
    [] =>
        the_official_client_in_rust_does_the_whole_round_on_each_binding,
        another_client_in_rust_does_the_whole_round_on_each_binding;
}

static SERVER: Shared = Shared::embedded("a2a-rust-clients", "name = \"Server-A\"\n[a2a]\npush_notifications = true\n");

const NAMES: [&str; 3] = ["JSONRPC", "HTTP+JSON", "GRPC"];

/// An answer, or the number of the error in JSON-RPC.
type Told = Result<Value, i32>;

/// A client, with what it is asked and answers as JSON.
trait Sdk {
    async fn call(&self, operation: &str, params: Value) -> Result<Told>;

    /// The events of a stream as they come, until it ends.
    async fn follow(&self, operation: &str, params: Value, events: mpsc::UnboundedSender<Value>) -> Result<Result<(), i32>>;
}

fn read<T: DeserializeOwned>(params: &Value) -> Result<T> {
    T::deserialize(params).with_context(|| format!("the client cannot say {params}"))
}

struct Official(A2AClient<Box<dyn Transport>>);

impl Official {
    async fn connect(url: &str, binding: &str) -> Result<Self> {
        let card = AgentCardResolver::new(None).resolve(url).await?;
        let factory = A2AClientFactory::builder().register(Arc::new(GrpcTransportFactory::new()));
        let factory = factory.preferred_bindings(vec![binding.to_owned()]).build();
        let (client, interface) = factory.create_from_card_with_interface(&card).await?;
        ensure!(interface.protocol_binding == binding, "it chose {interface:?}");
        Ok(Self(client))
    }
}

impl Sdk for Official {
    async fn call(&self, operation: &str, params: Value) -> Result<Told> {
        let client = &self.0;
        macro_rules! ask {
            ($method:ident) => {
                match client.$method(&read(&params)?).await {
                    Ok(answer) => Ok(Ok(serde_json::to_value(&answer)?)),
                    Err(error) => Ok(Err(error.code)),
                }
            };
        }
        match operation {
            "SendMessage" => ask!(send_message),
            "GetTask" => ask!(get_task),
            "ListTasks" => ask!(list_tasks),
            "CancelTask" => ask!(cancel_task),
            "CreateTaskPushNotificationConfig" => ask!(create_push_config),
            "GetTaskPushNotificationConfig" => ask!(get_push_config),
            "ListTaskPushNotificationConfigs" => ask!(list_push_configs),
            "DeleteTaskPushNotificationConfig" => ask!(delete_push_config),
            _ => ask!(get_extended_agent_card),
        }
    }

    async fn follow(&self, operation: &str, params: Value, told: mpsc::UnboundedSender<Value>) -> Result<Result<(), i32>> {
        let opened = match operation {
            "SubscribeToTask" => self.0.subscribe_to_task(&read(&params)?).await,
            _ => self.0.send_streaming_message(&read(&params)?).await,
        };
        let mut events = match opened {
            Ok(events) => events,
            Err(error) => return Ok(Err(error.code)),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => told.send(serde_json::to_value(&event)?)?,
                Err(error) => return Ok(Err(error.code)),
            }
        }
        Ok(Ok(()))
    }
}

struct Other(A2aClient);

impl Other {
    async fn connect(url: &str, binding: &str) -> Result<Self> {
        let card = resolve_agent_card(url).await?;
        let builder = ClientBuilder::from_card_preferring(&card, &[binding.to_owned()])?;
        let chosen = builder.chosen_interface().map(|interface| interface.protocol_binding.clone());
        ensure!(chosen.as_deref() == Some(binding), "it chose {chosen:?}");
        Ok(Self(if binding == "GRPC" { builder.build_grpc().await? } else { builder.build()? }))
    }

    fn code(error: ClientError) -> Result<i32> {
        match error {
            ClientError::Protocol(error) => Ok(error.code.as_i32()),
            other => Err(anyhow!(other)),
        }
    }
}

impl Sdk for Other {
    async fn call(&self, operation: &str, params: Value) -> Result<Told> {
        let client = &self.0;
        macro_rules! told {
            ($call:expr) => {
                match $call.await {
                    Ok(answer) => Ok(Ok(serde_json::to_value(&answer)?)),
                    Err(error) => Self::code(error).map(Err),
                }
            };
        }
        let of = |name: &str| text(&params, name).map(str::to_owned);
        match operation {
            "SendMessage" => told!(client.send_message(read(&params)?)),
            "GetTask" => told!(client.get_task(read(&params)?)),
            "ListTasks" => told!(client.list_tasks(read(&params)?)),
            "CancelTask" => told!(client.cancel_task(of("id")?)),
            "CreateTaskPushNotificationConfig" => told!(client.set_push_config(read(&params)?)),
            "GetTaskPushNotificationConfig" => told!(client.get_push_config(of("taskId")?, of("id")?)),
            "ListTaskPushNotificationConfigs" => told!(client.list_push_configs(read(&params)?)),
            "DeleteTaskPushNotificationConfig" => told!(client.delete_push_config(of("taskId")?, of("id")?)),
            _ => told!(client.get_extended_agent_card()),
        }
    }

    async fn follow(&self, operation: &str, params: Value, told: mpsc::UnboundedSender<Value>) -> Result<Result<(), i32>> {
        let opened = match operation {
            "SubscribeToTask" => self.0.subscribe_to_task(text(&params, "id")?).await,
            _ => self.0.stream_message(read(&params)?).await,
        };
        let mut events = match opened {
            Ok(events) => events,
            Err(error) => return Self::code(error).map(Err),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => told.send(serde_json::to_value(&event)?)?,
                Err(error) => return Self::code(error).map(Err),
            }
        }
        Ok(Ok(()))
    }
}

async fn ok(sdk: &impl Sdk, operation: &str, params: Value) -> Result<Value> {
    let answer = sdk.call(operation, params).await.with_context(|| operation.to_owned())?;
    answer.map_err(|code| anyhow!("{operation} was refused with {code}"))
}

async fn refused(sdk: &impl Sdk, operation: &str, params: Value, code: i32) -> Result<()> {
    let answer = if matches!(operation, "SubscribeToTask" | "SendStreamingMessage") {
        let (told, _) = mpsc::unbounded_channel();
        sdk.follow(operation, params, told).await.map(|answer| answer.map(|()| Value::Null))
    } else {
        sdk.call(operation, params).await
    };
    let answer = answer.with_context(|| operation.to_owned())?;
    ensure!(answer == Err(code), "{operation} is not refused with {code}: {answer:?}");
    Ok(())
}

/// With an agent that answers at once.
async fn ask(monitor: &impl Sdk) -> Result<()> {
    let sent = ok(monitor, "SendMessage", json!({ "message": message("how is it", json!({ "metadata": { "k": [1, "x"] } })) })).await?;
    let task = &sent["task"];
    ensure!(state(task) == "TASK_STATE_COMPLETED" && texts(task).starts_with("Status of Server-A"), "{sent}");
    let id = &task["id"];
    let read = ok(monitor, "GetTask", json!({ "id": id, "historyLength": 5 })).await?;
    ensure!(read["id"] == *id && read["artifacts"] == task["artifacts"] && read["history"] == task["history"], "{read} {task}");
    let listed = ok(monitor, "ListTasks", json!({ "contextId": task["contextId"], "includeArtifacts": true })).await?;
    ensure!(listed["totalSize"] == 1 && listed["tasks"][0]["id"] == *id && texts(&listed["tasks"][0]) == texts(task), "{listed}");
    let (told, mut events) = mpsc::unbounded_channel::<Value>();
    let stream = json!({ "message": message("again", json!({})) });
    ensure!(monitor.follow("SendStreamingMessage", stream, told).await? == Ok(()), "the stream is refused");
    let mut kinds = Vec::new();
    while let Some(event) = events.recv().await {
        kinds.extend(event.as_object().context("no event")?.keys().cloned());
    }
    ensure!(kinds == ["task", "artifactUpdate", "statusUpdate"], "{kinds:?}");
    let webhook = json!({ "taskId": id, "id": "w", "url": "https://example.com/hook", "token": "t" });
    let kept = ok(monitor, "CreateTaskPushNotificationConfig", webhook.clone()).await?;
    ensure!(kept["url"] == webhook["url"] && kept["id"] == "w", "{kept}");
    ensure!(ok(monitor, "GetTaskPushNotificationConfig", json!({ "taskId": id, "id": "w" })).await? == kept, "it is read otherwise");
    let all = ok(monitor, "ListTaskPushNotificationConfigs", json!({ "taskId": id })).await?;
    ensure!(all["configs"] == json!([kept]), "{all}");
    ok(monitor, "DeleteTaskPushNotificationConfig", json!({ "taskId": id, "id": "w" })).await?;
    refused(monitor, "GetTaskPushNotificationConfig", json!({ "taskId": id, "id": "w" }), -32001).await?;
    refused(monitor, "GetTask", json!({ "id": "nobody" }), -32001).await?;
    refused(monitor, "CancelTask", json!({ "id": id }), -32002).await?;
    refused(monitor, "SubscribeToTask", json!({ "id": id }), -32004).await?;
    refused(monitor, "SendMessage", json!({ "message": message("x", json!({ "taskId": id })) }), -32004).await?;
    refused(monitor, "SendMessage", json!({ "message": message("x", json!({ "parts": [] })) }), -32602).await?;
    let card = ok(monitor, "GetExtendedAgentCard", json!({})).await?;
    ensure!(card["name"] == "Monitor-Server-A", "{card}");
    Ok(())
}

/// With a machine: a task is followed and canceled.
async fn follow_and_cancel(machine: &impl Sdk, worker: &Puller) -> Result<()> {
    let send = json!({ "message": message("work", json!({})), "configuration": { "returnImmediately": true } });
    let id = ok(machine, "SendMessage", send).await?["task"]["id"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_rust").await?;
    let (told, mut events) = mpsc::unbounded_channel::<Value>();
    let work = async {
        let first = events.recv().await.context("no event")?;
        ensure!(state(&first["task"]) == "TASK_STATE_WORKING", "{first}");
        worker.append(&given, 0, &["one "]).await?;
        let piece = events.recv().await.context("no event")?;
        ensure!(piece["artifactUpdate"]["artifact"]["parts"][0]["text"] == "one ", "{piece}");
        let (canceled, ()) = tokio::try_join!(ok(machine, "CancelTask", json!({ "id": id })), async {
            let asked = wait_for("the cancel", Duration::from_secs(10), async || {
                let pulled = worker.pull(&[running(given.task.id, given.attempt)], Duration::from_secs(5)).await?;
                Ok(pulled.cancel.into_iter().next())
            });
            asked.await?;
            Ok(worker.report(&given, ReportedStatus::Cancelled, json!({})).await.map(drop)?)
        })?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED", "{canceled}");
        let mut last = Value::Null;
        while let Some(event) = events.recv().await {
            last = event;
        }
        ensure!(state(&last["statusUpdate"]) == "TASK_STATE_CANCELED", "{last}");
        Ok(())
    };
    let (outcome, ()) = tokio::try_join!(machine.follow("SubscribeToTask", json!({ "id": id }), told), work)?;
    ensure!(outcome == Ok(()), "the stream ends with {outcome:?}");
    Ok(())
}

async fn the_official_client_in_rust_does_the_whole_round_on_each_binding(cx: &Cx) -> Result<()> {
    let server = SERVER.get(cx).await?;
    let worker = Puller::register(server.client(), "official", json!({})).await?;
    for binding in NAMES {
        let at = async |agent: &str| Official::connect(&format!("{}/agents/{agent}", server.url()), binding).await;
        ask(&at("monitor").await?).await.context(binding)?;
        follow_and_cancel(&at("official").await?, &worker).await.context(binding)?;
    }
    Ok(())
}

async fn another_client_in_rust_does_the_whole_round_on_each_binding(cx: &Cx) -> Result<()> {
    let server = SERVER.get(cx).await?;
    let worker = Puller::register(server.client(), "other", json!({})).await?;
    for binding in NAMES {
        let at = async |agent: &str| Other::connect(&format!("{}/agents/{agent}", server.url()), binding).await;
        ask(&at("monitor").await?).await.context(binding)?;
        follow_and_cancel(&at("other").await?, &worker).await.context(binding)?;
    }
    Ok(())
}
