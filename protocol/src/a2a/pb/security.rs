//! How callers prove who they are. The schemes that this side never offers are kept as they came in the JSON's types, so that theirs here are
//! read from JSON and written as JSON.

use super::Misfit;
use crate::a2a::proto::is_off;
use crate::a2a::{self as v1, Metadata};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct StringList {
    #[prost(string, repeated, tag = "1")]
    pub list: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SecurityRequirement {
    #[prost(btree_map = "string, message", tag = "1")]
    pub schemes: BTreeMap<String, StringList>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SecurityScheme {
    #[prost(oneof = "Scheme", tags = "1, 2, 3, 4, 5")]
    pub scheme: Option<Scheme>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Scheme {
    #[prost(message, tag = "1")]
    ApiKey(ApiKeySecurityScheme),
    #[prost(message, tag = "2")]
    Http(HttpAuthSecurityScheme),
    #[prost(message, tag = "3")]
    Oauth2(OAuth2SecurityScheme),
    #[prost(message, tag = "4")]
    OpenIdConnect(OpenIdConnectSecurityScheme),
    #[prost(message, tag = "5")]
    Mtls(MutualTlsSecurityScheme),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ApiKeySecurityScheme {
    #[prost(string, tag = "1")]
    pub description: String,
    #[prost(string, tag = "2")]
    pub location: String,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpAuthSecurityScheme {
    #[prost(string, tag = "1")]
    pub description: String,
    #[prost(string, tag = "2")]
    pub scheme: String,
    #[prost(string, tag = "3")]
    pub bearer_format: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2SecurityScheme {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(message, optional, tag = "2")]
    pub flows: Option<OAuthFlows>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "3")]
    pub oauth2_metadata_url: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenIdConnectSecurityScheme {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub open_id_connect_url: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTlsSecurityScheme {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub description: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuthFlows {
    #[serde(flatten)]
    #[prost(oneof = "Flow", tags = "1, 2, 3, 4, 5")]
    pub flow: Option<Flow>,
}

#[derive(Clone, PartialEq, prost::Oneof, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flow {
    #[prost(message, tag = "1")]
    AuthorizationCode(AuthorizationCodeFlow),
    #[prost(message, tag = "2")]
    ClientCredentials(ClientCredentialsFlow),
    #[prost(message, tag = "3")]
    Implicit(ImplicitFlow),
    #[prost(message, tag = "4")]
    Password(PasswordFlow),
    #[prost(message, tag = "5")]
    DeviceCode(DeviceCodeFlow),
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationCodeFlow {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub authorization_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub token_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "3")]
    pub refresh_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, string", tag = "4")]
    pub scopes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_off")]
    #[prost(bool, tag = "5")]
    pub pkce_required: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCredentialsFlow {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub token_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub refresh_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, string", tag = "3")]
    pub scopes: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImplicitFlow {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub authorization_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub refresh_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, string", tag = "3")]
    pub scopes: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordFlow {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub token_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub refresh_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, string", tag = "3")]
    pub scopes: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceCodeFlow {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "1")]
    pub device_authorization_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "2")]
    pub token_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[prost(string, tag = "3")]
    pub refresh_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, string", tag = "4")]
    pub scopes: BTreeMap<String, String>,
}

/// What the JSON says of a scheme. What does not fit is left out.
fn read<T: DeserializeOwned + Default>(fields: Metadata) -> T {
    serde_json::from_value(Value::Object(fields)).unwrap_or_default()
}

fn written(scheme: &impl Serialize) -> Metadata {
    match serde_json::to_value(scheme) {
        Ok(Value::Object(fields)) => fields,
        _ => Metadata::new(),
    }
}

impl From<v1::SecurityRequirement> for SecurityRequirement {
    fn from(requirement: v1::SecurityRequirement) -> Self {
        Self { schemes: requirement.schemes.into_iter().map(|(name, scopes)| (name, StringList { list: scopes.list })).collect() }
    }
}

impl From<SecurityRequirement> for v1::SecurityRequirement {
    fn from(requirement: SecurityRequirement) -> Self {
        Self { schemes: requirement.schemes.into_iter().map(|(name, scopes)| (name, v1::StringList { list: scopes.list })).collect() }
    }
}

impl From<v1::SecurityScheme> for SecurityScheme {
    fn from(scheme: v1::SecurityScheme) -> Self {
        let scheme = match scheme {
            v1::SecurityScheme::ApiKey(v1::ApiKeyScheme { description, location, name }) => {
                Scheme::ApiKey(ApiKeySecurityScheme { description, location, name })
            }
            v1::SecurityScheme::Http(v1::HttpScheme { description, scheme, bearer_format }) => {
                Scheme::Http(HttpAuthSecurityScheme { description, scheme, bearer_format })
            }
            v1::SecurityScheme::Oauth2(fields) => Scheme::Oauth2(read(fields)),
            v1::SecurityScheme::OpenIdConnect(fields) => Scheme::OpenIdConnect(read(fields)),
            v1::SecurityScheme::Mtls(fields) => Scheme::Mtls(read(fields)),
        };
        Self { scheme: Some(scheme) }
    }
}

impl TryFrom<SecurityScheme> for v1::SecurityScheme {
    type Error = Misfit;

    fn try_from(scheme: SecurityScheme) -> Result<Self, Misfit> {
        Ok(match scheme.scheme {
            Some(Scheme::ApiKey(ApiKeySecurityScheme { description, location, name })) => {
                Self::ApiKey(v1::ApiKeyScheme { description, location, name })
            }
            Some(Scheme::Http(HttpAuthSecurityScheme { description, scheme, bearer_format })) => {
                Self::Http(v1::HttpScheme { description, scheme, bearer_format })
            }
            Some(Scheme::Oauth2(scheme)) => Self::Oauth2(written(&scheme)),
            Some(Scheme::OpenIdConnect(scheme)) => Self::OpenIdConnect(written(&scheme)),
            Some(Scheme::Mtls(scheme)) => Self::Mtls(written(&scheme)),
            None => return Err(Misfit::new("", "is of no kind that is known here")),
        })
    }
}
