//! Models: the union over the workers that are there.

use super::extract::Query;
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::presence::is_there;
use axum::Json;
use axum::extract::State;
use muster_protocol::model::{ModelList, ModelOffer};
use muster_protocol::worker::Worker;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::IntoParams;

/// What the list of models can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ModelQuery {
    /// Only of this provider.
    provider: Option<String>,
    /// Only with this in id or name.
    q: Option<String>,
    /// Only those of this worker, by id or name.
    worker: Option<String>,
}

/// `GET /v1/opencode/models`
#[utoipa::path(get, path = "/v1/opencode/models", tag = "models", summary = "List models",
    description = "One row a model, with the names of the workers that have it.",
    params(ModelQuery), responses((status = 200, body = ModelList)))]
pub(crate) async fn list(State(app): State<App>, _who: Principal, Query(query): Query<ModelQuery>) -> Result<Json<ModelList>, ApiError> {
    let workers = app.workers(None).await?;
    Ok(Json(offers(&workers, &query)))
}

fn offers(workers: &[Worker], query: &ModelQuery) -> ModelList {
    let asked = |worker: &&Worker| query.worker.as_ref().is_none_or(|w| worker.worker_id.as_str() == w || worker.name == *w);
    let mut models: BTreeMap<&str, ModelOffer> = BTreeMap::new();
    let mut defaults = BTreeSet::new();
    for worker in workers.iter().filter(|worker| is_there(worker)).filter(asked) {
        defaults.extend(worker.default_model.as_ref());
        for model in &worker.models {
            let offer = models.entry(&model.id).or_insert_with(|| ModelOffer { model: model.clone(), workers: Vec::new() });
            offer.workers.push(worker.name.clone());
        }
    }
    let text = query.q.as_ref().map(|text| text.to_lowercase());
    let fits = |offer: &ModelOffer| {
        let model = &offer.model;
        query.provider.as_ref().is_none_or(|provider| model.provider_id == *provider || model.provider == *provider)
            && text.as_ref().is_none_or(|text| model.id.to_lowercase().contains(text) || model.name.to_lowercase().contains(text))
    };
    let default = if defaults.len() == 1 { defaults.first().map(ToString::to_string) } else { None };
    ModelList { models: models.into_values().filter(fits).collect(), default }
}
