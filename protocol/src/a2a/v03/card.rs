//! The card of 0.3: an address with a preferred transport, and others beside it.

use crate::a2a::{self as v1, AgentExtension, AgentProvider, SecurityRequirement, SecurityScheme};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version that cards of 0.3 name.
const VERSION: &str = "0.3.0";

/// An address and its transport.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInterface {
    /// The address.
    pub url: String,
    /// How it is spoken to there.
    pub transport: String,
}

/// What an agent can do of what is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_notifications: Option<bool>,
    /// Extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<AgentExtension>>,
}

/// Something that an agent can do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct AgentSkill {
    pub id: String,
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_modes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_modes: Option<Vec<String>>,
}

/// The card.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in 1.0")]
pub struct AgentCard {
    pub name: String,
    pub description: String,
    pub url: String,
    pub preferred_transport: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_interfaces: Vec<AgentInterface>,
    pub protocol_version: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<AgentProvider>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
    pub capabilities: Capabilities,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub security_schemes: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security: Vec<BTreeMap<String, Vec<String>>>,
    pub default_input_modes: Vec<String>,
    pub default_output_modes: Vec<String>,
    pub skills: Vec<AgentSkill>,
    pub supports_authenticated_extended_card: bool,
}

impl From<&v1::AgentCard> for AgentCard {
    /// The card with those of its addresses at which 0.3 is spoken.
    fn from(card: &v1::AgentCard) -> Self {
        let of_ours = |interface: &&v1::AgentInterface| interface.protocol_version.starts_with("0.");
        let all: Vec<_> = card.supported_interfaces.iter().filter(of_ours).collect();
        let first = all.first().copied().cloned().unwrap_or_default();
        let old =
            |interface: &v1::AgentInterface| AgentInterface { url: interface.url.clone(), transport: interface.protocol_binding.clone() };
        let capabilities = &card.capabilities;
        Self {
            name: card.name.clone(),
            description: card.description.clone(),
            url: first.url,
            preferred_transport: first.protocol_binding,
            additional_interfaces: all.into_iter().map(old).collect(),
            protocol_version: VERSION.to_owned(),
            version: card.version.clone(),
            provider: card.provider.clone(),
            documentation_url: card.documentation_url.clone(),
            icon_url: card.icon_url.clone(),
            capabilities: Capabilities {
                streaming: capabilities.streaming,
                push_notifications: capabilities.push_notifications,
                extensions: Some(capabilities.extensions.clone()).filter(|extensions| !extensions.is_empty()),
            },
            security_schemes: card.security_schemes.iter().map(|(name, scheme)| (name.clone(), old_scheme(scheme))).collect(),
            security: card.security_requirements.iter().map(old_requirement).collect(),
            default_input_modes: card.default_input_modes.clone(),
            default_output_modes: card.default_output_modes.clone(),
            skills: card.skills.iter().map(old_skill).collect(),
            supports_authenticated_extended_card: capabilities.extended_agent_card == Some(true),
        }
    }
}

fn old_skill(skill: &v1::AgentSkill) -> AgentSkill {
    let some = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    AgentSkill {
        id: skill.id.clone(),
        name: skill.name.clone(),
        description: skill.description.clone(),
        tags: skill.tags.clone(),
        examples: some(&skill.examples),
        input_modes: some(&skill.input_modes),
        output_modes: some(&skill.output_modes),
    }
}

fn old_requirement(requirement: &SecurityRequirement) -> BTreeMap<String, Vec<String>> {
    requirement.schemes.iter().map(|(name, scopes)| (name.clone(), scopes.list.clone())).collect()
}

fn old_scheme(scheme: &SecurityScheme) -> Value {
    let (kind, mut fields) = match scheme {
        SecurityScheme::Http(http) => ("http", json!(http)),
        SecurityScheme::ApiKey(key) => ("apiKey", json!({ "in": key.location, "name": key.name, "description": key.description })),
        SecurityScheme::Oauth2(fields) => ("oauth2", json!(fields)),
        SecurityScheme::OpenIdConnect(fields) => ("openIdConnect", json!(fields)),
        SecurityScheme::Mtls(fields) => ("mutualTLS", json!(fields)),
    };
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("type".to_owned(), json!(kind));
    }
    fields
}

/// The fields of both versions in one card: readers of each find theirs. Security schemes carry both spellings.
#[must_use]
pub fn add_to(card: &v1::AgentCard) -> Value {
    let mut both = json!(AgentCard::from(card));
    let mut new = json!(card);
    let (Some(old_fields), Some(new_fields)) = (both.as_object_mut(), new.as_object_mut()) else { return new };
    let schemes = old_fields.get_mut("securitySchemes").and_then(Value::as_object_mut);
    for (name, scheme) in schemes.into_iter().flatten() {
        let own = card.security_schemes.get(name).map(|scheme| json!(scheme));
        if let (Some(scheme), Some(Value::Object(own))) = (scheme.as_object_mut(), own) {
            scheme.extend(own);
        }
    }
    let schemes = old_fields.remove("securitySchemes");
    old_fields.append(new_fields);
    if let Some(schemes) = schemes {
        old_fields.insert("securitySchemes".to_owned(), schemes);
    }
    both
}
