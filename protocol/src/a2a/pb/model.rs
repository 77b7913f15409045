//! Tasks, messages, artifacts, and the events of a stream.

use super::values::{from_struct, from_time, from_value, to_struct, to_time, to_value};
use super::{Misfit, all_from, all_into, demanded, one_from, some};
use crate::a2a as v1;
use prost_types::{Struct, Timestamp, Value};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Part {
    #[prost(oneof = "Content", tags = "1, 2, 3, 4")]
    pub content: Option<Content>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Struct>,
    #[prost(string, tag = "6")]
    pub filename: String,
    #[prost(string, tag = "7")]
    pub media_type: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bytes = "vec", tag = "2")]
    Raw(Vec<u8>),
    #[prost(string, tag = "3")]
    Url(String),
    #[prost(message, tag = "4")]
    Data(Value),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(string, tag = "1")]
    pub message_id: String,
    #[prost(string, tag = "2")]
    pub context_id: String,
    #[prost(string, tag = "3")]
    pub task_id: String,
    #[prost(int32, tag = "4")]
    pub role: i32,
    #[prost(message, repeated, tag = "5")]
    pub parts: Vec<Part>,
    #[prost(message, optional, tag = "6")]
    pub metadata: Option<Struct>,
    #[prost(string, repeated, tag = "7")]
    pub extensions: Vec<String>,
    #[prost(string, repeated, tag = "8")]
    pub reference_task_ids: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Artifact {
    #[prost(string, tag = "1")]
    pub artifact_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(message, repeated, tag = "4")]
    pub parts: Vec<Part>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Struct>,
    #[prost(string, repeated, tag = "6")]
    pub extensions: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStatus {
    #[prost(int32, tag = "1")]
    pub state: i32,
    #[prost(message, optional, tag = "2")]
    pub message: Option<Message>,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Task {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub context_id: String,
    #[prost(message, optional, tag = "3")]
    pub status: Option<TaskStatus>,
    #[prost(message, repeated, tag = "4")]
    pub artifacts: Vec<Artifact>,
    #[prost(message, repeated, tag = "5")]
    pub history: Vec<Message>,
    #[prost(message, optional, tag = "6")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStatusUpdateEvent {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(string, tag = "2")]
    pub context_id: String,
    #[prost(message, optional, tag = "3")]
    pub status: Option<TaskStatus>,
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskArtifactUpdateEvent {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(string, tag = "2")]
    pub context_id: String,
    #[prost(message, optional, tag = "3")]
    pub artifact: Option<Artifact>,
    #[prost(bool, tag = "4")]
    pub append: bool,
    #[prost(bool, tag = "5")]
    pub last_chunk: bool,
    #[prost(message, optional, tag = "6")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamResponse {
    #[prost(oneof = "Event", tags = "1, 2, 3, 4")]
    pub payload: Option<Event>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Event {
    #[prost(message, tag = "1")]
    Task(Task),
    #[prost(message, tag = "2")]
    Message(Message),
    #[prost(message, tag = "3")]
    StatusUpdate(TaskStatusUpdateEvent),
    #[prost(message, tag = "4")]
    ArtifactUpdate(TaskArtifactUpdateEvent),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SendMessageResponse {
    #[prost(oneof = "Reply", tags = "1, 2")]
    pub payload: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Reply {
    #[prost(message, tag = "1")]
    Task(Task),
    #[prost(message, tag = "2")]
    Message(Message),
}

impl From<v1::Part> for Part {
    fn from(part: v1::Part) -> Self {
        let content = match part.content {
            v1::Content::Text(text) => Content::Text(text),
            v1::Content::Raw(bytes) => Content::Raw(bytes),
            v1::Content::Url(url) => Content::Url(url),
            v1::Content::Data(data) => Content::Data(to_value(data)),
        };
        Self {
            content: Some(content),
            metadata: to_struct(part.metadata),
            filename: part.filename.unwrap_or_default(),
            media_type: part.media_type.unwrap_or_default(),
        }
    }
}

impl TryFrom<Part> for v1::Part {
    type Error = Misfit;

    fn try_from(part: Part) -> Result<Self, Misfit> {
        let content = match part.content {
            Some(Content::Text(text)) => v1::Content::Text(text),
            Some(Content::Raw(bytes)) => v1::Content::Raw(bytes),
            Some(Content::Url(url)) => v1::Content::Url(url),
            Some(Content::Data(data)) => v1::Content::Data(from_value(data).map_err(|misfit| misfit.within("data"))?),
            None => return Err(Misfit::new("", "must hold one of text, raw, url and data")),
        };
        let metadata = from_struct("metadata", part.metadata)?;
        Ok(Self { content, filename: some(part.filename), media_type: some(part.media_type), metadata })
    }
}

impl From<v1::Message> for Message {
    fn from(message: v1::Message) -> Self {
        Self {
            message_id: message.message_id,
            context_id: message.context_id.unwrap_or_default(),
            task_id: message.task_id.unwrap_or_default(),
            role: message.role.number(),
            parts: all_into(message.parts),
            metadata: to_struct(message.metadata),
            extensions: message.extensions,
            reference_task_ids: message.reference_task_ids,
        }
    }
}

impl TryFrom<Message> for v1::Message {
    type Error = Misfit;

    fn try_from(message: Message) -> Result<Self, Misfit> {
        Ok(Self {
            message_id: message.message_id,
            context_id: some(message.context_id),
            task_id: some(message.task_id),
            role: v1::Role::from_number(message.role.into()).unwrap_or_default(),
            parts: all_from("parts", message.parts)?,
            metadata: from_struct("metadata", message.metadata)?,
            extensions: message.extensions,
            reference_task_ids: message.reference_task_ids,
        })
    }
}

impl From<v1::Artifact> for Artifact {
    fn from(artifact: v1::Artifact) -> Self {
        Self {
            artifact_id: artifact.artifact_id,
            name: artifact.name.unwrap_or_default(),
            description: artifact.description.unwrap_or_default(),
            parts: all_into(artifact.parts),
            metadata: to_struct(artifact.metadata),
            extensions: artifact.extensions,
        }
    }
}

impl TryFrom<Artifact> for v1::Artifact {
    type Error = Misfit;

    fn try_from(artifact: Artifact) -> Result<Self, Misfit> {
        Ok(Self {
            artifact_id: artifact.artifact_id,
            name: some(artifact.name),
            description: some(artifact.description),
            parts: all_from("parts", artifact.parts)?,
            metadata: from_struct("metadata", artifact.metadata)?,
            extensions: artifact.extensions,
        })
    }
}

impl From<v1::TaskStatus> for TaskStatus {
    fn from(status: v1::TaskStatus) -> Self {
        let message = status.message.map(|message| Message::from(*message));
        Self { state: status.state.number(), message, timestamp: status.timestamp.map(to_time) }
    }
}

impl TryFrom<TaskStatus> for v1::TaskStatus {
    type Error = Misfit;

    fn try_from(status: TaskStatus) -> Result<Self, Misfit> {
        let message = status.message.map(|message| one_from("message", message)).transpose()?;
        Ok(Self {
            state: v1::State::from_number(status.state.into()).unwrap_or_default(),
            message: message.map(Box::new),
            timestamp: from_time("timestamp", status.timestamp)?,
        })
    }
}

impl From<v1::Task> for Task {
    fn from(task: v1::Task) -> Self {
        Self {
            id: task.id,
            context_id: task.context_id,
            status: Some(task.status.into()),
            artifacts: all_into(task.artifacts.unwrap_or_default()),
            history: all_into(task.history),
            metadata: to_struct(task.metadata),
        }
    }
}

impl TryFrom<Task> for v1::Task {
    type Error = Misfit;

    fn try_from(task: Task) -> Result<Self, Misfit> {
        Ok(Self {
            id: task.id,
            context_id: task.context_id,
            status: demanded("status", task.status)?,
            artifacts: Some(all_from("artifacts", task.artifacts)?).filter(|artifacts: &Vec<_>| !artifacts.is_empty()),
            history: all_from("history", task.history)?,
            metadata: from_struct("metadata", task.metadata)?,
        })
    }
}

impl From<v1::TaskStatusUpdateEvent> for TaskStatusUpdateEvent {
    fn from(event: v1::TaskStatusUpdateEvent) -> Self {
        let v1::TaskStatusUpdateEvent { task_id, context_id, status, metadata } = event;
        Self { task_id, context_id, status: Some(status.into()), metadata: to_struct(metadata) }
    }
}

impl TryFrom<TaskStatusUpdateEvent> for v1::TaskStatusUpdateEvent {
    type Error = Misfit;

    fn try_from(event: TaskStatusUpdateEvent) -> Result<Self, Misfit> {
        let TaskStatusUpdateEvent { task_id, context_id, status, metadata } = event;
        Ok(Self { task_id, context_id, status: demanded("status", status)?, metadata: from_struct("metadata", metadata)? })
    }
}

impl From<v1::TaskArtifactUpdateEvent> for TaskArtifactUpdateEvent {
    fn from(event: v1::TaskArtifactUpdateEvent) -> Self {
        let v1::TaskArtifactUpdateEvent { task_id, context_id, artifact, append, last_chunk, metadata } = event;
        Self { task_id, context_id, artifact: Some(artifact.into()), append, last_chunk, metadata: to_struct(metadata) }
    }
}

impl TryFrom<TaskArtifactUpdateEvent> for v1::TaskArtifactUpdateEvent {
    type Error = Misfit;

    fn try_from(event: TaskArtifactUpdateEvent) -> Result<Self, Misfit> {
        let TaskArtifactUpdateEvent { task_id, context_id, artifact, append, last_chunk, metadata } = event;
        let artifact = demanded("artifact", artifact)?;
        Ok(Self { task_id, context_id, artifact, append, last_chunk, metadata: from_struct("metadata", metadata)? })
    }
}

impl From<v1::StreamResponse> for StreamResponse {
    fn from(event: v1::StreamResponse) -> Self {
        let payload = match event {
            v1::StreamResponse::Task(task) => Event::Task(task.into()),
            v1::StreamResponse::Message(message) => Event::Message(message.into()),
            v1::StreamResponse::StatusUpdate(update) => Event::StatusUpdate(update.into()),
            v1::StreamResponse::ArtifactUpdate(update) => Event::ArtifactUpdate(update.into()),
        };
        Self { payload: Some(payload) }
    }
}

impl TryFrom<StreamResponse> for v1::StreamResponse {
    type Error = Misfit;

    fn try_from(event: StreamResponse) -> Result<Self, Misfit> {
        Ok(match event.payload {
            Some(Event::Task(task)) => Self::Task(one_from("task", task)?),
            Some(Event::Message(message)) => Self::Message(one_from("message", message)?),
            Some(Event::StatusUpdate(update)) => Self::StatusUpdate(one_from("statusUpdate", update)?),
            Some(Event::ArtifactUpdate(update)) => Self::ArtifactUpdate(one_from("artifactUpdate", update)?),
            None => return Err(Misfit::new("", "must hold one of task, message, statusUpdate and artifactUpdate")),
        })
    }
}

impl From<v1::SendMessageResponse> for SendMessageResponse {
    fn from(answer: v1::SendMessageResponse) -> Self {
        let payload = match answer {
            v1::SendMessageResponse::Task(task) => Reply::Task(task.into()),
            v1::SendMessageResponse::Message(message) => Reply::Message(message.into()),
        };
        Self { payload: Some(payload) }
    }
}

impl TryFrom<SendMessageResponse> for v1::SendMessageResponse {
    type Error = Misfit;

    fn try_from(answer: SendMessageResponse) -> Result<Self, Misfit> {
        Ok(match answer.payload {
            Some(Reply::Task(task)) => Self::Task(one_from("task", task)?),
            Some(Reply::Message(message)) => Self::Message(one_from("message", message)?),
            None => return Err(Misfit::new("", "must hold one of task and message")),
        })
    }
}
