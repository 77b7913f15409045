//! Agent cards.

use super::security::{SecurityRequirement, SecurityScheme};
use super::values::{from_struct, to_struct};
use super::{Misfit, all_from, all_into, demanded, one_from, some};
use crate::a2a as v1;
use prost_types::Struct;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentInterface {
    #[prost(string, tag = "1")]
    pub url: String,
    #[prost(string, tag = "2")]
    pub protocol_binding: String,
    #[prost(string, tag = "3")]
    pub tenant: String,
    #[prost(string, tag = "4")]
    pub protocol_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentProvider {
    #[prost(string, tag = "1")]
    pub url: String,
    #[prost(string, tag = "2")]
    pub organization: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentExtension {
    #[prost(string, tag = "1")]
    pub uri: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(bool, tag = "3")]
    pub required: bool,
    #[prost(message, optional, tag = "4")]
    pub params: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentCapabilities {
    #[prost(bool, optional, tag = "1")]
    pub streaming: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub push_notifications: Option<bool>,
    #[prost(message, repeated, tag = "3")]
    pub extensions: Vec<AgentExtension>,
    #[prost(bool, optional, tag = "4")]
    pub extended_agent_card: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentSkill {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub examples: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub input_modes: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub output_modes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    pub security_requirements: Vec<SecurityRequirement>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentCardSignature {
    #[prost(string, tag = "1")]
    pub protected: String,
    #[prost(string, tag = "2")]
    pub signature: String,
    #[prost(message, optional, tag = "3")]
    pub header: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentCard {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(message, repeated, tag = "3")]
    pub supported_interfaces: Vec<AgentInterface>,
    #[prost(message, optional, tag = "4")]
    pub provider: Option<AgentProvider>,
    #[prost(string, tag = "5")]
    pub version: String,
    #[prost(string, optional, tag = "6")]
    pub documentation_url: Option<String>,
    #[prost(message, optional, tag = "7")]
    pub capabilities: Option<AgentCapabilities>,
    #[prost(btree_map = "string, message", tag = "8")]
    pub security_schemes: BTreeMap<String, SecurityScheme>,
    #[prost(message, repeated, tag = "9")]
    pub security_requirements: Vec<SecurityRequirement>,
    #[prost(string, repeated, tag = "10")]
    pub default_input_modes: Vec<String>,
    #[prost(string, repeated, tag = "11")]
    pub default_output_modes: Vec<String>,
    #[prost(message, repeated, tag = "12")]
    pub skills: Vec<AgentSkill>,
    #[prost(message, repeated, tag = "13")]
    pub signatures: Vec<AgentCardSignature>,
    #[prost(string, optional, tag = "14")]
    pub icon_url: Option<String>,
}

impl From<v1::AgentInterface> for AgentInterface {
    fn from(interface: v1::AgentInterface) -> Self {
        let v1::AgentInterface { url, protocol_binding, tenant, protocol_version } = interface;
        Self { url, protocol_binding, tenant: tenant.unwrap_or_default(), protocol_version }
    }
}

impl From<AgentInterface> for v1::AgentInterface {
    fn from(interface: AgentInterface) -> Self {
        let AgentInterface { url, protocol_binding, tenant, protocol_version } = interface;
        Self { url, protocol_binding, tenant: some(tenant), protocol_version }
    }
}

impl From<v1::AgentProvider> for AgentProvider {
    fn from(provider: v1::AgentProvider) -> Self {
        Self { url: provider.url, organization: provider.organization }
    }
}

impl From<AgentProvider> for v1::AgentProvider {
    fn from(provider: AgentProvider) -> Self {
        Self { url: provider.url, organization: provider.organization }
    }
}

impl From<v1::AgentExtension> for AgentExtension {
    fn from(extension: v1::AgentExtension) -> Self {
        let v1::AgentExtension { uri, description, required, params } = extension;
        Self { uri, description, required, params: to_struct(params) }
    }
}

impl TryFrom<AgentExtension> for v1::AgentExtension {
    type Error = Misfit;

    fn try_from(extension: AgentExtension) -> Result<Self, Misfit> {
        let AgentExtension { uri, description, required, params } = extension;
        Ok(Self { uri, description, required, params: from_struct("params", params)? })
    }
}

impl From<v1::AgentCapabilities> for AgentCapabilities {
    fn from(can: v1::AgentCapabilities) -> Self {
        let v1::AgentCapabilities { streaming, push_notifications, extensions, extended_agent_card } = can;
        Self { streaming, push_notifications, extensions: all_into(extensions), extended_agent_card }
    }
}

impl TryFrom<AgentCapabilities> for v1::AgentCapabilities {
    type Error = Misfit;

    fn try_from(can: AgentCapabilities) -> Result<Self, Misfit> {
        let AgentCapabilities { streaming, push_notifications, extensions, extended_agent_card } = can;
        Ok(Self { streaming, push_notifications, extensions: all_from("extensions", extensions)?, extended_agent_card })
    }
}

impl From<v1::AgentSkill> for AgentSkill {
    fn from(skill: v1::AgentSkill) -> Self {
        let v1::AgentSkill { id, name, description, tags, examples, input_modes, output_modes, security_requirements } = skill;
        let security_requirements = all_into(security_requirements);
        Self { id, name, description, tags, examples, input_modes, output_modes, security_requirements }
    }
}

impl From<AgentSkill> for v1::AgentSkill {
    fn from(skill: AgentSkill) -> Self {
        let AgentSkill { id, name, description, tags, examples, input_modes, output_modes, security_requirements } = skill;
        let security_requirements = all_into(security_requirements);
        Self { id, name, description, tags, examples, input_modes, output_modes, security_requirements }
    }
}

impl From<v1::AgentCardSignature> for AgentCardSignature {
    fn from(signature: v1::AgentCardSignature) -> Self {
        let v1::AgentCardSignature { protected, signature, header } = signature;
        Self { protected, signature, header: to_struct(header) }
    }
}

impl TryFrom<AgentCardSignature> for v1::AgentCardSignature {
    type Error = Misfit;

    fn try_from(signature: AgentCardSignature) -> Result<Self, Misfit> {
        let AgentCardSignature { protected, signature, header } = signature;
        Ok(Self { protected, signature, header: from_struct("header", header)? })
    }
}

impl From<v1::AgentCard> for AgentCard {
    fn from(card: v1::AgentCard) -> Self {
        Self {
            name: card.name,
            description: card.description,
            supported_interfaces: all_into(card.supported_interfaces),
            provider: card.provider.map(Into::into),
            version: card.version,
            documentation_url: card.documentation_url,
            capabilities: Some(card.capabilities.into()),
            security_schemes: card.security_schemes.into_iter().map(|(name, scheme)| (name, scheme.into())).collect(),
            security_requirements: all_into(card.security_requirements),
            default_input_modes: card.default_input_modes,
            default_output_modes: card.default_output_modes,
            skills: all_into(card.skills),
            signatures: all_into(card.signatures),
            icon_url: card.icon_url,
        }
    }
}

impl TryFrom<AgentCard> for v1::AgentCard {
    type Error = Misfit;

    fn try_from(card: AgentCard) -> Result<Self, Misfit> {
        let scheme = |(name, scheme)| Ok((String::clone(&name), one_from(&format!("securitySchemes.{name}"), scheme)?));
        Ok(Self {
            name: card.name,
            description: card.description,
            supported_interfaces: all_into(card.supported_interfaces),
            provider: card.provider.map(Into::into),
            version: card.version,
            documentation_url: card.documentation_url,
            capabilities: demanded("capabilities", card.capabilities)?,
            security_schemes: card.security_schemes.into_iter().map(scheme).collect::<Result<_, _>>()?,
            security_requirements: all_into(card.security_requirements),
            default_input_modes: card.default_input_modes,
            default_output_modes: card.default_output_modes,
            skills: all_into(card.skills),
            signatures: all_from("signatures", card.signatures)?,
            icon_url: card.icon_url,
        })
    }
}
