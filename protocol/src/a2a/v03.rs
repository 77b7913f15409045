//! A2A 0.3 as its JSON goes over the wire, and the translation to and from 1.0.
//!
//! The translation is total. What 0.3 cannot say is left out on the way there: name and media type of parts that are no files, tenants. Data that
//! is no object is wrapped as `{"value":..}` and marked with the metadata `data_part_compat`, as the official SDKs do.

mod card;
mod convert;
mod model;
mod params;

pub use card::{AgentCard, AgentInterface, AgentSkill, Capabilities, add_to};
pub use model::{
    Artifact, Event, File, FileContent, Message, Part, Role, SendResult, State, Task, TaskArtifactUpdateEvent, TaskStatus,
    TaskStatusUpdateEvent,
};
pub use params::{
    MessageSendConfiguration, MessageSendParams, PushAuthentication, PushConfigParams, PushNotificationConfig, TaskIdParams,
    TaskPushNotificationConfig, TaskQueryParams,
};

#[cfg(test)]
mod tests;
