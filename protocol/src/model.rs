//! Models as OpenCode names them: `provider/model`. Never their keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a model can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelCapabilities {
    /// It can reason before it answers.
    #[serde(default)]
    pub reasoning: bool,
    /// It reads attached files.
    #[serde(default)]
    pub attachment: bool,
    /// It calls tools.
    #[serde(default)]
    pub tool_call: bool,
}

/// A model that a worker's OpenCode can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    /// `provider/model`.
    #[cfg_attr(feature = "openapi", schema(example = "anthropic/claude-sonnet-4-5"))]
    pub id: String,
    /// The name for people.
    #[serde(default)]
    pub name: String,
    /// The provider's name for people.
    #[serde(default)]
    pub provider: String,
    /// The provider's id.
    #[serde(default)]
    pub provider_id: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: ModelCapabilities,
    /// Its limits in tokens, as OpenCode gives them (`context`, `output`).
    #[serde(default)]
    pub limits: Value,
    /// Its prices in US dollars per million tokens, as OpenCode gives them.
    #[serde(default)]
    pub cost: Value,
}

/// A model and the workers that have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelOffer {
    /// The model.
    #[serde(flatten)]
    pub model: Model,
    /// The names of the active workers that have it.
    #[serde(default)]
    pub workers: Vec<String>,
}

/// `GET /v1/opencode/models`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelList {
    /// One row a model.
    pub models: Vec<ModelOffer>,
    /// The model that a task without one gets, where all workers that say so agree.
    pub default: Option<String>,
}
