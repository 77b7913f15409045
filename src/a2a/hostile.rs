//! What anybody may send, taken in as far as it goes without a store. For the fuzzer (`make fuzz`) and for the test that replays its corpora: whatever
//! comes, each function returns.

use super::error::A2aError;
use super::incoming::{check, message_of};
use super::jsonrpc::{parameters, read};
use super::relaxed::{self, is_relaxed};
use muster_protocol::a2a::{
    AgentCard, CancelTaskRequest, GetPushConfigRequest, GetTaskRequest, ListPushConfigsRequest, ListTasksRequest, SendMessageRequest,
    StreamResponse, SubscribeRequest, Task, TaskPushNotificationConfig, v03,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// The body of a JSON-RPC request, its parameters taken for those of every method.
///
/// # Panics
/// If something that was read cannot be written, or is something else when it is read again.
pub fn request(body: &[u8]) {
    let params = match read(body) {
        Ok(request) => request.params,
        Err((_, refused)) => return spelled(&refused),
    };
    if let Some(request) = same::<SendMessageRequest>(&params) {
        message(&request);
    }
    if let Some(old) = taken::<v03::MessageSendParams>(&params) {
        message(&old.into());
    }
    if is_relaxed(&params)
        && let Some(relaxed) = taken(&params)
        && let Err(refused) = relaxed::incoming(relaxed)
    {
        spelled(&refused);
    }
    same::<GetTaskRequest>(&params);
    same::<ListTasksRequest>(&params);
    same::<CancelTaskRequest>(&params);
    same::<SubscribeRequest>(&params);
    same::<GetPushConfigRequest>(&params);
    same::<ListPushConfigsRequest>(&params);
    if let Some(webhook) = same::<TaskPushNotificationConfig>(&params) {
        written(&v03::TaskPushNotificationConfig::from(webhook));
    }
    if let Some(old) = taken::<v03::TaskQueryParams>(&params) {
        written(&GetTaskRequest::from(old));
    }
    if let Some(old) = taken::<v03::TaskPushNotificationConfig>(&params) {
        written(&TaskPushNotificationConfig::from(old));
    }
}

/// A card, or what an agent answers and streams, of either version.
///
/// # Panics
/// As [`request`].
pub fn told(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    if let Some(card) = same::<AgentCard>(&value) {
        written(&v03::AgentCard::from(&card));
    }
    taken::<v03::AgentCard>(&value);
    if let Some(task) = same::<Task>(&value) {
        written(&v03::Task::from(task));
    }
    if let Some(old) = taken::<v03::Task>(&value) {
        written(&Task::from(old));
    }
    if let Some(event) = same::<StreamResponse>(&value) {
        written(&v03::Event::from(event));
    }
    if let Some(old) = taken::<v03::Event>(&value) {
        written(&StreamResponse::from(old));
    }
}

fn message(request: &SendMessageRequest) {
    let read = check(request).and_then(|()| message_of(request, None, None));
    match read {
        Ok(message) => drop(message.prompt()),
        Err(refused) => spelled(&refused),
    }
    written(&v03::Message::from(request.message.clone()));
}

/// What is read, if it can be.
fn taken<T: DeserializeOwned>(value: &Value) -> Option<T> {
    parameters(value.clone()).map_err(|refused| spelled(&refused)).ok()
}

/// The same; written and read again it is what it was.
fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &Value) -> Option<T> {
    let read: T = taken(value)?;
    let again = serde_json::from_value::<T>(written(&read));
    assert!(again.as_ref().is_ok_and(|again| *again == read), "{read:?} came back as {again:?}");
    Some(read)
}

#[expect(clippy::expect_used, reason = "what cannot be written is what is looked for")]
fn written(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("what was read can be written")
}

fn spelled(refused: &A2aError) {
    assert!(!refused.rpc().message.is_empty() && refused.body().is_object(), "a refusal says nothing: {refused:?}");
}
