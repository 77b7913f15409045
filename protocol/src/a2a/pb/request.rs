//! What is asked, and what is answered beside tasks.

use super::model::{Message, Task};
use super::values::{from_struct, from_time, to_struct, to_time};
use super::{Misfit, all_from, all_into, demanded, some};
use crate::a2a as v1;
use prost_types::{Struct, Timestamp};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticationInfo {
    #[prost(string, tag = "1")]
    pub scheme: String,
    #[prost(string, tag = "2")]
    pub credentials: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskPushNotificationConfig {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub task_id: String,
    #[prost(string, tag = "4")]
    pub url: String,
    #[prost(string, tag = "5")]
    pub token: String,
    #[prost(message, optional, tag = "6")]
    pub authentication: Option<AuthenticationInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SendMessageConfiguration {
    #[prost(string, repeated, tag = "1")]
    pub accepted_output_modes: Vec<String>,
    #[prost(message, optional, tag = "2")]
    pub task_push_notification_config: Option<TaskPushNotificationConfig>,
    #[prost(int32, optional, tag = "3")]
    pub history_length: Option<i32>,
    #[prost(bool, tag = "4")]
    pub return_immediately: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SendMessageRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(message, optional, tag = "2")]
    pub message: Option<Message>,
    #[prost(message, optional, tag = "3")]
    pub configuration: Option<SendMessageConfiguration>,
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTaskRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(int32, optional, tag = "3")]
    pub history_length: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListTasksRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub context_id: String,
    #[prost(int32, tag = "3")]
    pub status: i32,
    #[prost(int32, optional, tag = "4")]
    pub page_size: Option<i32>,
    #[prost(string, tag = "5")]
    pub page_token: String,
    #[prost(int32, optional, tag = "6")]
    pub history_length: Option<i32>,
    #[prost(message, optional, tag = "7")]
    pub status_timestamp_after: Option<Timestamp>,
    #[prost(bool, optional, tag = "8")]
    pub include_artifacts: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListTasksResponse {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Task>,
    #[prost(string, tag = "2")]
    pub next_page_token: String,
    #[prost(int32, tag = "3")]
    pub page_size: i32,
    #[prost(int32, tag = "4")]
    pub total_size: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CancelTaskRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscribeToTaskRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTaskPushNotificationConfigRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
    #[prost(string, tag = "3")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteTaskPushNotificationConfigRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
    #[prost(string, tag = "3")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListTaskPushNotificationConfigsRequest {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(int32, tag = "2")]
    pub page_size: i32,
    #[prost(string, tag = "3")]
    pub page_token: String,
    #[prost(string, tag = "4")]
    pub tenant: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListTaskPushNotificationConfigsResponse {
    #[prost(message, repeated, tag = "1")]
    pub configs: Vec<TaskPushNotificationConfig>,
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetExtendedAgentCardRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
}

impl From<v1::AuthenticationInfo> for AuthenticationInfo {
    fn from(given: v1::AuthenticationInfo) -> Self {
        Self { scheme: given.scheme, credentials: given.credentials.unwrap_or_default() }
    }
}

impl From<AuthenticationInfo> for v1::AuthenticationInfo {
    fn from(given: AuthenticationInfo) -> Self {
        Self { scheme: given.scheme, credentials: some(given.credentials) }
    }
}

impl From<v1::TaskPushNotificationConfig> for TaskPushNotificationConfig {
    fn from(config: v1::TaskPushNotificationConfig) -> Self {
        let v1::TaskPushNotificationConfig { tenant, id, task_id, url, token, authentication } = config;
        let (tenant, token) = (tenant.unwrap_or_default(), token.unwrap_or_default());
        Self { tenant, id, task_id, url, token, authentication: authentication.map(Into::into) }
    }
}

impl From<TaskPushNotificationConfig> for v1::TaskPushNotificationConfig {
    fn from(config: TaskPushNotificationConfig) -> Self {
        let TaskPushNotificationConfig { tenant, id, task_id, url, token, authentication } = config;
        Self { tenant: some(tenant), id, task_id, url, token: some(token), authentication: authentication.map(Into::into) }
    }
}

impl From<v1::SendMessageConfiguration> for SendMessageConfiguration {
    fn from(configuration: v1::SendMessageConfiguration) -> Self {
        Self {
            accepted_output_modes: configuration.accepted_output_modes,
            task_push_notification_config: configuration.task_push_notification_config.map(Into::into),
            history_length: configuration.history_length,
            return_immediately: configuration.return_immediately,
        }
    }
}

impl From<SendMessageConfiguration> for v1::SendMessageConfiguration {
    fn from(configuration: SendMessageConfiguration) -> Self {
        Self {
            accepted_output_modes: configuration.accepted_output_modes,
            task_push_notification_config: configuration.task_push_notification_config.map(Into::into),
            history_length: configuration.history_length,
            return_immediately: configuration.return_immediately,
        }
    }
}

impl From<v1::SendMessageRequest> for SendMessageRequest {
    fn from(request: v1::SendMessageRequest) -> Self {
        Self {
            tenant: request.tenant.unwrap_or_default(),
            message: Some(request.message.into()),
            configuration: request.configuration.map(Into::into),
            metadata: to_struct(request.metadata),
        }
    }
}

impl TryFrom<SendMessageRequest> for v1::SendMessageRequest {
    type Error = Misfit;

    fn try_from(request: SendMessageRequest) -> Result<Self, Misfit> {
        Ok(Self {
            tenant: some(request.tenant),
            message: demanded("message", request.message)?,
            configuration: request.configuration.map(Into::into),
            metadata: from_struct("metadata", request.metadata)?,
        })
    }
}

impl From<v1::GetTaskRequest> for GetTaskRequest {
    fn from(request: v1::GetTaskRequest) -> Self {
        Self { tenant: request.tenant.unwrap_or_default(), id: request.id, history_length: request.history_length }
    }
}

impl From<GetTaskRequest> for v1::GetTaskRequest {
    fn from(request: GetTaskRequest) -> Self {
        Self { tenant: some(request.tenant), id: request.id, history_length: request.history_length }
    }
}

impl From<v1::ListTasksRequest> for ListTasksRequest {
    fn from(request: v1::ListTasksRequest) -> Self {
        Self {
            tenant: request.tenant.unwrap_or_default(),
            context_id: request.context_id.unwrap_or_default(),
            status: request.status.number(),
            page_size: request.page_size,
            page_token: request.page_token.unwrap_or_default(),
            history_length: request.history_length,
            status_timestamp_after: request.status_timestamp_after.map(to_time),
            include_artifacts: request.include_artifacts.then_some(true),
        }
    }
}

impl TryFrom<ListTasksRequest> for v1::ListTasksRequest {
    type Error = Misfit;

    fn try_from(request: ListTasksRequest) -> Result<Self, Misfit> {
        let status = v1::State::from_number(request.status.into());
        Ok(Self {
            tenant: some(request.tenant),
            context_id: some(request.context_id),
            status: status.ok_or_else(|| Misfit::new("status", "must be a state of tasks: 0 to 8"))?,
            page_size: request.page_size,
            page_token: some(request.page_token),
            history_length: request.history_length,
            status_timestamp_after: from_time("statusTimestampAfter", request.status_timestamp_after)?,
            include_artifacts: request.include_artifacts.unwrap_or_default(),
        })
    }
}

impl From<v1::ListTasksResponse> for ListTasksResponse {
    fn from(answer: v1::ListTasksResponse) -> Self {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let (page_size, total_size) = (number(answer.page_size), number(answer.total_size));
        Self { tasks: all_into(answer.tasks), next_page_token: answer.next_page_token, page_size, total_size }
    }
}

impl TryFrom<ListTasksResponse> for v1::ListTasksResponse {
    type Error = Misfit;

    fn try_from(answer: ListTasksResponse) -> Result<Self, Misfit> {
        let number = |field, n| u32::try_from(n).map_err(|_| Misfit::new(field, "must not be negative"));
        let (page_size, total_size) = (number("pageSize", answer.page_size)?, number("totalSize", answer.total_size)?);
        Ok(Self { tasks: all_from("tasks", answer.tasks)?, next_page_token: answer.next_page_token, page_size, total_size })
    }
}

impl From<v1::CancelTaskRequest> for CancelTaskRequest {
    fn from(request: v1::CancelTaskRequest) -> Self {
        Self { tenant: request.tenant.unwrap_or_default(), id: request.id, metadata: to_struct(request.metadata) }
    }
}

impl TryFrom<CancelTaskRequest> for v1::CancelTaskRequest {
    type Error = Misfit;

    fn try_from(request: CancelTaskRequest) -> Result<Self, Misfit> {
        Ok(Self { tenant: some(request.tenant), id: request.id, metadata: from_struct("metadata", request.metadata)? })
    }
}

impl From<v1::SubscribeRequest> for SubscribeToTaskRequest {
    fn from(request: v1::SubscribeRequest) -> Self {
        Self { tenant: request.tenant.unwrap_or_default(), id: request.id }
    }
}

impl From<SubscribeToTaskRequest> for v1::SubscribeRequest {
    fn from(request: SubscribeToTaskRequest) -> Self {
        Self { tenant: some(request.tenant), id: request.id }
    }
}

/// Two requests of one shape.
macro_rules! names_a_webhook {
    ($($name:ident),+) => {$(
        impl From<v1::GetPushConfigRequest> for $name {
            fn from(request: v1::GetPushConfigRequest) -> Self {
                Self { tenant: request.tenant.unwrap_or_default(), task_id: request.task_id, id: request.id }
            }
        }

        impl From<$name> for v1::GetPushConfigRequest {
            fn from(request: $name) -> Self {
                Self { tenant: some(request.tenant), task_id: request.task_id, id: request.id }
            }
        }
    )+};
}

names_a_webhook!(GetTaskPushNotificationConfigRequest, DeleteTaskPushNotificationConfigRequest);

impl From<v1::ListPushConfigsRequest> for ListTaskPushNotificationConfigsRequest {
    fn from(request: v1::ListPushConfigsRequest) -> Self {
        let v1::ListPushConfigsRequest { tenant, task_id, page_size, page_token } = request;
        let (tenant, page_token) = (tenant.unwrap_or_default(), page_token.unwrap_or_default());
        Self { task_id, page_size: page_size.unwrap_or_default(), page_token, tenant }
    }
}

impl From<ListTaskPushNotificationConfigsRequest> for v1::ListPushConfigsRequest {
    fn from(request: ListTaskPushNotificationConfigsRequest) -> Self {
        // Zero cannot be told from absent here.
        let page_size = Some(request.page_size).filter(|size| *size != 0);
        Self { tenant: some(request.tenant), task_id: request.task_id, page_size, page_token: some(request.page_token) }
    }
}

impl From<v1::ListPushConfigsResponse> for ListTaskPushNotificationConfigsResponse {
    fn from(answer: v1::ListPushConfigsResponse) -> Self {
        Self { configs: all_into(answer.configs), next_page_token: answer.next_page_token }
    }
}

impl From<ListTaskPushNotificationConfigsResponse> for v1::ListPushConfigsResponse {
    fn from(answer: ListTaskPushNotificationConfigsResponse) -> Self {
        Self { configs: all_into(answer.configs), next_page_token: answer.next_page_token }
    }
}

impl From<v1::GetExtendedCardRequest> for GetExtendedAgentCardRequest {
    fn from(request: v1::GetExtendedCardRequest) -> Self {
        Self { tenant: request.tenant.unwrap_or_default() }
    }
}

impl From<GetExtendedAgentCardRequest> for v1::GetExtendedCardRequest {
    fn from(request: GetExtendedAgentCardRequest) -> Self {
        Self { tenant: some(request.tenant) }
    }
}
