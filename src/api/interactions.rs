//! Interactions: what running tasks ask people.

use super::extract::{Json, PathId, Query};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::Json as Answer;
use axum::extract::State;
use muster_protocol::error::ErrorBody;
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::interaction::{Interaction, InteractionReplied, InteractionState, ReplyInteraction};
use serde::Deserialize;
use utoipa::IntoParams;

const DEFAULT_LIMIT: u32 = 500;
const LARGEST_LIMIT: u32 = 1_000;

/// What a list of interactions can be asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InteractionQuery {
    /// Only in this state: open, answered, applied, expired or void.
    state: Option<String>,
    /// At most so many; 500 if absent.
    limit: Option<u32>,
}

/// `GET /v1/interactions`
#[utoipa::path(get, path = "/v1/interactions", tag = "interactions", summary = "List permission requests and questions",
    description = "With state=open the oldest first, else the newest first.",
    params(InteractionQuery), responses((status = 200, body = Vec<Interaction>), (status = 422, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    who: Principal,
    Query(query): Query<InteractionQuery>,
) -> Result<Answer<Vec<Interaction>>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {LARGEST_LIMIT}")));
    }
    let state = query.state.as_deref().map(InteractionState::from);
    if let Some(InteractionState::Other(word)) = &state {
        let message = format!("`{}` is none of {}", crate::error::shown(word), InteractionState::WORDS.join(", "));
        return Err(ApiError::invalid("state", message));
    }
    Ok(Answer(app.interactions(&who, state.as_ref(), limit).await?))
}

/// `GET /v1/opencode/tasks/{id}/interactions`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}/interactions", tag = "interactions", summary = "List what a task asked",
    params(("id" = TaskId, Path)),
    responses((status = 200, body = Vec<Interaction>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list_of_task(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
) -> Result<Answer<Vec<Interaction>>, ApiError> {
    Ok(Answer(app.interactions_of(&who, id).await?))
}

/// `POST /v1/interactions/{id}/reply`
#[utoipa::path(post, path = "/v1/interactions/{id}/reply", tag = "interactions", summary = "Answer a permission request or a question",
    description = "The first answer counts. The run has it once the interaction is `applied`.",
    params(("id" = InteractionId, Path)), request_body = ReplyInteraction,
    responses((status = 200, body = InteractionReplied), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn reply(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<InteractionId>,
    Json(body): Json<ReplyInteraction>,
) -> Result<Answer<InteractionReplied>, ApiError> {
    let interaction = app.reply(&who, id, body).await?;
    Ok(Answer(InteractionReplied { success: true, message: "the answer is on its way to the worker".to_owned(), interaction }))
}
