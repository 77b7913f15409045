//! The methods of 0.3, in 1.0's terms.

use super::asked::Asked;
use super::error::Outcome;
use super::jsonrpc::{Answer, parameters};
use super::relaxed::is_relaxed;
use muster_protocol::a2a::v03::{
    AgentCard, MessageSendParams, PushConfigParams, SendResult, Task, TaskIdParams, TaskPushNotificationConfig, TaskQueryParams,
};
use muster_protocol::a2a::{CancelTaskRequest, GetPushConfigRequest, ListPushConfigsRequest, SubscribeRequest};
use serde_json::{Value, json};

/// The methods.
const METHODS: [&str; 10] = [
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "agent/getAuthenticatedExtendedCard",
];

/// Whether there is such a method.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

impl Asked {
    pub(super) async fn call_old(&self, method: &str, params: Value, after: Option<u64>) -> Outcome<Answer> {
        let answer = match method {
            "message/send" if is_relaxed(&params) => self.send_relaxed(parameters(params)?).await?,
            "message/send" => {
                let params: MessageSendParams = parameters(params)?;
                json!(SendResult::from(self.send(&params.into()).await?))
            }
            "message/stream" => {
                let params: MessageSendParams = parameters(params)?;
                return Ok(Answer::OldEvents(self.send_streaming(&params.into()).await?));
            }
            "tasks/get" => {
                let params: TaskQueryParams = parameters(params)?;
                json!(Task::from(self.get_task(&params.into()).await?))
            }
            "tasks/cancel" => {
                let TaskIdParams { id } = parameters(params)?;
                json!(Task::from(self.cancel(&CancelTaskRequest { id, ..CancelTaskRequest::default() }).await?))
            }
            "tasks/resubscribe" => {
                let TaskIdParams { id } = parameters(params)?;
                return Ok(Answer::OldEvents(self.subscribe(&SubscribeRequest { tenant: None, id }, after).await?));
            }
            "tasks/pushNotificationConfig/set" => {
                let params: TaskPushNotificationConfig = parameters(params)?;
                json!(TaskPushNotificationConfig::from(self.create_push(params.into()).await?))
            }
            "tasks/pushNotificationConfig/get" => {
                let request = push_request(parameters(params)?);
                json!(TaskPushNotificationConfig::from(self.get_push(&request).await?))
            }
            "tasks/pushNotificationConfig/list" => {
                let TaskIdParams { id } = parameters(params)?;
                let request = ListPushConfigsRequest { task_id: id, ..ListPushConfigsRequest::default() };
                let configs = self.list_push(&request).await?.configs;
                json!(configs.into_iter().map(TaskPushNotificationConfig::from).collect::<Vec<_>>())
            }
            "tasks/pushNotificationConfig/delete" => {
                self.delete_push(&push_request(parameters(params)?)).await?;
                Value::Null
            }
            _ => json!(AgentCard::from(&self.extended_card().await?)),
        };
        Ok(Answer::Value(answer))
    }
}

/// One that was set without an id has its task's.
fn push_request(params: PushConfigParams) -> GetPushConfigRequest {
    let id = params.push_notification_config_id.filter(|id| !id.is_empty()).unwrap_or_else(|| params.id.clone());
    GetPushConfigRequest { tenant: None, task_id: params.id, id }
}
