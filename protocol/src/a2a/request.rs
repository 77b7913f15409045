//! What is asked, and what is answered beside tasks.

use super::model::{Message, Metadata, State, Task};
use super::proto::{int, is_off, or_default};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Map;

/// How a webhook knows its sender.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthenticationInfo {
    /// The scheme of the header `Authorization`: `Bearer`, `Basic`, ..
    pub scheme: String,
    /// What follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// A webhook that is told of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPushNotificationConfig {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its id, unique in its task; the server makes one if absent.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The task.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// Where it is.
    pub url: String,
    /// Sent along as `X-A2A-Notification-Token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How it knows its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationInfo>,
}

/// How a message is to be answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageConfiguration {
    /// Media types that the client reads.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub accepted_output_modes: Vec<String>,
    /// A webhook for the task that it becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_push_notification_config: Option<TaskPushNotificationConfig>,
    /// How many of the newest messages of the history are wanted; 0 for none, absent for what the server thinks right.
    #[serde(default, deserialize_with = "int", skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i32>,
    /// Answer at once; else when the task has ended or waits for the client.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_off")]
    pub return_immediately: bool,
}

/// `SendMessage`, `SendStreamingMessage`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SendMessageRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The message.
    pub message: Message,
    /// How it is to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SendMessageConfiguration>,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
}

/// `GetTask`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTaskRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The task.
    pub id: String,
    /// As in [`SendMessageConfiguration`].
    #[serde(default, deserialize_with = "int", skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i32>,
}

/// `ListTasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only of this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// Only in this state.
    #[serde(default, deserialize_with = "or_default")]
    pub status: State,
    /// How many, from 1 to 100; 50 if absent.
    #[serde(default, deserialize_with = "int", skip_serializing_if = "Option::is_none")]
    pub page_size: Option<i32>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// As in [`SendMessageConfiguration`].
    #[serde(default, deserialize_with = "int", skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i32>,
    /// Only those whose status is from then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_timestamp_after: Option<Timestamp>,
    /// Whether artifacts are wanted.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_off")]
    pub include_artifacts: bool,
}

/// The answer to [`ListTasksRequest`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResponse {
    /// The newest status first.
    pub tasks: Vec<Task>,
    /// Where the next page begins; empty after the last one.
    pub next_page_token: String,
    /// How many a page holds at most.
    pub page_size: u32,
    /// How many there are in all.
    pub total_size: u32,
}

/// `CancelTask`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CancelTaskRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The task.
    pub id: String,
    /// Anything.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
}

/// `SubscribeToTask`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The task.
    pub id: String,
}

/// `GetTaskPushNotificationConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetPushConfigRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The task.
    pub task_id: String,
    /// The webhook.
    pub id: String,
}

/// `DeleteTaskPushNotificationConfig`.
pub type DeletePushConfigRequest = GetPushConfigRequest;

/// `ListTaskPushNotificationConfigs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPushConfigsRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The task.
    pub task_id: String,
    /// How many at most; a task has few, and all are answered if absent.
    #[serde(default, deserialize_with = "int", skip_serializing_if = "Option::is_none")]
    pub page_size: Option<i32>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
}

/// The answer to [`ListPushConfigsRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPushConfigsResponse {
    /// The webhooks of the task.
    pub configs: Vec<TaskPushNotificationConfig>,
    /// Where the next page begins; empty after the last one.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

/// `GetExtendedAgentCard`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetExtendedCardRequest {
    /// Routes, as the card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}
