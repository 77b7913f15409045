//! The A2A data model: version 1.0 as its JSON goes over the wire (`ProtoJSON`: camelCase, `TASK_STATE_*`, `ROLE_*`), version 0.3 with the translation
//! both ways ([`v03`]), the Protocol Buffers of gRPC with theirs (`pb`, with the feature `grpc`), the relaxed form of the quick start
//! ([`relaxed`]), and the envelope of JSON-RPC ([`rpc`]).
//!
//! Unknown fields are ignored; `null` stands for an absent field, as in `ProtoJSON`. What a caller must give and did not is an error of reading.

#[cfg(test)]
#[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "some of it is for the tests of `pb` alone"))]
mod arbitrary;
mod card;
mod depth;
mod error;
mod model;
mod part;
#[cfg(feature = "grpc")]
pub mod pb;
mod proto;
pub mod relaxed;
mod request;
pub mod rpc;
pub mod v03;

pub use card::{
    AgentCapabilities, AgentCard, AgentCardSignature, AgentExtension, AgentInterface, AgentProvider, AgentSkill, ApiKeyScheme, HttpScheme,
    SecurityRequirement, SecurityScheme, StringList, binding,
};
pub use depth::{MOST_DEPTH, depth, depth_of};
pub use error::{DOMAIN, ERROR_INFO, ErrorKind};
pub use model::{
    Artifact, Message, Metadata, Role, SendMessageResponse, State, StreamResponse, Task, TaskArtifactUpdateEvent, TaskStatus,
    TaskStatusUpdateEvent,
};
pub use part::{Content, Part};
pub use request::{
    AuthenticationInfo, CancelTaskRequest, DeletePushConfigRequest, GetExtendedCardRequest, GetPushConfigRequest, GetTaskRequest,
    ListPushConfigsRequest, ListPushConfigsResponse, ListTasksRequest, ListTasksResponse, SendMessageConfiguration, SendMessageRequest,
    SubscribeRequest, TaskPushNotificationConfig,
};
