//! A2A 1.0 as Protocol Buffers spell it (package `lf.a2a.v1`, specification section 10), and the translation to and from the types of its JSON.
//!
//! Written by hand, a type a message, so that building needs no compiler of that language; the tests compare them with what is generated from the
//! normative definition. On the way there the translation is total. On the way back an empty text is an absent one, and what the definition allows
//! but the JSON cannot say is a [`Misfit`]. Numbers of free data are `double` in Protocol Buffers: whole ones beyond 2^53 lose their last digits.

#![expect(missing_docs, reason = "messages and fields are described where the types of the JSON are")]

mod card;
mod model;
mod request;
mod security;
mod values;

pub use card::{AgentCapabilities, AgentCard, AgentCardSignature, AgentExtension, AgentInterface, AgentProvider, AgentSkill};
pub use model::{
    Artifact, Content, Event, Message, Part, Reply, SendMessageResponse, StreamResponse, Task, TaskArtifactUpdateEvent, TaskStatus,
    TaskStatusUpdateEvent,
};
pub use request::{
    AuthenticationInfo, CancelTaskRequest, DeleteTaskPushNotificationConfigRequest, GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest, ListTaskPushNotificationConfigsResponse,
    ListTasksRequest, ListTasksResponse, SendMessageConfiguration, SendMessageRequest, SubscribeToTaskRequest, TaskPushNotificationConfig,
};
pub use security::{
    ApiKeySecurityScheme, AuthorizationCodeFlow, ClientCredentialsFlow, DeviceCodeFlow, Flow, HttpAuthSecurityScheme, ImplicitFlow,
    MutualTlsSecurityScheme, OAuth2SecurityScheme, OAuthFlows, OpenIdConnectSecurityScheme, PasswordFlow, Scheme, SecurityRequirement,
    SecurityScheme, StringList,
};

/// The full name of the service.
pub const SERVICE: &str = "lf.a2a.v1.A2AService";

/// What of a message cannot be said in A2A's JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Misfit {
    /// Where it is, as JSON names it: `message.parts[0]`.
    pub field: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Misfit {
    fn new(field: &str, reason: &'static str) -> Self {
        Self { field: field.to_owned(), reason }
    }

    /// The same, seen from what holds it.
    fn within(self, holder: &str) -> Self {
        let field = if self.field.is_empty() { holder.to_owned() } else { format!("{holder}.{}", self.field) };
        Self { field, ..self }
    }
}

/// An empty text is an absent one.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn all_into<A: Into<B>, B>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}

/// Each of a field, or the first that does not fit.
fn all_from<A, B: TryFrom<A, Error = Misfit>>(field: &str, items: Vec<A>) -> Result<Vec<B>, Misfit> {
    let each = |(n, item)| B::try_from(item).map_err(|misfit| misfit.within(&format!("{field}[{n}]")));
    items.into_iter().enumerate().map(each).collect()
}

/// One of a field.
fn one_from<A, B: TryFrom<A, Error = Misfit>>(field: &str, item: A) -> Result<B, Misfit> {
    B::try_from(item).map_err(|misfit| misfit.within(field))
}

/// One that must be there.
fn demanded<A, B: TryFrom<A, Error = Misfit>>(field: &str, item: Option<A>) -> Result<B, Misfit> {
    one_from(field, item.ok_or_else(|| Misfit::new(field, "is missing"))?)
}

#[cfg(test)]
mod tests;
