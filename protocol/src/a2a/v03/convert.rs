//! The translation between 0.3 and 1.0.

use super::model::{
    Artifact, Event, File, FileContent, IsArtifact, IsMessage, IsStatus, IsTask, Message, Part, Role, SendResult, State, Task,
    TaskArtifactUpdateEvent, TaskStatus, TaskStatusUpdateEvent,
};
use super::params::{MessageSendConfiguration, MessageSendParams, PushAuthentication, PushNotificationConfig, TaskPushNotificationConfig};
use crate::a2a::{self as v1, Content, Metadata};
use serde_json::Value;

/// In the metadata of a part: its data is the `value` of the object.
const WRAPPED: &str = "data_part_compat";
const VALUE: &str = "value";

/// The states of both sides.
const STATES: [(State, v1::State); 9] = [
    (State::Unknown, v1::State::Unspecified),
    (State::Submitted, v1::State::Submitted),
    (State::Working, v1::State::Working),
    (State::InputRequired, v1::State::InputRequired),
    (State::AuthRequired, v1::State::AuthRequired),
    (State::Completed, v1::State::Completed),
    (State::Failed, v1::State::Failed),
    (State::Canceled, v1::State::Canceled),
    (State::Rejected, v1::State::Rejected),
];

impl From<State> for v1::State {
    fn from(state: State) -> Self {
        STATES.iter().find(|(old, _)| *old == state).map(|(_, new)| *new).unwrap_or_default()
    }
}

impl From<v1::State> for State {
    fn from(state: v1::State) -> Self {
        STATES.iter().find(|(_, new)| *new == state).map(|(old, _)| *old).unwrap_or_default()
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Agent => Self::Agent,
        }
    }
}

impl From<v1::Role> for Role {
    fn from(role: v1::Role) -> Self {
        if role == v1::Role::Agent { Self::Agent } else { Self::User }
    }
}

fn some(metadata: Metadata) -> Option<Metadata> {
    Some(metadata).filter(|metadata| !metadata.is_empty())
}

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}

fn some_of<A, B: From<A>>(items: Vec<A>) -> Option<Vec<B>> {
    Some(all(items)).filter(|items| !items.is_empty())
}

impl From<Part> for v1::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Text { text, metadata } => Self { metadata: metadata.unwrap_or_default(), ..Self::text(text) },
            Part::Data { mut data, metadata } => {
                let mut metadata = metadata.unwrap_or_default();
                if metadata.get(WRAPPED) == Some(&Value::Bool(true))
                    && let Some(wrapped) = data.get_mut(VALUE).map(Value::take)
                {
                    metadata.remove(WRAPPED);
                    data = wrapped;
                }
                Self { metadata, ..Self::data(data) }
            }
            Part::File { file: File { content, name, mime_type }, metadata } => Self {
                content: match content {
                    FileContent::Bytes(bytes) => Content::Raw(bytes),
                    FileContent::Uri(uri) => Content::Url(uri),
                },
                filename: name,
                media_type: mime_type,
                metadata: metadata.unwrap_or_default(),
            },
        }
    }
}

impl From<v1::Part> for Part {
    fn from(part: v1::Part) -> Self {
        let v1::Part { content, filename, media_type, mut metadata } = part;
        let file = |content| File { content, name: filename, mime_type: media_type };
        match content {
            Content::Text(text) => Self::Text { text, metadata: some(metadata) },
            Content::Data(data @ Value::Object(_)) => Self::Data { data, metadata: some(metadata) },
            Content::Data(other) => {
                metadata.insert(WRAPPED.to_owned(), Value::Bool(true));
                Self::Data { data: Metadata::from_iter([(VALUE.to_owned(), other)]).into(), metadata: some(metadata) }
            }
            Content::Raw(bytes) => Self::File { file: file(FileContent::Bytes(bytes)), metadata: some(metadata) },
            Content::Url(uri) => Self::File { file: file(FileContent::Uri(uri)), metadata: some(metadata) },
        }
    }
}

impl From<Message> for v1::Message {
    fn from(m: Message) -> Self {
        Self {
            message_id: m.message_id,
            context_id: m.context_id,
            task_id: m.task_id,
            role: m.role.into(),
            parts: all(m.parts),
            metadata: m.metadata.unwrap_or_default(),
            extensions: m.extensions.unwrap_or_default(),
            reference_task_ids: m.reference_task_ids.unwrap_or_default(),
        }
    }
}

impl From<v1::Message> for Message {
    fn from(m: v1::Message) -> Self {
        Self {
            kind: IsMessage,
            message_id: m.message_id,
            role: m.role.into(),
            parts: all(m.parts),
            context_id: m.context_id,
            task_id: m.task_id,
            metadata: some(m.metadata),
            extensions: some_of(m.extensions),
            reference_task_ids: some_of(m.reference_task_ids),
        }
    }
}

impl From<Artifact> for v1::Artifact {
    fn from(a: Artifact) -> Self {
        Self {
            artifact_id: a.artifact_id,
            name: a.name,
            description: a.description,
            parts: all(a.parts),
            metadata: a.metadata.unwrap_or_default(),
            extensions: a.extensions.unwrap_or_default(),
        }
    }
}

impl From<v1::Artifact> for Artifact {
    fn from(a: v1::Artifact) -> Self {
        Self {
            artifact_id: a.artifact_id,
            parts: all(a.parts),
            name: a.name,
            description: a.description,
            metadata: some(a.metadata),
            extensions: some_of(a.extensions),
        }
    }
}

impl From<TaskStatus> for v1::TaskStatus {
    fn from(s: TaskStatus) -> Self {
        Self { state: s.state.into(), message: s.message.map(|message| Box::new(message.into())), timestamp: s.timestamp }
    }
}

impl From<v1::TaskStatus> for TaskStatus {
    fn from(s: v1::TaskStatus) -> Self {
        Self { state: s.state.into(), message: s.message.map(|message| (*message).into()), timestamp: s.timestamp }
    }
}

impl From<Task> for v1::Task {
    fn from(t: Task) -> Self {
        Self {
            id: t.id,
            context_id: t.context_id,
            status: t.status.into(),
            artifacts: t.artifacts.map(all),
            history: t.history.map(all).unwrap_or_default(),
            metadata: t.metadata.unwrap_or_default(),
        }
    }
}

impl From<v1::Task> for Task {
    fn from(t: v1::Task) -> Self {
        Self {
            kind: IsTask,
            id: t.id,
            context_id: t.context_id,
            status: t.status.into(),
            artifacts: t.artifacts.map(all),
            history: some_of(t.history),
            metadata: some(t.metadata),
        }
    }
}

impl From<TaskStatusUpdateEvent> for v1::TaskStatusUpdateEvent {
    fn from(e: TaskStatusUpdateEvent) -> Self {
        Self { task_id: e.task_id, context_id: e.context_id, status: e.status.into(), metadata: e.metadata.unwrap_or_default() }
    }
}

impl From<v1::TaskStatusUpdateEvent> for TaskStatusUpdateEvent {
    fn from(e: v1::TaskStatusUpdateEvent) -> Self {
        let is_final = e.status.state.is_terminal() || e.status.state.is_interrupted();
        Self { kind: IsStatus, task_id: e.task_id, context_id: e.context_id, status: e.status.into(), is_final, metadata: some(e.metadata) }
    }
}

impl From<TaskArtifactUpdateEvent> for v1::TaskArtifactUpdateEvent {
    fn from(e: TaskArtifactUpdateEvent) -> Self {
        Self {
            task_id: e.task_id,
            context_id: e.context_id,
            artifact: e.artifact.into(),
            append: e.append.unwrap_or_default(),
            last_chunk: e.last_chunk.unwrap_or_default(),
            metadata: e.metadata.unwrap_or_default(),
        }
    }
}

impl From<v1::TaskArtifactUpdateEvent> for TaskArtifactUpdateEvent {
    fn from(e: v1::TaskArtifactUpdateEvent) -> Self {
        Self {
            kind: IsArtifact,
            task_id: e.task_id,
            context_id: e.context_id,
            artifact: e.artifact.into(),
            append: Some(e.append),
            last_chunk: Some(e.last_chunk),
            metadata: some(e.metadata),
        }
    }
}

impl From<Event> for v1::StreamResponse {
    fn from(event: Event) -> Self {
        match event {
            Event::StatusUpdate(e) => Self::StatusUpdate(e.into()),
            Event::ArtifactUpdate(e) => Self::ArtifactUpdate(e.into()),
            Event::Task(task) => Self::Task(task.into()),
            Event::Message(message) => Self::Message(message.into()),
        }
    }
}

impl From<v1::StreamResponse> for Event {
    fn from(event: v1::StreamResponse) -> Self {
        match event {
            v1::StreamResponse::StatusUpdate(e) => Self::StatusUpdate(e.into()),
            v1::StreamResponse::ArtifactUpdate(e) => Self::ArtifactUpdate(e.into()),
            v1::StreamResponse::Task(task) => Self::Task(task.into()),
            v1::StreamResponse::Message(message) => Self::Message(message.into()),
        }
    }
}

impl From<v1::SendMessageResponse> for SendResult {
    fn from(response: v1::SendMessageResponse) -> Self {
        match response {
            v1::SendMessageResponse::Task(task) => Self::Task(task.into()),
            v1::SendMessageResponse::Message(message) => Self::Message(message.into()),
        }
    }
}

impl From<PushAuthentication> for v1::AuthenticationInfo {
    fn from(a: PushAuthentication) -> Self {
        Self { scheme: a.schemes.into_iter().next().unwrap_or_default(), credentials: a.credentials }
    }
}

impl From<v1::AuthenticationInfo> for PushAuthentication {
    fn from(a: v1::AuthenticationInfo) -> Self {
        Self { schemes: Some(a.scheme).filter(|scheme| !scheme.is_empty()).into_iter().collect(), credentials: a.credentials }
    }
}

impl From<PushNotificationConfig> for v1::TaskPushNotificationConfig {
    fn from(c: PushNotificationConfig) -> Self {
        Self {
            id: c.id.unwrap_or_default(),
            url: c.url,
            token: c.token,
            authentication: c.authentication.map(Into::into),
            ..Self::default()
        }
    }
}

impl From<TaskPushNotificationConfig> for v1::TaskPushNotificationConfig {
    fn from(c: TaskPushNotificationConfig) -> Self {
        Self { task_id: c.task_id, ..c.push_notification_config.into() }
    }
}

impl From<v1::TaskPushNotificationConfig> for TaskPushNotificationConfig {
    fn from(c: v1::TaskPushNotificationConfig) -> Self {
        let v1::TaskPushNotificationConfig { id, task_id, url, token, authentication, .. } = c;
        let id = Some(id).filter(|id| !id.is_empty());
        let authentication = authentication.map(Into::into);
        Self { task_id, push_notification_config: PushNotificationConfig { id, url, token, authentication } }
    }
}

impl From<MessageSendConfiguration> for v1::SendMessageConfiguration {
    fn from(c: MessageSendConfiguration) -> Self {
        Self {
            accepted_output_modes: c.accepted_output_modes.unwrap_or_default(),
            task_push_notification_config: c.push_notification_config.map(Into::into),
            history_length: history_length(c.history_length),
            return_immediately: c.blocking == Some(false),
        }
    }
}

impl From<MessageSendParams> for v1::SendMessageRequest {
    fn from(p: MessageSendParams) -> Self {
        Self {
            tenant: None,
            message: p.message.into(),
            configuration: p.configuration.map(Into::into),
            metadata: p.metadata.unwrap_or_default(),
        }
    }
}

/// In 0.3, 0 means all.
#[must_use]
pub(super) fn history_length(length: Option<i32>) -> Option<i32> {
    length.filter(|n| *n != 0)
}

impl From<super::TaskQueryParams> for v1::GetTaskRequest {
    fn from(p: super::TaskQueryParams) -> Self {
        Self { tenant: None, id: p.id, history_length: history_length(p.history_length) }
    }
}
